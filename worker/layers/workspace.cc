#include "worker/layers/workspace.h"

#include <algorithm>

namespace trireme::worker {
namespace {

Result<RopeTable> make_rope_table(kernels::Backend& backend, const plan::RopeSpec& rope) {
  const std::vector<std::vector<float>> sets = rope.inv_freq_sets();
  std::vector<float> inv_freq;
  for (const std::vector<float>& set : sets)
    inv_freq.insert(inv_freq.end(), set.begin(), set.end());
  RopeTable table;
  table.scale = rope.cos_sin_scale();
  table.layout = rope.layout;
  ASSIGN_OR_RETURN(table.inv_freq,
                   allocate_tensor(backend, DType::kF32,
                                   {static_cast<int64_t>(sets.size()), rope.rotary_dim / 2}));
  backend.copy_to_device(table.inv_freq.view.data, inv_freq.data(), inv_freq.size() * sizeof(float),
                         {});
  backend.synchronize({});
  return table;
}

}  // namespace

Result<Workspace> Workspace::allocate(kernels::Backend& backend, const plan::ModelSpec& spec,
                                      const plan::RankPlan& rank, int64_t max_tokens,
                                      int64_t max_logits_rows) {
  const DType compute =
      backend.compute_dtype() == kernels::ComputeDType::kBF16 ? DType::kBF16 : DType::kF32;
  const int64_t heads = rank.heads.size();
  const int64_t kv_heads = rank.kv_heads.size();
  const int64_t width = std::max(rank.intermediate.size(), rank.shared_columns.size());
  Workspace w;
  const auto make = [&](DeviceTensor& tensor, DType dtype, int64_t rows,
                        int64_t columns) -> Status {
    ASSIGN_OR_RETURN(tensor, allocate_tensor(backend, dtype, {rows, columns}));
    return {};
  };
  TRY(make(w.h, compute, max_tokens, spec.hidden));
  TRY(make(w.delta, DType::kF32, max_tokens, spec.hidden));
  TRY(make(w.normed, DType::kF32, max_tokens, spec.hidden));
  TRY(make(w.qkv, DType::kF32, max_tokens, (heads + 2 * kv_heads) * spec.head_dim));
  TRY(make(w.row_sums, DType::kF32, 2 * max_tokens, 1));
  TRY(make(w.attended, compute, max_tokens, heads * spec.head_dim));
  TRY(make(w.gate_up, DType::kF32, max_tokens, (spec.gated_mlp ? 2 : 1) * width));
  TRY(make(w.activated, compute, max_tokens, width));
  if (rank.last_stage) TRY(make(w.h_logits, compute, max_logits_rows, spec.hidden));
  for (const plan::RopeSpec& rope : spec.ropes) {
    ASSIGN_OR_RETURN(RopeTable table, make_rope_table(backend, rope));
    w.ropes.push_back(std::move(table));
  }
  return w;
}

}  // namespace trireme::worker
