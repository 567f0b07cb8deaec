// Low-bit codes as f32 vectors, for any instruction set, and the sums of groups of inputs.
//
// A unit is a word of an output's inputs: of kE4M3 and kInt8 four bytes, of which those of inputs 0
// and 1 stand in the low halves of the word's halves, those of 2 and 3 in the high ones; of kInt4
// eight nibbles as in low_bit.h. A unit of kE2M1 is a group of 32 inputs: four words of nibbles,
// and then each output's scale (isa_kernels.h). Every value is exact in bf16, so that a product may
// run over codes as they lie or over expanded ones and have the same bits.
#pragma once

#include <cstdint>

#include "kernels/cpu/gemm_impl.h"

namespace trireme::kernels::cpu {
namespace {

// A byte's place in its word, from the low end.
constexpr int byte_of(int input) { return input % 2 * 2 + input / 2; }

template <class S>
struct E4M3Units {
  static constexpr int kInputs = 4;
  template <int kInput>
  static inline __attribute__((always_inline)) typename S::F value(typename S::I word) {
    using F = typename S::F;
    const auto top = S::template shift_left<24 - 8 * byte_of(kInput)>(word);
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
struct Int8Units {
  static constexpr int kInputs = 4;
  template <int kInput>
  static inline __attribute__((always_inline)) typename S::F value(typename S::I word) {
    // The sign turned over: code + 128. Then 2^23 + code + 128, less 2^23 + 128.
    const auto top = S::add_bits(S::template shift_left<24 - 8 * byte_of(kInput)>(word),
                                 S::set1_bits(0x80000000u));
    const auto code = S::template shift_right<24>(top);
    return S::sub(S::from_bits(S::add_bits(code, S::set1_bits(0x4b000000u))), S::set1(8388736.0f));
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

template <class S>
struct E2M1Units {
  static constexpr int kInputs = 32;
  static typename S::F scale(const uint8_t* exponents) {
    return S::from_bits(S::template shift_left<23>(S::load_bytes(exponents)));
  }
  // Input kInput % 8 of a word, times its scale.
  template <int kInput>
  static inline __attribute__((always_inline)) typename S::F value(typename S::I word,
                                                                   typename S::F scale) {
    using F = typename S::F;
    constexpr int kShift = kInput % 2 * 16 + kInput / 2 * 4;
    const auto top = S::template shift_left<28 - kShift>(word);
    const auto magnitude = S::template shift_right<6>(S::and_bits(top, S::set1_bits(0x70000000u)));
    const F one = S::from_bits(S::add_bits(magnitude, S::set1_bits(126u << 23)));
    // Below 1 there is no leading one: what it added, 1/2 more than the rest, is taken back.
    const F absolute = S::add(one, S::min(S::sub(one, S::set1(1)), S::zero()));
    const F unscaled =
        S::from_bits(S::add_bits(S::bits(absolute), S::and_bits(top, S::set1_bits(0x80000000u))));
    return S::mul(unscaled, scale);
  }
};

template <class S, class Units>
struct LowBitF32Format {
  using X = float;
  static constexpr int kXPerUnit = Units::kInputs;
  static constexpr int kWordsPerVector = S::kWidth;
  static constexpr int64_t kUnitWords = kPanelWidth;
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

template <class S>
struct E2M1F32Format {
  using X = float;
  static constexpr int kXPerUnit = E2M1Units<S>::kInputs;
  static constexpr int kWordsPerVector = S::kWidth;
  static constexpr int64_t kUnitWords = kScaledUnitWords;
  static constexpr int64_t kCodeWords = kScaledUnitCodeWords;
  template <int kInput, int M, int N>
  static inline __attribute__((always_inline)) void add_inputs(typename S::F (&acc)[M][N], int v,
                                                               const float* x, int64_t x_stride,
                                                               typename S::I word,
                                                               typename S::F scale) {
    if constexpr (kInput < 8) {
      const typename S::F wv = E2M1Units<S>::template value<kInput>(word, scale);
      for (int r = 0; r < M; ++r) {
        acc[r][v] = S::fma(S::set1(x[r * x_stride + kInput]), wv, acc[r][v]);
      }
      add_inputs<kInput + 1>(acc, v, x, x_stride, word, scale);
    }
  }
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(typename S::F (&acc)[M][N], const float* x,
                                                         int64_t x_stride, const uint32_t* w,
                                                         const uint8_t* exponents) {
    for (int v = 0; v < N; ++v) {
      const typename S::F scale = E2M1Units<S>::scale(exponents + v * S::kWidth);
      for (int word = 0; word < 4; ++word) {
        add_inputs<0>(acc, v, x + word * 8, x_stride,
                      S::load_bits(w + word * kPanelWidth + v * S::kWidth), scale);
      }
    }
  }
};

template <class S>
inline __attribute__((always_inline)) void store_pair(typename S::F low, typename S::F high,
                                                      uint32_t* pairs) {
  const auto both = S::add_bits(S::template shift_right<16>(S::bits(low)),
                                S::and_bits(S::bits(high), S::set1_bits(0xffff0000u)));
  S::store(reinterpret_cast<float*>(pairs), S::from_bits(both));
}

template <class S, class Units, int kInput, typename... Scale>
inline __attribute__((always_inline)) void store_expanded(typename S::I word, uint32_t* pairs,
                                                          Scale... scale) {
  if constexpr (kInput < 8 && kInput < Units::kInputs) {
    store_pair<S>(Units::template value<kInput>(word, scale...),
                  Units::template value<kInput + 1>(word, scale...),
                  pairs + kInput / 2 * kPanelWidth);
    store_expanded<S, Units, kInput + 2>(word, pairs, scale...);
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
void expand_e2m1_units(const uint32_t* units, int64_t n_units, uint32_t* pairs) {
  for (int64_t u = 0; u < n_units; ++u) {
    const auto* exponents = reinterpret_cast<const uint8_t*>(units + kScaledUnitCodeWords);
    for (int v = 0; v < kPanelWidth; v += S::kWidth) {
      const typename S::F scale = E2M1Units<S>::scale(exponents + v);
      for (int word = 0; word < 4; ++word) {
        store_expanded<S, E2M1Units<S>, 0>(S::load_bits(units + word * kPanelWidth + v),
                                           pairs + word * 4 * kPanelWidth + v, scale);
      }
    }
    units += kScaledUnitWords;
    pairs += 16 * kPanelWidth;
  }
}

template <class S, typename X>
void sum_groups_of(const X* x, int64_t n, int64_t group_size, float* sums) {
  using F = typename S::F;
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

template <class S>
void sum_groups(const void* x, DType dtype, int64_t n, int64_t group_size, float* sums) {
  if (dtype == DType::kBF16) {
    return sum_groups_of<S>(static_cast<const uint16_t*>(x), n, group_size, sums);
  }
  sum_groups_of<S>(static_cast<const float*>(x), n, group_size, sums);
}

}  // namespace
}  // namespace trireme::kernels::cpu
