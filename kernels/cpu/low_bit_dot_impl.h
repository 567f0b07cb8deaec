// Products with low-bit units by the bf16 dot product, for isa_avx512_bf16.cc and
// isa_avx512_vbmi.cc.
//
// A kind of units makes its words' codes pairs of bf16, two or four for a word: what E4M3Units and
// Int4Units (low_bit_impl.h) make of them, by tables.
#pragma once

#include <cstdint>

#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/simd_avx512.h"

namespace trireme::kernels::cpu {
namespace {

inline __m512i load_table(const void* entries) { return _mm512_loadu_si512(entries); }

struct E4M3Pairs {
  static constexpr int kPairs = 2;
  // The low five bits of a 16-bit lane choose an entry: the magnitudes 0..31 as bf16, of which
  // those below 8 have no leading one.
  static __m512i table() {
    static constexpr uint16_t kSmall[32] = {
        0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60,  //
        0x3c80, 0x3c90, 0x3ca0, 0x3cb0, 0x3cc0, 0x3cd0, 0x3ce0, 0x3cf0,
        0x3d00, 0x3d10, 0x3d20, 0x3d30, 0x3d40, 0x3d50, 0x3d60, 0x3d70,
        0x3d80, 0x3d90, 0x3da0, 0x3db0, 0x3dc0, 0x3dd0, 0x3de0, 0x3df0};
    return load_table(kSmall);
  }
  static inline __attribute__((always_inline)) void make(__m512i word, __m512i (&pairs)[kPairs]) {
    pairs[0] = pair(word, _mm512_slli_epi16(word, 8));
    pairs[1] = pair(_mm512_srli_epi16(word, 8), word);
  }

 private:
  // Codes in the low halves of 16-bit lanes, their signs on top of `sign`.
  static inline __attribute__((always_inline)) __m512i pair(__m512i code, __m512i sign) {
    const __m512i magnitude =
        _mm512_and_si512(_mm512_slli_epi16(code, 4), _mm512_set1_epi16(0x07f0));
    __m512i bits = _mm512_add_epi16(magnitude, _mm512_set1_epi16(0x3c00));
    const __mmask32 small = _mm512_testn_epi16_mask(code, _mm512_set1_epi16(0x60));
    bits = _mm512_mask_permutexvar_epi16(bits, small, code, table());
    // bits | (sign & 0x8000)
    return _mm512_ternarylogic_epi32(bits, sign, _mm512_set1_epi16(-0x8000), 0xf8);
  }
};

struct Int4Pairs {
  static constexpr int kPairs = 4;
  // code - 8; the fifth bit is the neighbour's.
  static __m512i table() {
    static constexpr uint16_t kCodes[32] = {
        0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80,  //
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
        0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80,
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0};
    return load_table(kCodes);
  }
  static inline __attribute__((always_inline)) void make(__m512i word, __m512i (&pairs)[kPairs]) {
    pairs[0] = _mm512_permutexvar_epi16(word, table());
    pairs[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 4), table());
    pairs[2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 8), table());
    pairs[3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(word, 12), table());
  }
};

template <class Pairs>
struct LowBitDotFormat {
  using X = uint32_t;
  static constexpr int kXPerUnit = Pairs::kPairs;
  static constexpr int kWordsPerVector = Simd::kWidth;
  static constexpr bool kPacked = true;
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(__m512 (&acc)[M][N], const uint32_t* x,
                                                         int64_t x_stride, const uint32_t* w) {
    for (int v = 0; v < N; ++v) {
      __m512i pairs[Pairs::kPairs];
      Pairs::make(Simd::load_bits(w + v * Simd::kWidth), pairs);
      for (int p = 0; p < Pairs::kPairs; ++p) {
        const auto wv = reinterpret_cast<__m512bh>(pairs[p]);
        for (int r = 0; r < M; ++r) {
          const auto xv = reinterpret_cast<__m512bh>(Simd::set1_bits(x[r * x_stride + p]));
          acc[r][v] = _mm512_dpbf16_ps(acc[r][v], xv, wv);
        }
      }
    }
  }
};

template <class Pairs>
void expand_pairs(const uint32_t* units, int64_t n_units, uint32_t* to) {
  for (int64_t u = 0; u < n_units; ++u) {
    for (int v = 0; v < kPanelWidth; v += Simd::kWidth) {
      __m512i pairs[Pairs::kPairs];
      Pairs::make(Simd::load_bits(units + v), pairs);
      for (int p = 0; p < Pairs::kPairs; ++p) {
        _mm512_storeu_si512(to + p * kPanelWidth + v, pairs[p]);
      }
    }
    units += kPanelWidth;
    to += Pairs::kPairs * kPanelWidth;
  }
}

}  // namespace
}  // namespace trireme::kernels::cpu
