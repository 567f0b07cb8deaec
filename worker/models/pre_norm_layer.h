// PreNormLayer: the layer of most decoders, whatever its parts are made of.
//
//   x += r * attention(norm(x));  x += r * mlp(norm'(x))
//
// Its second sum is followed by the first norm of the layer behind: told of it, the layer leaves
// norm(x) of that one in pass.h(), and finds its own there (decoder.h, HandsOnItsNorm). A family's
// layer derives from it and makes the parts in its constructor, which names the tensors.
// Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.
#pragma once

#include <memory>

#include "worker/layers/mlp.h"
#include "worker/layers/pass.h"

namespace trireme::worker {

template <typename Norm, typename AttentionPart>
struct PreNormLayer {
  Norm attention_norm;
  AttentionPart attention;
  Norm mlp_norm;
  std::unique_ptr<FeedForward> mlp;  // one MLP, or experts
  float residual_scale = 1;          // r

  const Norm& input_norm() const { return attention_norm; }

  // x [n_tokens, hidden] f32, updated; pass.h() holds input_norm of x, and afterwards `next` of x
  // where there is one. The sum over the group, the residual sum and the norm behind it are one,
  // where they can be.
  Status forward(const TensorView& x, const Norm* next, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    TRY(attention.forward_partial(h, delta, pass));
    TRY(attention.sum().add_to(mlp_norm.behind_sum(x, delta, h, residual_scale), pass.context));
    mlp->forward_partial(h, delta, pass);
    const kernels::AddRmsNormArgs alone{
        .residual = x, .delta = delta, .delta_scale = residual_scale};
    return mlp->sum().add_to(
        next != nullptr ? next->behind_sum(x, delta, h, residual_scale) : alone, pass.context);
  }
};

}  // namespace trireme::worker
