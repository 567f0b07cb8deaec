// Feed-forward blocks: from a normed input to what they add to the residual stream.
//
// Their width is cut over the group; the down-projection sums. Immutable after loading; used by the
// rank's thread.
#pragma once

#include <string>

#include "worker/layers/linear.h"
#include "worker/layers/part_loader.h"
#include "worker/layers/pass.h"

namespace trireme::worker {

// What a layer has behind its attention, where layers of one model differ: a dense MLP or experts.
class FeedForward {
 public:
  virtual ~FeedForward() = default;
  // h [n_tokens, hidden] -> out [n_tokens, hidden] f32, the same on every rank of the group.
  Status forward(const TensorView& h, const TensorView& out, Pass& pass) const {
    forward_partial(h, out, pass);
    return sum().reduce(out, pass.context);
  }
  // This rank's term alone, for a caller that does more with it before or in `sum`.
  virtual void forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const = 0;
  virtual const TpSum& sum() const = 0;
};

// Which width of the spec an MLP has, and so how it is cut: a dense layer's, or that of the expert
// which all tokens share.
enum class MlpWidth : uint8_t { kDense, kShared };

// down(act(gate(h)) * up(h)).  Source: Shazeer, arXiv:2002.05202.
class GatedMlp final : public FeedForward {
 public:
  // `gate_up` yields this rank's gate columns, then its up columns.
  GatedMlp(PartLoader& in, ColumnParallelLinear gate_up, RowParallelLinear down,
           MlpWidth width = MlpWidth::kDense);
  void forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const override;
  const TpSum& sum() const override { return down_.sum(); }

 private:
  int64_t width_;  // of this rank
  plan::Activation activation_;
  ColumnParallelLinear gate_up_;
  RowParallelLinear down_;
};

// down(act(up(h))).
class PlainMlp final : public FeedForward {
 public:
  PlainMlp(PartLoader& in, ColumnParallelLinear up, RowParallelLinear down);
  void forward_partial(const TensorView& h, const TensorView& out, Pass& pass) const override;
  const TpSum& sum() const override { return down_.sum(); }

 private:
  int64_t width_;  // of this rank
  plan::Activation activation_;
  ColumnParallelLinear up_;
  RowParallelLinear down_;
};

// Two matrices; biases as the spec says.
ColumnParallelLinear gate_and_up(PartLoader& in, const std::string& gate, const std::string& up,
                                 MlpWidth width = MlpWidth::kDense);
// One matrix [2 * intermediate, hidden]: gate rows, then up rows.
ColumnParallelLinear fused_gate_up(PartLoader& in, const std::string& name);
// The up-projection of a plain MLP; its bias as the spec says.
ColumnParallelLinear mlp_input(PartLoader& in, const std::string& name);
// The down-projection [hidden, width]; its bias as the spec says.
RowParallelLinear mlp_output(PartLoader& in, const std::string& name,
                             MlpWidth width = MlpWidth::kDense);

}  // namespace trireme::worker
