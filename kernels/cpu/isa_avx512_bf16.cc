#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/low_bit_dot_impl.h"
#include "kernels/cpu/simd_avx512.h"

namespace trireme::kernels::cpu {
namespace {

// Pairs of bf16 inputs times pairs of bf16 weights, summed into f32 by one instruction. It flushes
// denormals and rounds its own way, so every row of every call must go through it.
struct DotBf16Format {
  using X = uint32_t;
  static constexpr int kXPerUnit = 1;
  static constexpr int kWordsPerVector = Simd::kWidth;
  static constexpr int64_t kUnitWords = kPanelWidth;
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(__m512 (&acc)[M][N], const uint32_t* x,
                                                         int64_t x_stride, const uint32_t* w) {
    __m512bh wv[N];
    for (int v = 0; v < N; ++v) {
      wv[v] = reinterpret_cast<__m512bh>(Simd::load_bits(w + v * Simd::kWidth));
    }
    for (int r = 0; r < M; ++r) {
      const auto xv = reinterpret_cast<__m512bh>(Simd::set1_bits(x[r * x_stride]));
      for (int v = 0; v < N; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], xv, wv[v]);
    }
  }
};

constexpr int kSpinChains = 12;

float spin_bf16(int64_t n_rounds) {
  __m512 acc[kSpinChains];
  for (int c = 0; c < kSpinChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  uint32_t a = 0x3f003f00u;
  uint32_t b = 0x3c003c00u;
  __asm__ volatile("" : "+m"(a), "+m"(b));
  const auto x = reinterpret_cast<__m512bh>(Simd::set1_bits(a));
  const auto y = reinterpret_cast<__m512bh>(Simd::set1_bits(b));
  for (int64_t i = 0; i < n_rounds; ++i) {
    for (int c = 0; c < kSpinChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], x, y);
  }
  __m512 sum = _mm512_setzero_ps();
  for (int c = 0; c < kSpinChains; ++c) sum = _mm512_add_ps(sum, acc[c]);
  return _mm512_reduce_add_ps(sum);
}

}  // namespace

void add_avx512_bf16(IsaKernels* kernels) {
  kernels->name = "avx512-bf16";
  kernels->gemm_bf16 = Gemm<Simd, DotBf16Format, true>::panel;
  kernels->e4m3.groups_bf16 = Gemm<Simd, LowBitDotFormat<E4M3Pairs>, true, true>::groups;
  kernels->e4m3.expand = expand_pairs<E4M3Pairs>;
  kernels->int4.groups_bf16 = Gemm<Simd, LowBitDotFormat<Int4Pairs>, true, true>::groups;
  kernels->int4.expand = expand_pairs<Int4Pairs>;
  kernels->int8.groups_bf16 = Gemm<Simd, LowBitDotFormat<Int8Pairs>, true, true>::groups;
  kernels->int8.expand = expand_pairs<Int8Pairs>;
  kernels->e2m1.gemm_bf16 = Gemm<Simd, E2M1DotFormat, true>::panel;
  kernels->e2m1.expand = expand_e2m1_pairs;
  kernels->expanded.gemm_bf16 = Gemm<Simd, DotBf16Format, false>::panel;
  kernels->expanded.groups_bf16 = Gemm<Simd, DotBf16Format, false, true>::groups;
  kernels->spin_bf16 = spin_bf16;
  kernels->spin_bf16_flops = int64_t{4} * kSpinChains * Simd::kWidth;
}

}  // namespace trireme::kernels::cpu
