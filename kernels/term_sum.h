// The sum of terms that lie on one device, in their order: what a sum over ranks comes down to once
// their terms have arrived.
//
//   out[i] = ((terms[0][i] + terms[1][i]) + terms[2][i]) + ...
//
// Each partial sum is in f32; a bf16 result is rounded once, at the end. So an element's sum
// depends on its terms alone, and has the bits that comm::sum_in_rank_order makes on the host.
// Enqueued, and may be recorded. Cost: reads every term once and writes the sum; memory bound.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/dtype.h"

namespace trireme::kernels {

inline constexpr int kMaxTerms = 64;

struct TermSumArgs {
  std::array<const void*, kMaxTerms> terms{};  // of `count` elements each
  int n_terms = 1;                             // at most kMaxTerms
  void* out = nullptr;                         // may be one of the terms, and overlaps no other
  int64_t count = 0;
  DType dtype = DType::kF32;  // of all of them: f32 or bf16
};
using TermSum = void (*)(const TermSumArgs& args, Stream stream);

// On the calling thread's current device; without a stream, on the one that the CUDA backend means.
// CHECKs that this build has CUDA.
void cuda_term_sum(const TermSumArgs& args, Stream stream);

}  // namespace trireme::kernels
