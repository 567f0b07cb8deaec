// Fills a table of kernels from an instruction set's Simd type. Included once by each isa_*.cc,
// after its Simd.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/activations_impl.h"
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/low_bit_impl.h"
#include "kernels/cpu/norms_impl.h"
#include "kernels/cpu/row_ops_impl.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct Limits {
  using F = typename S::F;
  static constexpr int kChains = 12;  // enough to cover the multiplier's latency
  static constexpr int64_t kFlopsPerRound = int64_t{2} * kChains * S::kWidth;

  static float spin_f32(int64_t n_rounds) {
    F acc[kChains];
    for (int c = 0; c < kChains; ++c) acc[c] = S::set1(static_cast<float>(c));
    // Inputs that the compiler cannot see through keep it from folding the rounds.
    float a = 0.999f;
    float b = 0.5f;
    __asm__ volatile("" : "+m"(a), "+m"(b));
    const F x = S::set1(a);
    const F y = S::set1(b);
    for (int64_t i = 0; i < n_rounds; ++i) {
      for (int c = 0; c < kChains; ++c) acc[c] = S::fma(acc[c], x, y);
    }
    F sum = S::zero();
    for (int c = 0; c < kChains; ++c) sum = S::add(sum, acc[c]);
    return S::reduce_add(sum);
  }

  static uint64_t read_memory(const void* memory, size_t bytes) {
    constexpr int kStreams = 8;
    constexpr int kStreamLanes = S::kWidth;
    const auto* p = static_cast<const uint32_t*>(memory);
    typename S::I acc[kStreams];
    for (int c = 0; c < kStreams; ++c) acc[c] = S::set1_bits(0);
    const size_t n = bytes / sizeof(uint32_t);
    for (size_t i = 0; i + kStreams * kStreamLanes <= n; i += kStreams * kStreamLanes) {
      for (int c = 0; c < kStreams; ++c) {
        acc[c] = S::add_bits(acc[c], S::load_bits(p + i + c * kStreamLanes));
      }
      for (int line = 0; line < kStreams * kStreamLanes / 16; ++line) {
        __builtin_prefetch(p + i + 1024 + line * 16, 0, 3);
      }
    }
    uint64_t sum = 0;
    for (int c = 0; c < kStreams; ++c) {
      alignas(64) float lanes[S::kWidth];
      S::store(lanes, S::from_bits(acc[c]));
      for (int i = 0; i < S::kWidth; ++i) sum += __builtin_bit_cast(uint32_t, lanes[i]);
    }
    return sum;
  }
};

template <class S, class Units>
LowBitKernels low_bit_kernels() {
  return {Gemm<S, LowBitF32Format<S, Units>, true, true>::groups, nullptr, expand_units<S, Units>};
}

template <class S>
IsaKernels make_table(const char* name) {
  IsaKernels k;
  k.name = name;
  k.gemm_f32 = Gemm<S, F32Format<S>, true>::panel;
  k.gemm_bf16_as_f32 = Gemm<S, ExpandedBf16Format<S>, true>::panel;
  k.e4m3 = low_bit_kernels<S, E4M3Units<S>>();
  k.int4 = low_bit_kernels<S, Int4Units<S>>();
  k.int8 = low_bit_kernels<S, Int8Units<S>>();
  k.e2m1 = {Gemm<S, E2M1F32Format<S>, true>::panel, nullptr, expand_e2m1_units<S>};
  k.expanded.gemm_bf16_as_f32 = Gemm<S, ExpandedBf16Format<S>, false>::panel;
  k.expanded.groups_bf16_as_f32 = Gemm<S, ExpandedBf16Format<S>, false, true>::groups;
  k.sum_groups = sum_groups<S>;
  k.transpose_to_panel = RowOps<S>::transpose_to_panel;
  k.to_f32 = RowOps<S>::to_f32;
  k.from_f32 = RowOps<S>::from_f32;
  k.convert_scaled = RowOps<S>::convert_scaled;
  k.add_bias = RowOps<S>::add_bias;
  k.add = RowOps<S>::add;
  k.scale = RowOps<S>::scale;
  k.sum_squares = Norms<S>::sum_squares;
  k.rms_norm = Norms<S>::rms_norm;
  k.layer_norm = Norms<S>::layer_norm;
  k.activate = Activations<S>::activate;
  k.clamped_swiglu = Activations<S>::clamped_swiglu;
  k.sigmoid = Activations<S>::sigmoid;
  k.exp_minus = Activations<S>::exp_minus;
  k.softcap = Activations<S>::softcap;
  k.rope = RowOps<S>::rope;
  k.rope_interleaved = RowOps<S>::rope_interleaved;
  k.max_sum_exp = RowOps<S>::max_sum_exp;
  k.attention = Attention<S>::run;
  k.spin_f32 = Limits<S>::spin_f32;
  k.spin_f32_flops = Limits<S>::kFlopsPerRound;
  k.read_memory = Limits<S>::read_memory;
  return k;
}

}  // namespace
}  // namespace trireme::kernels::cpu
