// The quantised blocks of GGUF: one function per type from a block's bytes to its f32 values.
//
// Pure constexpr functions, shared by host code and kernels. `d`, `m` and `dmin` are f16; "nibbles"
// are 16 bytes whose low halves are elements 0..15 and high halves elements 16..31. Products are
// rounded to f32 one at a time, in the order in which they are written here, as by the reference
// decoders.
// Source: the GGUF specification, and llama.cpp's published block structures.
#pragma once

#include <cstdint>

#include "kernels/quant/number_formats.h"

namespace trireme::kernels::quant {

inline constexpr int kBlock = 32;        // elements of the simple types
inline constexpr int kSuperBlock = 256;  // elements of the K types and IQ4_XS

// Calls use(j, q) with the 32 unsigned nibbles of 16 bytes.
template <typename Use>
constexpr void for_each_nibble(const uint8_t* bytes, Use use) {
  for (int j = 0; j < 16; ++j) {
    use(j, static_cast<int>(bytes[j] & 0xfu));
    use(j + 16, static_cast<int>(bytes[j] >> 4));
  }
}

// d, i8[32]: d * q.
constexpr void dequantize_q8_0(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for (int j = 0; j < kBlock; ++j) {
    out[j] = d * static_cast<float>(static_cast<int8_t>(block[2 + j]));
  }
}

// d, nibbles: d * (q - 8).
constexpr void dequantize_q4_0(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for_each_nibble(block + 2, [&](int j, int q) { out[j] = d * static_cast<float>(q - 8); });
}

// d, m, nibbles: d * q + m.
constexpr void dequantize_q4_1(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float m = load_f16(block + 2);
  for_each_nibble(block + 4, [&](int j, int q) { out[j] = d * static_cast<float>(q) + m; });
}

// Bit 4 of element j is bit j of `high`.
constexpr int with_high_bit(int q, uint32_t high, int j) {
  return q | static_cast<int>((high >> j & 1u) << 4);
}

// d, u32 high bits, nibbles: d * (q - 16).
constexpr void dequantize_q5_0(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const uint32_t high = load_u32(block + 2);
  for_each_nibble(block + 6, [&](int j, int q) {
    out[j] = d * static_cast<float>(with_high_bit(q, high, j) - 16);
  });
}

// d, m, u32 high bits, nibbles: d * q + m.
constexpr void dequantize_q5_1(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float m = load_f16(block + 2);
  const uint32_t high = load_u32(block + 4);
  for_each_nibble(block + 8, [&](int j, int q) {
    out[j] = d * static_cast<float>(with_high_bit(q, high, j)) + m;
  });
}

// The 16 levels of the IQ4 types, denser near zero.
constexpr int iq4_level(int code) {
  constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  return kLevels[code];
}

// d, nibbles into the levels: d * level.
constexpr void dequantize_iq4_nl(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  for_each_nibble(block + 2, [&](int j, int q) { out[j] = d * static_cast<float>(iq4_level(q)); });
}

// E8M0 scale, nibbles of E2M1: scale * value. Elements j and j + 16 share a byte, unlike in the
// safetensors form of the same numbers.
constexpr void dequantize_mxfp4(const uint8_t* block, float* out) {
  const float d = e8m0_to_f32(block[0]);
  for_each_nibble(block + 1,
                  [&](int j, int q) { out[j] = d * e2m1_to_f32(static_cast<uint32_t>(q)); });
}

// Two bits each of 256 elements: element 128 h + 32 s + l is bits 2s of qs[32 h + l].
constexpr int two_bits(const uint8_t* qs, int element) {
  const int h = element / 128;
  const int s = element / 32 % 4;
  const int l = element % 32;
  return qs[32 * h + l] >> (2 * s) & 3;
}

// sc[16], qs[64], d, dmin: d * (sc & 15) * q - dmin * (sc >> 4), one sc per 16 elements.
constexpr void dequantize_q2_k(const uint8_t* block, float* out) {
  const uint8_t* qs = block + 16;
  const float d = load_f16(block + 80);
  const float dmin = load_f16(block + 82);
  for (int i = 0; i < 16; ++i) {
    const float scale = d * static_cast<float>(block[i] & 0xf);
    const float least = dmin * static_cast<float>(block[i] >> 4);
    for (int e = 16 * i; e < 16 * (i + 1); ++e) {
      out[e] = scale * static_cast<float>(two_bits(qs, e)) - least;
    }
  }
}

// hmask[32], qs[64], sc[12], d: d * (s - 32) * (q - 4 if the mask bit is clear).
constexpr void dequantize_q3_k(const uint8_t* block, float* out) {
  const uint8_t* hmask = block;
  const uint8_t* qs = block + 32;
  const uint8_t* sc = block + 96;
  const float d = load_f16(block + 108);
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? sc[i] & 0xf : sc[i - 8] >> 4;
    const int high = sc[8 + i % 4] >> (2 * (i / 4)) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int e = 16 * i; e < 16 * (i + 1); ++e) {
      const bool set = (hmask[e % 32] >> (e / 32) & 1) != 0;
      out[e] = scale * static_cast<float>(two_bits(qs, e) - (set ? 0 : 4));
    }
  }
}

// Scale and minimum of sub-block j of Q4_K and Q5_K: 6 bits each, packed into 12 bytes.
struct ScaleAndMin {
  int scale = 0;
  int min = 0;
};
constexpr ScaleAndMin unpack_scale_and_min(const uint8_t* sc, int j) {
  if (j < 4) return {sc[j] & 63, sc[j + 4] & 63};
  return {(sc[j + 4] & 0xf) | (sc[j - 4] >> 6) << 4, sc[j + 4] >> 4 | (sc[j] >> 6) << 4};
}

// d, dmin, sc[12], qs[128]: d * s * q - dmin * m. Each 32 bytes of qs hold one sub-block in their
// low halves and the next in their high halves.
constexpr void dequantize_q4_k(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float dmin = load_f16(block + 2);
  const uint8_t* qs = block + 16;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMin sub = unpack_scale_and_min(block + 4, j);
    const float scale = d * static_cast<float>(sub.scale);
    const float least = dmin * static_cast<float>(sub.min);
    for (int l = 0; l < 32; ++l) {
      const int q = qs[32 * (j / 2) + l] >> (4 * (j % 2)) & 0xf;
      out[32 * j + l] = scale * static_cast<float>(q) - least;
    }
  }
}

// d, dmin, sc[12], qh[32], qs[128]: as Q4_K, bit 4 of element l of sub-block j is bit j of qh[l].
constexpr void dequantize_q5_k(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const float dmin = load_f16(block + 2);
  const uint8_t* qh = block + 16;
  const uint8_t* qs = block + 48;
  for (int j = 0; j < 8; ++j) {
    const ScaleAndMin sub = unpack_scale_and_min(block + 4, j);
    const float scale = d * static_cast<float>(sub.scale);
    const float least = dmin * static_cast<float>(sub.min);
    for (int l = 0; l < 32; ++l) {
      const int q = (qs[32 * (j / 2) + l] >> (4 * (j % 2)) & 0xf) | (qh[l] >> j & 1) << 4;
      out[32 * j + l] = scale * static_cast<float>(q) - least;
    }
  }
}

// ql[128], qh[64], i8 sc[16], d: d * sc * (q - 32), one sc per 16 elements.
constexpr void dequantize_q6_k(const uint8_t* block, float* out) {
  const uint8_t* ql = block;
  const uint8_t* qh = block + 128;
  const uint8_t* sc = block + 192;
  const float d = load_f16(block + 208);
  for (int e = 0; e < kSuperBlock; ++e) {
    const int h = e / 128;
    const int k = e / 32 % 4;
    const int l = e % 32;
    const int low = ql[64 * h + 32 * (k % 2) + l] >> (4 * (k / 2)) & 0xf;
    const int high = qh[32 * h + l] >> (2 * k) & 3;
    const float scale = d * static_cast<float>(static_cast<int8_t>(sc[e / 16]));
    out[e] = scale * static_cast<float>((low | high << 4) - 32);
  }
}

// d, u16 h, sl[4], qs[128]: d * (s - 32) * level, 8 sub-blocks of nibbles. s is 4 bits of sl (low
// half first) and 2 bits of h.
constexpr void dequantize_iq4_xs(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const uint32_t h = load_u16(block + 2);
  const uint8_t* sl = block + 4;
  for (int j = 0; j < 8; ++j) {
    const int low = sl[j / 2] >> (4 * (j % 2)) & 0xf;
    const int high = static_cast<int>(h >> (2 * j) & 3u);
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    float* to = out + 32 * j;
    for_each_nibble(block + 8 + 16 * j,
                    [&](int i, int q) { to[i] = scale * static_cast<float>(iq4_level(q)); });
  }
}

}  // namespace trireme::kernels::quant
