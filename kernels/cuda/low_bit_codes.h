// Low-bit codes as the bf16 fragments of a product (gemm_device.h), for the kernels that read them
// as they lie.
//
// A lane reads 16 bytes of an output's codes at once. A kind of codes says which inputs they are,
// and makes bf16 of them, exactly, 8 inputs at a time.
#pragma once

#include "kernels/cuda/e4m3_device.h"
#include "kernels/cuda/gemm_device.h"
#include "kernels/cuda/low_bit_device.h"

namespace trireme::kernels::cuda {

// How the codes of a kind are read. Step s of a chunk multiplies 32 inputs; lane t of a quad those
// from input_of(s, t) on, eight of them.
struct E4M3Codes {
  static constexpr LowBitCode kCode = LowBitCode::kE4M3;
  static constexpr int kSteps = 2;
  static constexpr int kScales = 1;  // groups are whole chunks
  TRIREME_HD static int input_of(int step, int in_quad) { return in_quad * 16 + step * 8; }
  static __device__ __forceinline__ uint4 weights(const uint4& piece, int step, uint32_t) {
    return expand_e4m3(word_of(piece, 2 * step), word_of(piece, 2 * step + 1));
  }
};

struct Int8Codes {
  static constexpr LowBitCode kCode = LowBitCode::kInt8;
  static constexpr int kSteps = 2;
  static constexpr int kScales = 1;
  TRIREME_HD static int input_of(int step, int in_quad) { return in_quad * 16 + step * 8; }
  // Bytes 2 i and 2 i + 1 of 8, each in the low bits of its half. Seven bits in those of 128 are
  // 128 and them, from which 128 is taken, or with the sign, in 128's lowest place of an exponent,
  // 256.
  static __device__ __forceinline__ uint32_t two(uint32_t word, int i) {
    const uint32_t codes = i == 0 ? (word & 0xffu) | (word & 0xff00u) << 8
                                  : (word >> 16 & 0xffu) | (word >> 8 & 0xff0000u);
    constexpr uint32_t kOne = 0x3f803f80u;
    return fma_bf16x2((codes & 0x007f007fu) | 0x43004300u, kOne,
                      (codes & 0x00800080u) | 0xc300c300u);
  }
  static __device__ __forceinline__ uint4 weights(const uint4& piece, int step, uint32_t) {
    const uint32_t low = word_of(piece, 2 * step);
    const uint32_t high = word_of(piece, 2 * step + 1);
    return {two(low, 0), two(low, 1), two(high, 0), two(high, 1)};
  }
};

// Groups are one step.
struct E2M1Codes {
  static constexpr LowBitCode kCode = LowBitCode::kE2M1;
  static constexpr int kSteps = 4;
  static constexpr int kScales = 4;
  TRIREME_HD static int input_of(int step, int in_quad) { return step * 32 + in_quad * 8; }
  // A code in the low bits of each half: its sign and magnitude in their places of a bf16 make
  // 2^-126 of its value.
  static __device__ __forceinline__ uint32_t two(uint32_t codes) {
    constexpr uint32_t kScale = 0x7e807e80u;  // 2^126
    constexpr uint32_t kNothing = 0x80008000u;
    return fma_bf16x2((codes & 0x00080008u) << 12 | (codes & 0x00070007u) << 6, kScale, kNothing);
  }
  static __device__ __forceinline__ uint4 weights(const uint4& piece, int step, uint32_t) {
    const uint32_t word = word_of(piece, step);
    return {two(word), two(word >> 4), two(word >> 8), two(word >> 12)};
  }
};

// kScalesOfChunk: 1 where groups are whole chunks, else one per step.
template <int kScalesOfChunk>
struct Int4Codes {
  static constexpr LowBitCode kCode = LowBitCode::kInt4;
  static constexpr int kSteps = 4;
  static constexpr int kScales = kScalesOfChunk;
  TRIREME_HD static int input_of(int step, int in_quad) { return step * 32 + in_quad * 8; }
  // A code in the low bits of 128 is 128 + code, from which 128 + the zero point is taken.
  static __device__ __forceinline__ uint4 weights(const uint4& piece, int step, uint32_t minus) {
    const uint32_t word = word_of(piece, step);
    constexpr uint32_t kOne = 0x3f803f80u;
    constexpr uint32_t k128 = 0x43004300u;
    constexpr uint32_t kMask = 0x000f000fu;
    return {fma_bf16x2((word & kMask) | k128, kOne, minus),
            fma_bf16x2((word >> 4 & kMask) | k128, kOne, minus),
            fma_bf16x2((word >> 8 & kMask) | k128, kOne, minus),
            fma_bf16x2((word >> 12 & kMask) | k128, kOne, minus)};
  }
};

// -(128 + zero point), twice.
__device__ __forceinline__ uint32_t minus_128_and(int zero) {
  return (0xc300u | static_cast<uint32_t>(zero)) * 0x10001u;
}

struct CodeScale {
  float scale;
  uint32_t minus;  // of kInt4
};

// Scale i of kScales of one output's chunk of 64 bytes.
template <typename Codes>
__device__ __forceinline__ CodeScale load_scale(const LowBitView& view, const uint8_t* weight,
                                                int64_t out, int64_t chunk, int i) {
  const auto step = static_cast<int32_t>(chunk * Codes::kSteps + i);
  const int64_t at = scale_index(view, out, step);
  CodeScale s{scale_of<Codes::kCode>(view, weight, at), 0};
  if constexpr (Codes::kCode == LowBitCode::kInt4) {
    s.minus = minus_128_and(zero_of(view, weight, at));
  }
  return s;
}

// Calls `with` with the kind of the shape's codes.
template <typename With>
void with_codes(const LowBitShape& shape, With&& with) {
  switch (shape.code) {
    case LowBitCode::kE4M3:
      return with(E4M3Codes{});
    case LowBitCode::kInt8:
      return with(Int8Codes{});
    case LowBitCode::kE2M1:
      return with(E2M1Codes{});
    case LowBitCode::kInt4:
      break;
  }
  const bool whole_chunks = shape.n_groups == 1 || shape.group_steps % Int4Codes<1>::kSteps == 0;
  whole_chunks ? with(Int4Codes<1>{}) : with(Int4Codes<4>{});
}

}  // namespace trireme::kernels::cuda
