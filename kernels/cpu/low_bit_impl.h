// Low-bit codes as f32 vectors, for any instruction set, and the sums of groups.
//
// A unit is a word of an output's inputs: of kE4M3 four bytes, of which those of inputs 0 and 1
// stand in the low halves of the word's halves, those of 2 and 3 in the high ones; of kInt4 eight
// nibbles as in low_bit.h. Every value is exact in bf16, so that a product may run over codes as
// they lie or over expanded ones and have the same bits.
#pragma once

#include <cstdint>

#include "kernels/cpu/gemm_impl.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct E4M3Units {
  static constexpr int kInputs = 4;
  template <int kInput>
  static inline __attribute__((always_inline)) typename S::F value(typename S::I word) {
    using F = typename S::F;
    // The byte's place in the word, from the low end.
    constexpr int kByte = kInput % 2 * 2 + kInput / 2;
    const auto top = S::template shift_left<24 - 8 * kByte>(word);
    const auto magnitude = S::template shift_right<4>(S::and_bits(top, S::set1_bits(0x7f000000u)));
    const F one = S::from_bits(S::add_bits(magnitude, S::set1_bits(120u << 23)));
    // Below 2^-6 there is no leading one: what it added, 2^-7 more than the rest, is taken back.
    const F least = S::set1(0x1p-6f);
    const F absolute = S::add(one, S::min(S::sub(one, least), S::zero()));
    return S::from_bits(
        S::add_bits(S::bits(absolute), S::and_bits(top, S::set1_bits(0x80000000u))));
  }
};

template <class S>
struct Int4Units {
  static constexpr int kInputs = 8;
  template <int kInput>
  static inline __attribute__((always_inline)) typename S::F value(typename S::I word) {
    constexpr int kShift = kInput % 2 * 16 + kInput / 2 * 4;
    const auto code = S::and_bits(S::template shift_right<kShift>(word), S::set1_bits(0xfu));
    // 2^23 + code, less 2^23 + 8.
    return S::sub(S::from_bits(S::add_bits(code, S::set1_bits(0x4b000000u))), S::set1(8388616.0f));
  }
};

template <class S, class Units>
struct LowBitF32Format {
  using X = float;
  static constexpr int kXPerUnit = Units::kInputs;
  static constexpr int kWordsPerVector = S::kWidth;
  static constexpr bool kPacked = true;
  template <int kInput, int M, int N>
  static inline __attribute__((always_inline)) void add_inputs(typename S::F (&acc)[M][N],
                                                               const float* x, int64_t x_stride,
                                                               const uint32_t* w) {
    if constexpr (kInput < Units::kInputs) {
      typename S::F wv[N];
      for (int v = 0; v < N; ++v) {
        wv[v] = Units::template value<kInput>(S::load_bits(w + v * S::kWidth));
      }
      for (int r = 0; r < M; ++r) {
        const typename S::F xv = S::set1(x[r * x_stride + kInput]);
        for (int v = 0; v < N; ++v) acc[r][v] = S::fma(xv, wv[v], acc[r][v]);
      }
      add_inputs<kInput + 1>(acc, x, x_stride, w);
    }
  }
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(typename S::F (&acc)[M][N], const float* x,
                                                         int64_t x_stride, const uint32_t* w) {
    add_inputs<0>(acc, x, x_stride, w);
  }
};

template <class S, class Units, int kInput>
inline __attribute__((always_inline)) void store_expanded(typename S::I word, uint32_t* pairs) {
  if constexpr (kInput < Units::kInputs) {
    const auto low = S::bits(Units::template value<kInput>(word));
    const auto high = S::bits(Units::template value<kInput + 1>(word));
    const auto both =
        S::add_bits(S::template shift_right<16>(low), S::and_bits(high, S::set1_bits(0xffff0000u)));
    S::store(reinterpret_cast<float*>(pairs) + kInput / 2 * kPanelWidth, S::from_bits(both));
    store_expanded<S, Units, kInput + 2>(word, pairs);
  }
}

template <class S, class Units>
void expand_units(const uint32_t* units, int64_t n_units, uint32_t* pairs) {
  for (int64_t u = 0; u < n_units; ++u) {
    for (int v = 0; v < kPanelWidth; v += S::kWidth) {
      store_expanded<S, Units, 0>(S::load_bits(units + v), pairs + v);
    }
    units += kPanelWidth;
    pairs += Units::kInputs / 2 * kPanelWidth;
  }
}

template <class S>
struct LowBitSums {
  using F = typename S::F;

  static void add_group(const GroupSum& g) {
    float offsets[kPanelWidth] = {};
    for (int o = 0; g.offsets != nullptr && o < kPanelWidth; ++o) offsets[o] = g.offsets[o];
    for (int64_t r = 0; r < g.n_rows; ++r) {
      const float* parts = g.parts + r * kPanelWidth;
      float* sums = g.sums + r * kPanelWidth;
      for (int o = 0; o < kPanelWidth; o += S::kWidth) {
        F part = S::load(parts + o);
        if (g.offsets != nullptr) {
          const F input_sum = S::set1(g.input_sums[r * g.input_sums_stride]);
          part = S::fnma(input_sum, S::load(offsets + o), part);
        }
        const F scale = S::load(g.scales + o);
        S::store(sums + o, g.first ? S::mul(part, scale) : S::fma(part, scale, S::load(sums + o)));
      }
    }
  }

  template <typename X>
  static void sum(const X* x, int64_t n, int64_t group_size, float* sums) {
    for (int64_t begin = 0; begin < n; begin += group_size) {
      const int64_t end = begin + group_size < n ? begin + group_size : n;
      F total = S::zero();
      for (int64_t i = begin; i < end; i += S::kWidth) {
        if constexpr (sizeof(X) == 2) {
          total = S::add(total, S::load_bf16(x + i));
        } else {
          total = S::add(total, S::load(x + i));
        }
      }
      *sums++ = S::reduce_add(total);
    }
  }

  static void sum_groups(const void* x, DType dtype, int64_t n, int64_t group_size, float* sums) {
    if (dtype == DType::kBF16) return sum(static_cast<const uint16_t*>(x), n, group_size, sums);
    sum(static_cast<const float*>(x), n, group_size, sums);
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
