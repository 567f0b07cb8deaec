// The sum of terms in their order (kernels/term_sum.h): a thread for 16 bytes of each. Compiled
// twice: with the CUDA runtime, and with the emulator for tests.
#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vectors.h"
#include "kernels/term_sum.h"

#if defined(TRIREME_CUDA_EMULATED)
#include "kernels/cuda/emulated/emulated_backend.h"
#endif

namespace trireme::kernels {
namespace cuda {
namespace {

constexpr int kTermThreads = 256;

struct TermSumParams {
  const void* terms[kMaxTerms];
  int n_terms;
  void* out;
  int64_t count;
};

template <typename T, int kCount>
__device__ __forceinline__ void sum_at(const TermSumParams& p, int64_t i) {
  Vector<float, kCount> sum{};
  for (int r = 0; r < p.n_terms; ++r) {
    const auto term = load_vector<kCount>(static_cast<const T*>(p.terms[r]) + i);
    for (int k = 0; k < kCount; ++k) {
      const float value = device_to_f32(term.at[k]);
      sum.at[k] = r == 0 ? value : sum.at[k] + value;
    }
  }
  Vector<T, kCount> out;
  for (int k = 0; k < kCount; ++k) out.at[k] = device_from_f32<T>(sum.at[k]);
  store_vector(static_cast<T*>(p.out) + i, out);
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kTermThreads) term_sum_kernel(TermSumParams p) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  if (i + kCount <= p.count) {
    sum_at<T, kCount>(p, i);
    return;
  }
  for (int64_t k = i; k < p.count; ++k) sum_at<T, 1>(p, k);
}

template <typename T>
void run(const TermSumParams& params, bool vectors, const Launcher& launcher) {
  constexpr int kVector = 16 / sizeof(T);
  const int64_t n = vectors ? ceil_div<int64_t>(params.count, kVector) : params.count;
  launch(vectors ? term_sum_kernel<T, kVector> : term_sum_kernel<T, 1>, "term_sum",
         {.grid_x = ceil_div<int64_t>(n, kTermThreads), .block = kTermThreads}, launcher, params);
}

void term_sum(const TermSumArgs& args, Stream stream) {
  CHECK_GE(args.n_terms, 1);
  CHECK_LE(args.n_terms, kMaxTerms);
  CHECK(args.dtype == DType::kF32 || args.dtype == DType::kBF16) << args.dtype;
  TermSumParams params{.terms = {}, .n_terms = args.n_terms, .out = args.out, .count = args.count};
  bool vectors = reinterpret_cast<uintptr_t>(args.out) % 16 == 0;
  for (int r = 0; r < args.n_terms; ++r) {
    params.terms[r] = args.terms[static_cast<size_t>(r)];
    vectors = vectors && reinterpret_cast<uintptr_t>(params.terms[r]) % 16 == 0;
  }
  const Launcher launcher{.stream = stream.handle != nullptr ? stream.handle : default_stream()};
  args.dtype == DType::kF32 ? run<float>(params, vectors, launcher)
                            : run<bf16>(params, vectors, launcher);
}

}  // namespace
}  // namespace cuda

#if defined(TRIREME_CUDA_EMULATED)
void emulated_term_sum(const TermSumArgs& args, Stream stream) { cuda::term_sum(args, stream); }
#else
void cuda_term_sum(const TermSumArgs& args, Stream stream) { cuda::term_sum(args, stream); }
#endif

}  // namespace trireme::kernels
