// MemoryBudget: bytes of a rank under a plan, and how many KV blocks fit beside the weights. Pure
// arithmetic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/cluster_config.h"
#include "base/result.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/plan/parallel_plan.h"

namespace trireme::plan {

struct MemoryInputs {
  DType weight_dtype = DType::kBF16;  // as held in memory
  bool keep_low_bit = false;          // but for weights that stay low-bit (model_size.h)
  DType kv_dtype = DType::kBF16;
  int32_t block_size = 16;         // tokens per KV block
  int32_t max_step_tokens = 2048;  // the activation buffers' height
  int32_t max_logits_rows = 256;
  int64_t memory_bytes = 0;  // what the rank may use in all
  double utilisation = 0.9;  // the share of it that we plan with
};

// The type of cached keys and values; a compute dtype that is still open is taken for bf16.
DType kv_dtype_of(const ModelConfig& model);

struct RankMemory {
  int64_t weight_bytes = 0;
  int64_t activation_bytes = 0;
  int64_t kv_bytes_per_block = 0;  // a block's slots (kv_layout.h) with this rank's kv heads
  int64_t n_kv_blocks = 0;         // what fits; the replica uses the minimum over its ranks
};

RankMemory rank_memory(const ModelSpec& spec, const ParallelPlan& plan, int worker_rank,
                       const MemoryInputs& inputs);
// The same where the plan's layout is known: finding it costs more than all the rest.
RankMemory rank_memory(const ModelSpec& spec, const KvLayout& layout, const RankPlan& rank,
                       const MemoryInputs& inputs);

// The replica's block count: the minimum over ranks. resource_exhausted, with the numbers and what
// would fit, when some rank cannot hold its weights and the blocks of one sequence of `min_tokens`.
Result<int64_t> plan_kv_blocks(const ModelSpec& spec, const ParallelPlan& plan,
                               const MemoryInputs& inputs, int32_t min_tokens);

// The plan with the fewest ranks (at most `max_ranks`; tp at most `max_tp`, the widest first; whole
// experts before sliced ones) of which every rank holds its weights, its activations and one
// sequence of `min_tokens`. nullopt when there is none.
std::optional<ParallelPlan> smallest_plan_that_fits(const ModelSpec& spec,
                                                    const MemoryInputs& inputs, int32_t min_tokens,
                                                    int max_tp, int max_ranks);

}  // namespace trireme::plan
