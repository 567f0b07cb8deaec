#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/simd_avx512.h"

namespace trireme::kernels::cpu {
namespace {

// Pairs of bf16 inputs times pairs of bf16 weights, summed into f32 by one instruction. It flushes
// denormals and rounds its own way, so every row of every call must go through it.
struct DotBf16Format {
  using X = uint32_t;
  static constexpr int kXPerUnit = 1;
  static constexpr int kWordsPerVector = Simd::kWidth;
  static constexpr bool kPacked = true;
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

// Low-bit codes to pairs of bf16, two or four for a word: what E4M3Units and Int4Units make of
// them, by tables. The low five bits of a 16-bit lane choose an entry.
__m512i table_of(const uint16_t (&entries)[32]) { return _mm512_loadu_si512(entries); }

struct E4M3Pairs {
  static constexpr int kPairs = 2;
  static constexpr int kInputs = 4;
  // The magnitudes 0..31 as bf16: those below 8 have no leading one.
  static __m512i table() {
    static constexpr uint16_t kSmall[32] = {
        0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60,  //
        0x3c80, 0x3c90, 0x3ca0, 0x3cb0, 0x3cc0, 0x3cd0, 0x3ce0, 0x3cf0,
        0x3d00, 0x3d10, 0x3d20, 0x3d30, 0x3d40, 0x3d50, 0x3d60, 0x3d70,
        0x3d80, 0x3d90, 0x3da0, 0x3db0, 0x3dc0, 0x3dd0, 0x3de0, 0x3df0};
    return table_of(kSmall);
  }
  template <int kPair>
  static inline __attribute__((always_inline)) __m512i pair(__m512i word, __m512i table) {
    const __m512i code = kPair == 0 ? word : _mm512_srli_epi16(word, 8);
    const __m512i magnitude =
        _mm512_and_si512(_mm512_slli_epi16(code, 4), _mm512_set1_epi16(0x07f0));
    __m512i bits = _mm512_add_epi16(magnitude, _mm512_set1_epi16(0x3c00));
    const __mmask32 small = _mm512_testn_epi16_mask(code, _mm512_set1_epi16(0x60));
    bits = _mm512_mask_permutexvar_epi16(bits, small, code, table);
    const __m512i sign = kPair == 0 ? _mm512_slli_epi16(word, 8) : word;
    // bits | (sign & 0x8000)
    return _mm512_ternarylogic_epi32(bits, sign, _mm512_set1_epi16(-0x8000), 0xf8);
  }
};

struct Int4Pairs {
  static constexpr int kPairs = 4;
  static constexpr int kInputs = 8;
  // code - 8; the fifth bit is the neighbour's.
  static __m512i table() {
    static constexpr uint16_t kCodes[32] = {
        0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80,  //
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
        0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80,
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0};
    return table_of(kCodes);
  }
  template <int kPair>
  static inline __attribute__((always_inline)) __m512i pair(__m512i word, __m512i table) {
    return _mm512_permutexvar_epi16(kPair == 0 ? word : _mm512_srli_epi16(word, 4 * kPair), table);
  }
};

template <class Units>
struct LowBitDotFormat {
  using X = uint32_t;
  static constexpr int kXPerUnit = Units::kPairs;
  static constexpr int kWordsPerVector = Simd::kWidth;
  static constexpr bool kPacked = true;
  template <int kPair, int M, int N>
  static inline __attribute__((always_inline)) void add_pairs(__m512 (&acc)[M][N],
                                                              const uint32_t* x, int64_t x_stride,
                                                              const __m512i (&words)[N],
                                                              __m512i table) {
    if constexpr (kPair < Units::kPairs) {
      __m512bh wv[N];
      for (int v = 0; v < N; ++v) {
        wv[v] = reinterpret_cast<__m512bh>(Units::template pair<kPair>(words[v], table));
      }
      for (int r = 0; r < M; ++r) {
        const auto xv = reinterpret_cast<__m512bh>(Simd::set1_bits(x[r * x_stride + kPair]));
        for (int v = 0; v < N; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], xv, wv[v]);
      }
      add_pairs<kPair + 1>(acc, x, x_stride, words, table);
    }
  }
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(__m512 (&acc)[M][N], const uint32_t* x,
                                                         int64_t x_stride, const uint32_t* w) {
    const __m512i table = Units::table();
    __m512i words[N];
    for (int v = 0; v < N; ++v) words[v] = Simd::load_bits(w + v * Simd::kWidth);
    add_pairs<0>(acc, x, x_stride, words, table);
  }
};

template <class Units, int kPair>
inline __attribute__((always_inline)) void store_pairs(__m512i word, __m512i table,
                                                       uint32_t* pairs) {
  if constexpr (kPair < Units::kPairs) {
    _mm512_storeu_si512(pairs + kPair * kPanelWidth, Units::template pair<kPair>(word, table));
    store_pairs<Units, kPair + 1>(word, table, pairs);
  }
}

template <class Units>
void expand_pairs(const uint32_t* units, int64_t n_units, uint32_t* pairs) {
  const __m512i table = Units::table();
  for (int64_t u = 0; u < n_units; ++u) {
    for (int v = 0; v < kPanelWidth; v += Simd::kWidth) {
      store_pairs<Units, 0>(Simd::load_bits(units + v), table, pairs + v);
    }
    units += kPanelWidth;
    pairs += Units::kPairs * kPanelWidth;
  }
}

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
  kernels->e4m3.gemm_bf16 = Gemm<Simd, LowBitDotFormat<E4M3Pairs>, true>::panel;
  kernels->e4m3.expand = expand_pairs<E4M3Pairs>;
  kernels->int4.gemm_bf16 = Gemm<Simd, LowBitDotFormat<Int4Pairs>, true>::panel;
  kernels->int4.expand = expand_pairs<Int4Pairs>;
  kernels->spin_bf16 = spin_bf16;
  kernels->spin_bf16_flops = int64_t{4} * kSpinChains * Simd::kWidth;
}

}  // namespace trireme::kernels::cpu
