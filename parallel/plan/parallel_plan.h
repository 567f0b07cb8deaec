// ParallelPlan: which layers and which slice of every weight each worker rank holds. Pure
// arithmetic.
//
// Tensor parallel: q heads and MLP columns are cut evenly over tp ranks (column-parallel), o and
// down projections by their input (row-parallel); KV heads are cut, or replicated in groups where
// tp > n_kv_heads (the latent of latent attention is on every rank); experts are dealt whole, or
// each is cut like an MLP; the vocabulary is cut in equal padded slices. What a range means for a
// family's tensors is said once, in the family's file in worker/models. Pipeline parallel:
// contiguous layers per stage, chosen so that the costliest stage is as cheap as can be (the first
// stage holds the embedding, the last the final norm and the head).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "parallel/plan/model_spec.h"

namespace trireme {
struct ReplicaConfig;  // base/cluster_config.h
}

namespace trireme::plan {

// A half-open range [begin, end).
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

enum class ExpertCut : uint8_t { kExpert, kTensor };

struct ParallelOptions {
  int tp = 1;
  int pp = 1;
  std::vector<int> stage_layers;           // layers per stage; empty: chosen by cost
  ExpertCut experts = ExpertCut::kExpert;  // whole experts per rank, or a slice of every expert
};

// What the cluster's file says of it.
ParallelOptions parallel_options(const ReplicaConfig& config);

// What one rank holds; every range is in units of the unsharded model.
struct RankPlan {
  int worker_rank = 0;  // stage * tp + tp_rank
  int tp_rank = 0;
  int stage = 0;
  bool first_stage = false;
  bool last_stage = false;
  Range layers;
  Range heads;         // query heads
  Range kv_heads;      // may be shared with neighbours where tp > n_kv_heads
  Range intermediate;  // MLP columns; sizes may differ by rank only where the width does not divide
  Range experts;       // that the rank holds
  Range expert_columns;  // of each expert's MLP
  Range shared_columns;  // of the shared experts' MLP
  Range vocab;  // rows of embedding and head, clipped to the vocabulary: may be short or empty on
                // the last ranks
  int64_t vocab_padded = 0;  // rows per rank with padding, the same on every rank
};

// A part of a weight file's tensor: rows x columns of the stored matrix. A 1-D tensor [n] counts as
// [n, 1], and one of more dimensions [a, b, c] as [a * b, c].
struct TensorSlice {
  std::string name;            // e.g. "model.layers.3.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // the stored shape that the file must have
  Range rows;
  Range columns;
};

struct ParallelPlan {
  int tp = 1;
  int pp = 1;
  ExpertCut experts = ExpertCut::kExpert;  // kTensor only where there are experts to slice
  std::vector<RankPlan> ranks;             // [tp * pp], by worker_rank

  // "tp 2 x pp 2 (layers 4 + 4)", "tp 8 x pp 1 (layers 48, experts sliced)". Replicas whose plans
  // read alike compute alike.
  std::string to_string() const;
};

// The cuts of the experts that make a difference, the usual one first.
std::vector<ExpertCut> expert_cuts(const ModelSpec& spec, int tp);

// invalid_argument says which shape forbids the cut and which tp or pp would fit.
Result<ParallelPlan> make_parallel_plan(const ModelSpec& spec, const ParallelOptions& options);

}  // namespace trireme::plan
