// Moe: a router, the experts that this rank holds, and a shared expert where the family has one.
//
// Each token goes through top_k experts, chosen and weighted as MoeSpec says. A rank holds whole
// experts, or a slice of every expert (ParallelOptions::experts). Either way it computes its terms
// of the weighted sum, adds its columns of the shared expert, and one all_reduce makes the block's
// output. The router is not cut: every rank computes the same choice. How experts are stored
// differs by family; the makers below name the usual layouts. Immutable after loading; used by the
// rank's thread. Source: Shazeer et al., arXiv:1701.06538; Dai et al., arXiv:2401.06066 (shared
// experts).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "worker/layers/mlp.h"

namespace trireme::worker {

// Which experts a token meets, and with what weight.
class Router {
 public:
  // <name>.weight [n_experts, hidden], its bias as MoeSpec says. `choice_bias` names the
  // [n_experts] that takes part in the choice alone, where MoeSpec has one.
  Router(PartLoader& in, const std::string& name, const std::string& choice_bias = "");

  // h [n_tokens, hidden] -> the workspace's expert_ids and expert_weights.
  void forward(const TensorView& h, Pass& pass) const;

 private:
  plan::MoeSpec moe_;
  std::unique_ptr<kernels::PackedWeight> weight_;
  DeviceTensor bias_;
  DeviceTensor choice_bias_;
};

// One expert's weights as they are stored, by its index in the model; of each this rank's columns.
struct ExpertParts {
  using OfExpert = std::function<std::vector<WeightPart>(int64_t expert)>;
  OfExpert gate_up;       // -> [2 width, hidden], gate rows first
  OfExpert down;          // -> [hidden, width]
  OfExpert gate_up_bias;  // -> [2 width]; unset: none
  OfExpert down_bias;     // -> [hidden]; unset: none
};

// A tensor for each matrix of each expert: <prefix><expert>.<gate>.weight and so on. `in` outlives
// the result, here as below.
ExpertParts separate_experts(PartLoader& in, const std::string& prefix, const std::string& gate,
                             const std::string& up, const std::string& down);
// `gate_up` [n_experts, 2 width, hidden], gate rows first, and `down` [n_experts, hidden, width].
ExpertParts stacked_experts(PartLoader& in, const std::string& gate_up, const std::string& down);

// Where gate and up columns are in a matrix that holds both.
enum class GateUpColumns : uint8_t { kGateFirst, kAlternating };
// `gate_up` [n_experts, hidden, 2 width] and `down` [n_experts, width, hidden]; biases, where the
// spec has them, under these names with "_bias" behind.
ExpertParts transposed_experts(PartLoader& in, const std::string& gate_up, const std::string& down,
                               GateUpColumns columns);

// The MLP that every token takes besides, MoeSpec::shared_width wide.
struct SharedExpert {
  std::unique_ptr<GatedMlp> mlp;
  // [1, hidden]: the MLP's output is scaled by sigmoid(gate . h); or null.
  std::unique_ptr<kernels::PackedWeight> gate;
};
// `gate` names the matrix where the spec has one.
SharedExpert shared_expert(PartLoader& in, ColumnParallelLinear gate_up, RowParallelLinear down,
                           const std::string& gate = "");

class Moe final : public FeedForward {
 public:
  Moe(PartLoader& in, Router router, const ExpertParts& experts, SharedExpert shared = {});
  void forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const override;
  const TpSum& sum() const override { return sum_; }

 private:
  void run_experts(const TensorView& h, const TensorView& out, Pass& pass) const;
  void activate(const TensorView& gate_up, const TensorView& out, Pass& pass) const;
  void add_shared(const TensorView& h, const TensorView& out, Pass& pass) const;

  plan::MoeSpec moe_;
  plan::Activation activation_;
  int32_t first_expert_;  // of this rank
  int64_t n_experts_;     // of this rank
  int64_t width_;         // of an expert on this rank
  int64_t moe_slot_;      // this layer among the rank's layers with experts, from 0
  Router router_;
  std::vector<std::unique_ptr<kernels::PackedWeight>> gate_up_;  // [n_experts]
  std::vector<std::unique_ptr<kernels::PackedWeight>> down_;     // [n_experts]
  std::vector<const kernels::PackedWeight*> gate_up_list_;
  std::vector<const kernels::PackedWeight*> down_list_;
  DeviceTensor gate_up_bias_;  // [n_experts, 2 width]
  DeviceTensor down_bias_;     // [n_experts, hidden]; of experts that are cut, on tp rank 0 only
  SharedExpert shared_;
  TpSum sum_;
};

}  // namespace trireme::worker
