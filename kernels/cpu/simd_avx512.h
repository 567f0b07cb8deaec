// The vector type of the AVX-512 file. Only isa_avx512*.cc may include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace trireme::kernels::cpu {
namespace {

struct Simd {
  using F = __m512;
  using I = __m512i;
  static constexpr int kWidth = 16;
  static constexpr int kAccumulators = 24;  // of 32 registers
  static constexpr int kTileRows = 6;

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static I set1_bits(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static I load_bits(const uint32_t* p) { return _mm512_loadu_si512(p); }
  // One to a lane.
  static I load_bytes(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // c - a * b
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static I bits(F x) { return _mm512_castps_si512(x); }
  static F from_bits(I x) { return _mm512_castsi512_ps(x); }
  static I add_bits(I a, I b) { return _mm512_add_epi32(a, b); }
  static I and_bits(I a, I b) { return _mm512_and_si512(a, b); }
  template <int kCount>
  static I shift_left(I x) {
    return _mm512_slli_epi32(x, kCount);
  }
  template <int kCount>
  static I shift_right(I x) {
    return _mm512_srli_epi32(x, kCount);
  }
  // x where a >= b, zero elsewhere.
  static F zero_unless_ge(F a, F b, F x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), x);
  }
  // Lanes from n on become `other`.
  static F keep_first(F x, int64_t n, F other) {
    const auto mask = static_cast<__mmask16>(n >= kWidth ? 0xffff : (n <= 0 ? 0 : (1 << n) - 1));
    return _mm512_mask_mov_ps(other, mask, x);
  }
  // Lanes 2i and 2i + 1 change places.
  static F swap_pairs(F x) { return _mm512_permute_ps(x, 0xb1); }
  static float reduce_add(F x) { return _mm512_reduce_add_ps(x); }
  static float reduce_max(F x) { return _mm512_reduce_max_ps(x); }

  static F load_bf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static F load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // Sign and magnitude in their places of an f16 are 2^-8 of the number.
  static F load_e4m3(const uint8_t* p) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i halves = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7),
                                            _mm256_set1_epi16(static_cast<int16_t>(0xbf80)));
    return _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0f));
  }
  // The lowest byte of each lane.
  static void store_bytes(uint8_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }
  // Integer rounding and not vcvtneps2bf16: that one flushes denormals.
  static void store_bf16(uint16_t* p, F x) {
    const __m512i u = bits(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
  }
  static void store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // 16 x 16: 4 x 4 within every 128-bit lane, then the lanes themselves.
  static void transpose(F v[16]) {
    F t[16];
    for (int i = 0; i < 16; i += 4) {
      const F a = _mm512_unpacklo_ps(v[i], v[i + 1]);
      const F b = _mm512_unpackhi_ps(v[i], v[i + 1]);
      const F c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]);
      const F d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
      t[i] = _mm512_shuffle_ps(a, c, 0x44);
      t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
      t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
      t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      const F a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
      const F b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
      const F c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
      const F d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
      v[i] = _mm512_shuffle_f32x4(a, c, 0x88);
      v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
      v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
      v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
