// Moe: a router, the experts that this rank holds, and a shared expert where the family has one.
//
// Each token goes through top_k experts, chosen as MoeSpec says. A rank holds whole experts, or a
// slice of every expert (ParallelOptions::experts); either way it computes its terms of the
// weighted sum, adds its columns of the shared expert, and one all_reduce makes the block's output.
// Routing is computed alike on every rank: the router is not cut. How experts are stored differs by
// family; the makers below name the usual layouts. Immutable after loading; used by the rank's
// thread. Source: Shazeer et al., arXiv:1701.06538; Dai et al., arXiv:2401.06066 (shared experts).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "worker/layers/mlp.h"

namespace trireme::worker {

// The gate: which experts a token meets, and with what weight.
class Router {
 public:
  // A stored [n_experts, hidden] under `name`.weight, its bias and the choice bias as MoeSpec says.
  Router(PartLoader& in, const std::string& name, const std::string& choice_bias = "");
  // h [n_tokens, hidden] -> the workspace's expert_ids and expert_weights.
  void forward(const TensorView& h, Pass& pass) const;

 private:
  std::unique_ptr<kernels::PackedWeight> weight_;
  DeviceTensor bias_;
  DeviceTensor choice_bias_;
};

// One expert's matrices as they are stored, by its index in the model.
struct ExpertParts {
  std::function<std::vector<WeightPart>(int64_t expert)> gate_up;       // gate rows, then up rows
  std::function<std::vector<WeightPart>(int64_t expert)> down;          // [hidden, width]
  std::function<std::vector<WeightPart>(int64_t expert)> gate_up_bias;  // empty: none
  std::function<std::vector<WeightPart>(int64_t expert)> down_bias;     // empty: none
};

// A tensor per expert and matrix: <prefix><expert>.<gate>.weight and so on.
ExpertParts separate_experts(PartLoader& in, const std::string& prefix, const std::string& gate,
                             const std::string& up, const std::string& down);
// [n_experts, 2 width, hidden] (gate rows, then up rows) and [n_experts, hidden, width].
ExpertParts stacked_experts(PartLoader& in, const std::string& gate_up, const std::string& down);
// [n_experts, hidden, 2 width] and [n_experts, width, hidden]; `interleaved`: gate and up columns
// alternate.
ExpertParts transposed_experts(PartLoader& in, const std::string& gate_up, const std::string& down,
                               bool interleaved);

class Moe final : public FeedForward {
 public:
  // `shared`: the MLP that every token takes, its width MoeSpec::shared_width; `shared_gate`: the
  // name of the [1, hidden] matrix that scales it, where MoeSpec::shared_gate.
  Moe(PartLoader& in, Router router, const ExpertParts& experts,
      std::unique_ptr<GatedMlp> shared = nullptr, const std::string& shared_gate = "");
  Status forward(const TensorView& h, const TensorView& out, Pass& pass) const override;

 private:
  Router router_;
  std::vector<std::unique_ptr<kernels::PackedWeight>> gate_up_;  // by expert of this rank
  std::vector<std::unique_ptr<kernels::PackedWeight>> down_;
  DeviceTensor gate_up_bias_;  // [n_local_experts, 2 width]
  DeviceTensor down_bias_;     // [n_local_experts, hidden], on one rank of those that share
  std::unique_ptr<GatedMlp> shared_;
  std::unique_ptr<kernels::PackedWeight> shared_gate_;
};

}  // namespace trireme::worker
