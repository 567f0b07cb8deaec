// The vector type of the AVX2 file. Only isa_avx2.cc may include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace trireme::kernels::cpu {
namespace {

struct Simd {
  using F = __m256;
  using I = __m256i;
  static constexpr int kWidth = 8;
  static constexpr int kAccumulators = 12;  // of 16 registers
  static constexpr int kTileRows = 6;

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static I set1_bits(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static I load_bits(const uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  // One to a lane.
  static I load_bytes(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // c - a * b
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static I bits(F x) { return _mm256_castps_si256(x); }
  static F from_bits(I x) { return _mm256_castsi256_ps(x); }
  static I add_bits(I a, I b) { return _mm256_add_epi32(a, b); }
  static I and_bits(I a, I b) { return _mm256_and_si256(a, b); }
  template <int kCount>
  static I shift_left(I x) {
    return _mm256_slli_epi32(x, kCount);
  }
  template <int kCount>
  static I shift_right(I x) {
    return _mm256_srli_epi32(x, kCount);
  }
  // x where a >= b, zero elsewhere.
  static F zero_unless_ge(F a, F b, F x) {
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ), x);
  }
  // Lanes from n on become `other`.
  static F keep_first(F x, int64_t n, F other) {
    const int limit = n >= kWidth ? kWidth : (n <= 0 ? 0 : static_cast<int>(n));
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i keep = _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), lanes);
    return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(keep));
  }
  // Lanes 2i and 2i + 1 change places.
  static F swap_pairs(F x) { return _mm256_permute_ps(x, 0xb1); }
  static float reduce_add(F x) {
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
  }
  static float reduce_max(F x) {
    __m128 v = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps(v, v, 1)));
  }

  static F load_bf16(const uint16_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static F load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // Sign and magnitude in their places of an f16 are 2^-8 of the number.
  static F load_e4m3(const uint8_t* p) {
    const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m128i halves = _mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(codes), 7),
                                         _mm_set1_epi16(static_cast<int16_t>(0xbf80)));
    return _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(256.0f));
  }
  // The lowest byte of each lane, which is all that it holds.
  static void store_bytes(uint8_t* p, I x) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(x, x), 0x08);
    const __m128i half = _mm256_castsi256_si128(words);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(half, half));
  }
  static void store_bf16(uint16_t* p, F x) {
    const __m256i u = bits(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(r, quiet, nan), 16);
    const __m256i packed = _mm256_packus_epi32(high, high);
    const __m256i ordered = _mm256_permute4x64_epi64(packed, 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(ordered));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // 8 x 8: 4 x 4 within each 128-bit lane, then the lanes themselves.
  static void transpose(F v[8]) {
    F t[8];
    for (int i = 0; i < 8; i += 4) {
      const F a = _mm256_unpacklo_ps(v[i], v[i + 1]);
      const F b = _mm256_unpackhi_ps(v[i], v[i + 1]);
      const F c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]);
      const F d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
      t[i] = _mm256_shuffle_ps(a, c, 0x44);
      t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
      t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
      t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
      v[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
