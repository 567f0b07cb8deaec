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
    TRY(attention.forward(h, delta, pass));
    // One pass over memory takes the sum and the next norm.
    mlp_norm.add_and_forward(x, delta, h, pass.context, residual_scale);
    TRY(mlp->forward(h, delta, pass));
    pass.add(delta, x, residual_scale);
    return {};
  }
};

}  // namespace trireme::worker
