#include "parallel/plan/memory_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "parallel/plan/format.h"
#include "parallel/plan/model_size.h"

namespace trireme::plan {
namespace {

int64_t usable_bytes(const MemoryInputs& inputs) {
  return static_cast<int64_t>(static_cast<double>(inputs.memory_bytes) * inputs.utilisation);
}

// Elements that the rank holds beside its layers: the vocabulary's rows with their padding. A rank
// that is first and last stage of a tied model still holds the matrix twice: as rows to look up,
// and packed as the head.
int64_t elements_beside_layers(const ModelSpec& spec, const RankPlan& rank) {
  const int64_t matrix = rank.vocab_padded * spec.hidden;
  int64_t n = 0;
  if (rank.first_stage) n += matrix + embedding_rows(spec) * spec.hidden;
  if (spec.encoder) return n + (rank.first_stage ? final_norm_size(spec) : 0);
  if (rank.last_stage) n += matrix + final_norm_size(spec);
  return n;
}

int64_t weight_bytes(const ModelSpec& spec, const RankPlan& rank, const HeldWeights& held) {
  double layers = 0;
  for (int64_t i = rank.layers.begin; i < rank.layers.end; ++i) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(i)];
    layers += layer_bytes(spec, layer_size(spec, layer, Share::of(rank)), held).total();
  }
  return static_cast<int64_t>(layers) +
         elements_beside_layers(spec, rank) * static_cast<int64_t>(size_of(held.dtype));
}

// f32 elements per token between the ops of an attention block.
int64_t attention_width(const ModelSpec& spec, const RankPlan& rank) {
  if (!spec.mla) {
    return (2 * rank.heads.size() + 2 * rank.kv_heads.size()) * spec.head_dim;
  }
  const MlaSpec& mla = *spec.mla;
  const int64_t per_head = mla.nope_dim + mla.latent_width() + mla.kv_rank + mla.value_dim;
  return rank.heads.size() * per_head + 2 * (mla.q_rank + mla.kv_rank) + mla.latent_width();
}

// The same of the widest MLP: dense, or a token's experts.
int64_t mlp_width(const ModelSpec& spec, const RankPlan& rank) {
  int64_t width = 3 * rank.intermediate.size();
  if (!spec.moe) return width;
  const int64_t routed = spec.moe->top_k * (2 * spec.hidden + 3 * rank.expert_columns.size());
  return std::max(width, spec.moe->n_experts + routed + 3 * rank.shared_columns.size());
}

// An upper bound: every buffer of a layer at once and in f32, and the logits.
int64_t activation_bytes(const ModelSpec& spec, const RankPlan& rank, const MemoryInputs& inputs) {
  const int64_t per_token =
      5 * int64_t{spec.hidden} + attention_width(spec, rank) + mlp_width(spec, rank);
  const bool has_head = rank.last_stage && !spec.encoder;
  const int64_t logits = has_head ? inputs.max_logits_rows * rank.vocab_padded : 0;
  return 4 * (inputs.max_step_tokens * per_token + logits);
}

// The rank that needs the most for one sequence, and how much; and what the poorest has room for.
struct Need {
  int worker_rank = 0;
  RankMemory memory;
  int64_t min_blocks = 0;  // of the sequence
  int64_t bytes = 0;
  int64_t n_blocks = INT64_MAX;
};
Need largest_need(const ModelSpec& spec, const ParallelPlan& plan, const MemoryInputs& inputs,
                  int32_t min_tokens) {
  const KvLayout layout = make_kv_layout(spec, plan);
  Need largest;
  largest.min_blocks = kv_blocks_of(layout, min_tokens, inputs.block_size);
  for (const RankPlan& rank : plan.ranks) {
    const RankMemory memory = rank_memory(spec, layout, rank, inputs);
    const int64_t bytes = memory.weight_bytes + memory.activation_bytes +
                          largest.min_blocks * memory.kv_bytes_per_block;
    largest.n_blocks = std::min(largest.n_blocks, memory.n_kv_blocks);
    if (bytes <= largest.bytes) continue;
    largest.worker_rank = rank.worker_rank;
    largest.memory = memory;
    largest.bytes = bytes;
  }
  return largest;
}

}  // namespace

DType kv_dtype_of(const ModelConfig& model) {
  if (model.kv_cache_dtype == "fp8_e4m3") return DType::kE4M3;
  return model.compute_dtype == "float32" ? DType::kF32 : DType::kBF16;
}

RankMemory rank_memory(const ModelSpec& spec, const KvLayout& layout, const RankPlan& rank,
                       const MemoryInputs& inputs) {
  RankMemory memory;
  memory.weight_bytes = weight_bytes(spec, rank, {inputs.weight_dtype, inputs.keep_low_bit});
  memory.activation_bytes = activation_bytes(spec, rank, inputs);
  memory.kv_bytes_per_block = layout.n_slots[static_cast<size_t>(rank.stage)] *
                              kv_elements(spec, rank.kv_heads.size()) * inputs.block_size *
                              static_cast<int64_t>(size_of(inputs.kv_dtype));
  const int64_t left = usable_bytes(inputs) - memory.weight_bytes - memory.activation_bytes;
  memory.n_kv_blocks = std::max<int64_t>(0, left / memory.kv_bytes_per_block);
  return memory;
}

RankMemory rank_memory(const ModelSpec& spec, const ParallelPlan& plan, int worker_rank,
                       const MemoryInputs& inputs) {
  CHECK_LT(static_cast<size_t>(worker_rank), plan.ranks.size());
  return rank_memory(spec, make_kv_layout(spec, plan), plan.ranks[static_cast<size_t>(worker_rank)],
                     inputs);
}

std::optional<ParallelPlan> smallest_plan_that_fits(const ModelSpec& spec,
                                                    const MemoryInputs& inputs, int32_t min_tokens,
                                                    int max_tp, int max_ranks) {
  for (int n = 1; n <= max_ranks; ++n) {
    // Wide tp first: it cuts every step's time, where pp only cuts memory.
    for (int tp = std::min(n, max_tp); tp >= 1; --tp) {
      if (n % tp != 0) continue;
      for (const ExpertCut cut : expert_cuts(spec, tp)) {
        const Result<ParallelPlan> plan =
            make_parallel_plan(spec, {.tp = tp, .pp = n / tp, .experts = cut});
        if (plan.ok() &&
            largest_need(spec, *plan, inputs, min_tokens).bytes <= usable_bytes(inputs)) {
          return *plan;
        }
      }
    }
  }
  return std::nullopt;
}

Result<int64_t> plan_kv_blocks(const ModelSpec& spec, const ParallelPlan& plan,
                               const MemoryInputs& inputs, int32_t min_tokens) {
  const Need need = largest_need(spec, plan, inputs, min_tokens);
  if (need.bytes > usable_bytes(inputs)) {
    const std::optional<ParallelPlan> fit =
        smallest_plan_that_fits(spec, inputs, min_tokens, /*max_tp=*/8, /*max_ranks=*/256);
    const std::string advice =
        fit ? fmt::format("{} on as many such devices would fit", fit->to_string())
            : std::string("no plan of up to 256 such devices would fit");
    return resource_exhausted(fmt::format(
        "rank {} of {} needs {} (weights {}, activations {}, KV cache {}), but may use {} ({:.0f} "
        "% of {}); {}.",
        need.worker_rank, plan.to_string(), format_bytes(need.bytes),
        format_bytes(need.memory.weight_bytes), format_bytes(need.memory.activation_bytes),
        format_bytes(need.min_blocks * need.memory.kv_bytes_per_block),
        format_bytes(usable_bytes(inputs)), inputs.utilisation * 100,
        format_bytes(inputs.memory_bytes), advice));
  }
  return need.n_blocks;
}

}  // namespace trireme::plan
