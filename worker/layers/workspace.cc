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

int64_t n_moe_layers(const plan::ModelSpec& spec, const plan::RankPlan& rank) {
  return std::count_if(spec.layers.begin() + rank.layers.begin,
                       spec.layers.begin() + rank.layers.end,
                       [](const plan::LayerSpec& layer) { return layer.moe; });
}

Result<MoeBuffers> make_moe_buffers(kernels::Backend& backend, const plan::ModelSpec& spec,
                                    const plan::RankPlan& rank, DType compute, int64_t max_tokens) {
  const int64_t top_k = spec.moe->top_k;
  const int64_t n_rows = max_tokens * top_k;
  const int64_t width = rank.expert_columns.size();
  MoeBuffers buffers;
  const auto make = [&](DeviceTensor& tensor, DType dtype,
                        std::initializer_list<int64_t> shape) -> Status {
    ASSIGN_OR_RETURN(tensor, allocate_tensor(backend, dtype, shape));
    return {};
  };
  TRY(make(buffers.router_logits, DType::kF32, {max_tokens, spec.moe->n_experts}));
  TRY(make(buffers.expert_ids, DType::kI32, {max_tokens, top_k}));
  TRY(make(buffers.expert_weights, DType::kF32, {max_tokens, top_k}));
  TRY(make(buffers.token_of_row, DType::kI32, {n_rows}));
  TRY(make(buffers.row_of_choice, DType::kI32, {max_tokens, top_k}));
  TRY(make(buffers.expert_start, DType::kI32, {n_moe_layers(spec, rank), rank.experts.size() + 1}));
  TRY(make(buffers.expert_in, compute, {n_rows, spec.hidden}));
  TRY(make(buffers.gate_up, DType::kF32, {n_rows, 2 * width}));
  TRY(make(buffers.activated, compute, {n_rows, width}));
  TRY(make(buffers.expert_out, DType::kF32, {n_rows, spec.hidden}));
  return buffers;
}

Result<LatentBuffers> allocate_latent(kernels::Backend& backend, const plan::MlaSpec& mla,
                                      int64_t heads, DType compute, int64_t max_tokens) {
  LatentBuffers b;
  const auto make = [&](DeviceTensor& tensor, DType dtype, int64_t columns) -> Status {
    ASSIGN_OR_RETURN(tensor, allocate_tensor(backend, dtype, {max_tokens, columns}));
    return {};
  };
  if (mla.q_rank > 0) {
    TRY(make(b.q_a, DType::kF32, mla.q_rank));
    TRY(make(b.q_normed, compute, mla.q_rank));
  }
  TRY(make(b.q_nope, compute, heads * mla.nope_dim));
  TRY(make(b.q, DType::kF32, heads * mla.latent_width() + mla.kv_rank));
  TRY(make(b.kv_a, DType::kF32, mla.latent_width()));
  TRY(make(b.kv_normed, DType::kF32, mla.kv_rank));
  TRY(make(b.mixed, compute, heads * mla.kv_rank));
  return b;
}

}  // namespace

Result<Workspace> Workspace::allocate(kernels::Backend& backend, const plan::ModelSpec& spec,
                                      const plan::RankPlan& rank, int64_t max_tokens,
                                      int64_t max_logits_rows) {
  const DType compute =
      backend.compute_dtype() == kernels::ComputeDType::kBF16 ? DType::kBF16 : DType::kF32;
  const int64_t heads = rank.heads.size();
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
  if (spec.mla) {
    ASSIGN_OR_RETURN(w.latent, allocate_latent(backend, *spec.mla, heads, compute, max_tokens));
  } else {
    TRY(make(w.qkv, DType::kF32, max_tokens, (heads + 2 * rank.kv_heads.size()) * spec.head_dim));
  }
  TRY(make(w.row_sums, DType::kF32, 2 * max_tokens, 1));
  TRY(make(w.attended, compute, max_tokens,
           heads * (spec.mla ? spec.mla->value_dim : spec.head_dim)));
  TRY(make(w.gate_up, DType::kF32, max_tokens, (spec.gated_mlp ? 2 : 1) * width));
  TRY(make(w.activated, compute, max_tokens, width));
  if (rank.last_stage) TRY(make(w.h_logits, compute, max_logits_rows, spec.hidden));
  for (const plan::RopeSpec& rope : spec.ropes) {
    ASSIGN_OR_RETURN(RopeTable table, make_rope_table(backend, rope));
    w.ropes.push_back(std::move(table));
  }
  if (n_moe_layers(spec, rank) > 0) {
    ASSIGN_OR_RETURN(w.moe, make_moe_buffers(backend, spec, rank, compute, max_tokens));
  }
  return w;
}

}  // namespace trireme::worker
