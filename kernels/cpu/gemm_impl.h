// The matrix product of the CPU backend: one panel of kPanelWidth outputs times any number of rows.
//
// A row's sums are accumulated unit by unit in ascending order, whatever the number of rows, the
// tiling and the blocking: partial sums leave the registers as f32 and come back unchanged. One row
// alone and one row of 300 therefore run through the same multiply-adds in the same order and give
// the same bits.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa_kernels.h"

namespace trireme::kernels::cpu {
namespace {

// Weight formats. step() adds one unit to the sums of M rows and N vectors of outputs. A unit is
// kUnitWords long; where a format has kCodeWords, a byte for each output follows these.

template <class S>
struct F32Format {
  using X = float;
  static constexpr int kXPerUnit = 1;
  static constexpr int kWordsPerVector = S::kWidth;
  static constexpr int64_t kUnitWords = kPanelWidth;
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(typename S::F (&acc)[M][N], const float* x,
                                                         int64_t x_stride, const uint32_t* w) {
    typename S::F wv[N];
    for (int v = 0; v < N; ++v) wv[v] = S::from_bits(S::load_bits(w + v * S::kWidth));
    for (int r = 0; r < M; ++r) {
      const typename S::F xv = S::set1(x[r * x_stride]);
      for (int v = 0; v < N; ++v) acc[r][v] = S::fma(xv, wv[v], acc[r][v]);
    }
  }
};

// A 4-byte unit holds the bf16 weights of inputs 2u (low half) and 2u + 1: an f32 is its bf16
// shifted up.
template <class S>
struct ExpandedBf16Format {
  using X = float;
  static constexpr int kXPerUnit = 2;
  static constexpr int kWordsPerVector = S::kWidth;
  static constexpr int64_t kUnitWords = kPanelWidth;
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(typename S::F (&acc)[M][N], const float* x,
                                                         int64_t x_stride, const uint32_t* w) {
    typename S::F wv[N];
    for (int v = 0; v < N; ++v) {
      wv[v] = S::from_bits(S::template shift_left<16>(S::load_bits(w + v * S::kWidth)));
    }
    for (int r = 0; r < M; ++r) {
      const typename S::F xv = S::set1(x[r * x_stride]);
      for (int v = 0; v < N; ++v) acc[r][v] = S::fma(xv, wv[v], acc[r][v]);
    }
    for (int v = 0; v < N; ++v) {
      wv[v] = S::from_bits(S::and_bits(S::load_bits(w + v * S::kWidth), S::set1_bits(0xffff0000u)));
    }
    for (int r = 0; r < M; ++r) {
      const typename S::F xv = S::set1(x[r * x_stride + 1]);
      for (int v = 0; v < N; ++v) acc[r][v] = S::fma(xv, wv[v], acc[r][v]);
    }
  }
};

// A unit is a row of bf16 as it lies in a cache of values: no pairs, rows any distance apart.
template <class S>
struct Bf16RowFormat {
  using X = float;
  static constexpr int kXPerUnit = 1;
  static constexpr int kWordsPerVector = S::kWidth / 2;
  static constexpr int64_t kUnitWords = 0;  // as PanelGemm says
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(typename S::F (&acc)[M][N], const float* x,
                                                         int64_t x_stride, const uint32_t* w) {
    typename S::F wv[N];
    for (int v = 0; v < N; ++v) {
      wv[v] = S::load_bf16(reinterpret_cast<const uint16_t*>(w + v * kWordsPerVector));
    }
    for (int r = 0; r < M; ++r) {
      const typename S::F xv = S::set1(x[r * x_stride]);
      for (int v = 0; v < N; ++v) acc[r][v] = S::fma(xv, wv[v], acc[r][v]);
    }
  }
};

// The same of e4m3.
template <class S>
struct E4M3RowFormat {
  using X = float;
  static constexpr int kXPerUnit = 1;
  static constexpr int kWordsPerVector = S::kWidth / 4;
  static constexpr int64_t kUnitWords = 0;
  template <int M, int N>
  static inline __attribute__((always_inline)) void step(typename S::F (&acc)[M][N], const float* x,
                                                         int64_t x_stride, const uint32_t* w) {
    typename S::F wv[N];
    for (int v = 0; v < N; ++v) {
      wv[v] = S::load_e4m3(reinterpret_cast<const uint8_t*>(w + v * kWordsPerVector));
    }
    for (int r = 0; r < M; ++r) {
      const typename S::F xv = S::set1(x[r * x_stride]);
      for (int v = 0; v < N; ++v) acc[r][v] = S::fma(xv, wv[v], acc[r][v]);
    }
  }
};

// kReadsAhead: the panel comes from memory, and what follows it will be wanted next.
template <class S, class Format, bool kReadsAhead>
struct Gemm {
  using F = typename S::F;
  using X = typename Format::X;

  static constexpr int kPanelVectors = kPanelWidth / S::kWidth;
  // Of a unit; rows of a cache of values are taken for panels of the usual width.
  static constexpr int64_t kUnitBytes =
      (Format::kUnitWords > 0 ? Format::kUnitWords : kPanelWidth) * 4;
  static constexpr int kUnitLines = static_cast<int>(kUnitBytes / 64);
  // 64 KiB of a panel: it stays in the second-level cache while all row tiles pass over it.
  static constexpr int64_t kBlockUnits = 65536 / kUnitBytes;
  // How far a lone tile, which is bound by memory, reads ahead.
  static constexpr int64_t kReadAheadBytes = 8192;

  struct Tile {
    const X* x;
    int64_t x_stride;
    const uint32_t* w;
    int64_t n_units;
    int64_t unit_words;
    float* sums;
    int64_t sums_stride;
    bool accumulate;
    const char* prefetch;    // the next thing to bring near
    int64_t prefetch_bytes;  // per unit
  };

  // The most vectors of outputs whose sums fit the registers beside M rows.
  template <int M>
  static constexpr int vectors_per_pass() {
    int n = kPanelVectors;
    while (n * M > S::kAccumulators) n /= 2;
    return n;
  }

  template <int M, int N, int kPrefetchLines>
  static inline __attribute__((always_inline)) void pass(const Tile& t, int first_vector) {
    F acc[M][N];
    float* sums = t.sums + first_vector * S::kWidth;
    for (int r = 0; r < M; ++r) {
      for (int v = 0; v < N; ++v) {
        acc[r][v] = t.accumulate ? S::load(sums + r * t.sums_stride + v * S::kWidth) : S::zero();
      }
    }
    const X* x = t.x;
    const uint32_t* w = t.w + first_vector * Format::kWordsPerVector;
    const int64_t unit_words = Format::kUnitWords > 0 ? Format::kUnitWords : t.unit_words;
    const char* ahead = t.prefetch;
    for (int64_t u = 0; u < t.n_units; ++u) {
      if constexpr (requires { Format::kCodeWords; }) {
        const uint32_t* of_outputs = t.w + u * unit_words + Format::kCodeWords;
        Format::template step<M, N>(
            acc, x, t.x_stride, w,
            reinterpret_cast<const uint8_t*>(of_outputs) + first_vector * S::kWidth);
      } else {
        Format::template step<M, N>(acc, x, t.x_stride, w);
      }
      for (int line = 0; line < kPrefetchLines; ++line) {
        // One row reads ahead into the first level; many rows bring the next block into the second.
        if constexpr (kPrefetchLines == kUnitLines) {
          __builtin_prefetch(ahead + line * 64, 0, 3);
        } else {
          __builtin_prefetch(ahead + line * 64, 0, 2);
        }
      }
      ahead += t.prefetch_bytes;
      x += Format::kXPerUnit;
      w += unit_words;
    }
    for (int r = 0; r < M; ++r) {
      for (int v = 0; v < N; ++v) S::store(sums + r * t.sums_stride + v * S::kWidth, acc[r][v]);
    }
  }

  template <int M, int kPrefetchLines>
  static __attribute__((noinline)) void tile(const Tile& t) {
    constexpr int kVectors = vectors_per_pass<M>();
    pass<M, kVectors, kPrefetchLines>(t, 0);
    for (int v = kVectors; v < kPanelVectors; v += kVectors) pass<M, kVectors, 0>(t, v);
  }

  template <int kPrefetchLines>
  static void any_tile(int64_t n_rows, const Tile& t) {
    switch (n_rows) {
      case 1:
        return tile<1, kPrefetchLines>(t);
      case 2:
        return tile<2, kPrefetchLines>(t);
      case 3:
        return tile<3, kPrefetchLines>(t);
      case 4:
        return tile<4, kPrefetchLines>(t);
      default:
        break;
    }
    if constexpr (S::kTileRows >= 6) {
      if (n_rows == 5) return tile<5, kPrefetchLines>(t);
      return tile<6, kPrefetchLines>(t);
    }
  }

  // One block of units for all rows.
  static void block(const PanelGemm& g, int64_t first_unit, int64_t n_units, int64_t n_tiles) {
    Tile t{};
    t.x_stride = g.x_stride;
    t.w = static_cast<const uint32_t*>(g.panel) + first_unit * g.unit_words;
    t.n_units = n_units;
    t.unit_words = g.unit_words;
    t.sums_stride = g.sums_stride;
    t.accumulate = g.accumulate || first_unit > 0;
    const char* here = reinterpret_cast<const char*>(t.w);
    for (int64_t i = 0; i < n_tiles; ++i) {
      // Tiles of nearly equal height: 32 rows are 5 + 5 + 6 + 5 + 5 + 6 and not 5 x 6 + 2.
      const int64_t row = i * g.n_rows / n_tiles;
      const int64_t n_rows = (i + 1) * g.n_rows / n_tiles - row;
      t.x = static_cast<const X*>(g.x) + row * g.x_stride + first_unit * Format::kXPerUnit;
      t.sums = g.sums + row * g.sums_stride;
      if constexpr (!kReadsAhead) {
        any_tile<0>(n_rows, t);
      } else if (n_tiles == 1) {
        t.prefetch = here + kReadAheadBytes;
        t.prefetch_bytes = kUnitBytes;
        any_tile<kUnitLines>(n_rows, t);
      } else {
        // Each tile brings its share of the next block, so that memory is read at an even pace.
        t.prefetch_bytes = kUnitBytes / n_tiles;
        t.prefetch = here + n_units * kUnitBytes + i * n_units * t.prefetch_bytes;
        n_tiles < 4 ? any_tile<(kUnitLines + 1) / 2>(n_rows, t)
                    : any_tile<(kUnitLines + 3) / 4>(n_rows, t);
      }
    }
  }

  static void panel(const PanelGemm& g) {
    const int64_t n_tiles = (g.n_rows + S::kTileRows - 1) / S::kTileRows;
    const int64_t block_units = n_tiles == 1 ? g.n_units : kBlockUnits;
    for (int64_t u = 0; u < g.n_units; u += block_units) {
      block(g, u, g.n_units - u < block_units ? g.n_units - u : block_units, n_tiles);
    }
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
