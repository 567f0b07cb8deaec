// PreNormLayer: the layer of most decoders, whatever its parts are made of.
//
//   x += r * attention(norm(x));  x += r * mlp(norm'(x))
//
// A family's layer derives from it and makes the parts in its constructor, which names the tensors.
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

  // x [n_tokens, hidden] f32, updated.
  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward_partial(h, delta, pass));
    // The sum over the group, the residual sum and the next norm are one, where they can be.
    TRY(attention.sum().add_to(mlp_norm.behind_sum(x, delta, h, residual_scale), pass.context));
    mlp->forward_partial(h, delta, pass);
    return mlp->sum().add_to({.residual = x, .delta = delta, .delta_scale = residual_scale},
                             pass.context);
  }
};

}  // namespace trireme::worker
