// Products with low-bit units by the bf16 dot product, for isa_avx512_bf16.cc and
// isa_avx512_vbmi.cc.
//
// A kind of units makes its words' codes pairs of bf16, two or four for a word: what E4M3Units and
// the others (low_bit_impl.h) make of them, by tables where there are few.
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

struct Int8Pairs {
  static constexpr int kPairs = 2;
  static inline __attribute__((always_inline)) void make(__m512i word, __m512i (&pairs)[kPairs]) {
    pairs[0] = pair(_mm512_slli_epi32(word, 24), _mm512_slli_epi32(word, 8));
    pairs[1] = pair(_mm512_slli_epi32(word, 16), word);
  }

 private:
  // Codes on top of 32-bit lanes. As f32 they have nothing in their low halves.
  static inline __attribute__((always_inline)) __m512i pair(__m512i low, __m512i high) {
    const __m512 a = _mm512_cvtepi32_ps(_mm512_srai_epi32(low, 24));
    const __m512 b = _mm512_cvtepi32_ps(_mm512_srai_epi32(high, 24));
    return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(a), 16), _mm512_castps_si512(b));
  }
};

// Of a word and its outputs' scales.
struct E2M1Pairs {
  static constexpr int kPairs = 4;
  // The codes as bf16 with exponents less that of 1, in 16 bits; the fifth bit is the neighbour's.
  static __m512i table() {
    static constexpr uint16_t kCodes[32] = {
        0x0000, 0xff80, 0x0000, 0x0040, 0x0080, 0x00c0, 0x0100, 0x0140,  //
        0x8000, 0x7f80, 0x8000, 0x8040, 0x8080, 0x80c0, 0x8100, 0x8140,
        0x0000, 0xff80, 0x0000, 0x0040, 0x0080, 0x00c0, 0x0100, 0x0140,
        0x8000, 0x7f80, 0x8000, 0x8040, 0x8080, 0x80c0, 0x8100, 0x8140};
    return load_table(kCodes);
  }
  // The exponents in their places of both halves of a lane.
  static inline __attribute__((always_inline)) __m512i places(const uint8_t* exponents) {
    const __m512i low = _mm512_slli_epi32(Simd::load_bytes(exponents), 7);
    return _mm512_or_si512(low, _mm512_slli_epi32(low, 16));
  }
  static inline __attribute__((always_inline)) void make(__m512i word, __m512i exponents,
                                                         __m512i (&pairs)[kPairs]) {
    pairs[0] = pair(word, exponents);
    pairs[1] = pair(_mm512_srli_epi16(word, 4), exponents);
    pairs[2] = pair(_mm512_srli_epi16(word, 8), exponents);
    pairs[3] = pair(_mm512_srli_epi16(word, 12), exponents);
  }

 private:
  // Zeros have no exponent.
  static inline __attribute__((always_inline)) __m512i pair(__m512i code, __m512i exponents) {
    const __m512i bits = _mm512_permutexvar_epi16(code, table());
    const __mmask32 counts = _mm512_test_epi16_mask(code, _mm512_set1_epi16(7));
    return _mm512_mask_add_epi16(bits, counts, bits, exponents);
  }
};

struct E2M1DotFormat {
  using X = uint32_t;
  static constexpr int kXPerUnit = 16;
  static constexpr int kWordsPerVector = Simd::kWidth;
  static constexpr int64_t kUnitWords = kScaledUnitWords;
  static constexpr int64_t kCodeWords = kScaledUnitCodeWords;
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(__m512 (&acc)[M][N], const uint32_t* x,
                                                         int64_t x_stride, const uint32_t* w,
                                                         const uint8_t* exponents) {
    for (int v = 0; v < N; ++v) {
      const __m512i places = E2M1Pairs::places(exponents + v * Simd::kWidth);
      for (int word = 0; word < 4; ++word) {
        __m512i pairs[E2M1Pairs::kPairs];
        E2M1Pairs::make(Simd::load_bits(w + word * kPanelWidth + v * Simd::kWidth), places, pairs);
        for (int p = 0; p < E2M1Pairs::kPairs; ++p) {
          const auto wv = reinterpret_cast<__m512bh>(pairs[p]);
          for (int r = 0; r < M; ++r) {
            const auto xv =
                reinterpret_cast<__m512bh>(Simd::set1_bits(x[r * x_stride + word * 4 + p]));
            acc[r][v] = _mm512_dpbf16_ps(acc[r][v], xv, wv);
          }
        }
      }
    }
  }
};

inline void expand_e2m1_pairs(const uint32_t* units, int64_t n_units, uint32_t* to) {
  for (int64_t u = 0; u < n_units; ++u) {
    const auto* exponents = reinterpret_cast<const uint8_t*>(units + kScaledUnitCodeWords);
    for (int v = 0; v < kPanelWidth; v += Simd::kWidth) {
      const __m512i places = E2M1Pairs::places(exponents + v);
      for (int word = 0; word < 4; ++word) {
        __m512i pairs[E2M1Pairs::kPairs];
        E2M1Pairs::make(Simd::load_bits(units + word * kPanelWidth + v), places, pairs);
        for (int p = 0; p < E2M1Pairs::kPairs; ++p) {
          _mm512_storeu_si512(to + (word * 4 + p) * kPanelWidth + v, pairs[p]);
        }
      }
    }
    units += kScaledUnitWords;
    to += E2M1DotFormat::kXPerUnit * kPanelWidth;
  }
}

template <class Pairs>
struct LowBitDotFormat {
  using X = uint32_t;
  static constexpr int kXPerUnit = Pairs::kPairs;
  static constexpr int kWordsPerVector = Simd::kWidth;
  static constexpr int64_t kUnitWords = kPanelWidth;
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
