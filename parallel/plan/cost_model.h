// Cost model: what a plan will do on given machines, before anything is started. Pure arithmetic.
//
// A serial roofline (Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009; applied to
// inference as in Pope et al., "Efficiently Scaling Transformer Inference", arXiv:2211.05102). For
// a step of n tokens on one stage, per rank:
//
//   time = max(weight bytes / bandwidth, 2 n weights / flops)      the linear layers; of experts,
//                                                                  see below
//        + KV bytes read / bandwidth + attention flops / flops     attention; of layers that
//                                                                  slide, over their span
//        + kStageOverheadS                                         host and launches
//        + 2 layers x (latency + 2 (tp-1)/tp x n hidden x 2 B / link)   the all_reduces
//   and one transfer of n hidden x 2 B to the next stage, over the network where stages are on
//   different nodes.
//
// Tokens choose their experts evenly and apart from each other. Of sliced experts every rank reads
// a slice of each that is touched; of whole ones the step waits for the rank with the most to do:
// the mean of what its experts get, plus sqrt(2 ln tp) standard deviations (the bound for the
// largest of tp draws). What is multiplied is counted in tiles of kExpertTileColumns: narrow slices
// waste some.
//
// Bandwidth and flops are the datasheet's times kBandwidthShare and kFlopsShare: what good kernels
// reach of them. In steady decode pp micro-batches are in flight, so a stage is idle only for how
// much cheaper it is than the costliest: that is the decode bubble. A prompt of m chunks goes
// through p stages in m + p - 1 turns: its bubble is (p-1)/(m+p-1).
//
// Limits: no overlap of communication with arithmetic, no contention between prefill and decode,
// equal lengths, bf16 arithmetic. It is for ordering plans; its figures have not been compared with
// measurements of this server, and are not a promise about it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "parallel/plan/kv_layout.h"
#include "parallel/plan/memory_budget.h"
#include "parallel/plan/topology.h"

namespace trireme::plan {

inline constexpr double kBandwidthShare = 0.85;
inline constexpr double kFlopsShare = 0.70;
inline constexpr double kExpertTileColumns = 128;
inline constexpr double kStageOverheadS = 100e-6;  // per step and stage, whatever its size

struct Workload {
  int32_t prompt_tokens = 1024;   // for the time to first token
  int32_t context_tokens = 8192;  // held by each running sequence
  int32_t max_sequences = 256;    // of a replica, where the KV cache has room
  DType weight_dtype = DType::kBF16;
  bool keep_low_bit = false;  // as in MemoryInputs
  DType kv_dtype = DType::kBF16;
  int32_t max_step_tokens = 2048;
  std::optional<double> usd_per_device_hour;
};

struct PlanEstimate {
  ParallelPlan plan;
  int n_replicas = 0;       // that the topology holds
  RankMemory largest_rank;  // of the rank that holds most
  KvLayout kv_layout;
  int64_t kv_tokens = 0;    // of a replica, in sequences of the workload's length
  int32_t n_sequences = 0;  // running at once in a replica: limited by KV, at most max_sequences
  double time_to_first_token_s = 0;              // of one prompt on an idle replica
  double one_stream_token_s = 0;                 // between tokens of one stream alone
  double full_batch_token_s = 0;                 // between tokens of a stream among n_sequences
  double tokens_per_s = 0;                       // of all replicas with n_sequences each
  double decode_bubble = 0;                      // 0..1, mean idle share of the stages
  double prefill_bubble = 0;                     // 0..1, for one prompt alone
  std::optional<double> usd_per_million_tokens;  // generated, whole topology
};

// The budget of a device in `topology` for `workload`.
MemoryInputs memory_inputs(const Topology& topology, const Workload& workload);
// resource_exhausted, as plan_kv_blocks, when a rank cannot hold its share and one sequence. CHECKs
// that a stage fits a node.
Result<PlanEstimate> estimate_plan(const ModelSpec& spec, const ParallelPlan& plan,
                                   const Topology& topology, const Workload& workload);

// Every tp x pp, with the better cut of the experts, that the shapes and the topology allow and the
// memory holds; most tokens/s first, then the quickest stream. resource_exhausted, with the numbers
// and what would fit, when there is none.
Result<std::vector<PlanEstimate>> rank_plans(const ModelSpec& spec, const Topology& topology,
                                             const Workload& workload);

}  // namespace trireme::plan
