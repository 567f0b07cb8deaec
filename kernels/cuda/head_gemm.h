// A product of its own for each head, all in one launch: what multi-head latent attention absorbs
// into its queries and applies to its values.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm.h"

namespace trireme::kernels::cuda {

// The operands of one head; head h's x, out and weight are at h strides, h strides and weights[h].
struct HeadGemmOperands {
  GemmOperands head;  // no runs, no bias
  const WeightTable* weights = nullptr;
  int64_t n_heads = 0;
  int64_t x_head_stride = 0;
  int64_t out_head_stride = 0;
};

// How it is cut: blocks along x make outputs, along y rows, along z heads.
LaunchShape head_gemm_shape(const HeadGemmOperands& operands);
LaunchShape plain_head_gemm_shape(const HeadGemmOperands& operands);
// bf16 x and weights, pieces of x at multiples of 16 bytes in every head.
bool head_gemm_takes(const HeadGemmOperands& operands);

void head_gemm(const HeadGemmOperands& operands, const Launcher& launcher);
// Sums in f32 in the order of k, any alignment.
void plain_head_gemm(const HeadGemmOperands& operands, const Launcher& launcher);

}  // namespace trireme::kernels::cuda
