// The matrix product of the CPU backend: one panel of kPanelWidth outputs times any number of rows.
//
// A row's sums are accumulated unit by unit in ascending order, whatever the number of rows, the
// tiling and the blocking: partial sums leave the registers as f32 and come back unchanged. One row
// alone and one row of 300 therefore run through the same multiply-adds in the same order and give
// the same bits. Where inputs come in groups, a group's sum is accumulated so from zero, and then
// the groups' scaled sums are, in ascending order too.
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

// kReadsAhead: the panel comes from memory, and what follows it will be wanted next. kGrouped: the
// sum of each group of units is scaled and added (PanelGroups) by the tile that made it.
template <class S, class Format, bool kReadsAhead, bool kGrouped = false>
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
    const PanelGroups* groups;
    int64_t first_unit;  // of the panel
    int64_t row;
  };

  // The most vectors of outputs whose sums fit the registers beside M rows.
  template <int M>
  static constexpr int vectors_per_pass() {
    int n = kPanelVectors;
    while (n * M > S::kAccumulators) n /= 2;
    return n;
  }

  // What the next unit is multiplied with.
  struct Cursor {
    const X* x;
    const uint32_t* w;
    const char* ahead;
  };

  template <int M, int N, int kPrefetchLines>
  static inline __attribute__((always_inline)) void add_units(const Tile& t, int first_vector,
                                                              int64_t n_units, Cursor* at,
                                                              F (&acc)[M][N]) {
    const int64_t unit_words = Format::kUnitWords > 0 ? Format::kUnitWords : t.unit_words;
    Cursor c = *at;
    for (int64_t u = 0; u < n_units; ++u) {
      if constexpr (requires { Format::kCodeWords; }) {
        const uint32_t* of_outputs =
            c.w + (Format::kCodeWords - first_vector * Format::kWordsPerVector);
        Format::template step<M, N>(
            acc, c.x, t.x_stride, c.w,
            reinterpret_cast<const uint8_t*>(of_outputs) + first_vector * S::kWidth);
      } else {
        Format::template step<M, N>(acc, c.x, t.x_stride, c.w);
      }
      for (int line = 0; line < kPrefetchLines; ++line) {
        // One row reads ahead into the first level; many rows bring the next block into the second.
        if constexpr (kPrefetchLines == kUnitLines) {
          __builtin_prefetch(c.ahead + line * 64, 0, 3);
        } else {
          __builtin_prefetch(c.ahead + line * 64, 0, 2);
        }
      }
      c.ahead += t.prefetch_bytes;
      c.x += Format::kXPerUnit;
      c.w += unit_words;
    }
    *at = c;
  }

  template <int M, int N>
  static inline __attribute__((always_inline)) void load_sums(const float* sums, int64_t stride,
                                                              bool add, F (&acc)[M][N]) {
    for (int r = 0; r < M; ++r) {
      for (int v = 0; v < N; ++v) {
        acc[r][v] = add ? S::load(sums + r * stride + v * S::kWidth) : S::zero();
      }
    }
  }
  template <int M, int N>
  static inline __attribute__((always_inline)) void store_sums(const F (&acc)[M][N], float* sums,
                                                               int64_t stride) {
    for (int r = 0; r < M; ++r) {
      for (int v = 0; v < N; ++v) S::store(sums + r * stride + v * S::kWidth, acc[r][v]);
    }
  }

  template <int M, int N>
  static inline __attribute__((always_inline)) void add_group(const Tile& t, int first_vector,
                                                              int64_t group, const F (&acc)[M][N]) {
    const PanelGroups& g = *t.groups;
    float* sums = t.sums + first_vector * S::kWidth;
    const int64_t at = group * kPanelWidth + first_vector * S::kWidth;
    for (int v = 0; v < N; ++v) {
      const F scale = S::load(g.scales + at + v * S::kWidth);
      for (int r = 0; r < M; ++r) {
        F part = acc[r][v];
        if (g.offsets != nullptr) {
          const F input_sum = S::set1(g.input_sums[(t.row + r) * g.input_sums_stride + group]);
          part = S::fnma(input_sum, S::load(g.offsets + at + v * S::kWidth), part);
        }
        float* sum = sums + r * t.sums_stride + v * S::kWidth;
        S::store(sum, group == 0 ? S::mul(part, scale) : S::fma(part, scale, S::load(sum)));
      }
    }
  }

  template <int M, int N, int kPrefetchLines>
  static inline __attribute__((always_inline)) void pass(const Tile& t, int first_vector) {
    F acc[M][N];
    Cursor at{t.x, t.w + first_vector * Format::kWordsPerVector, t.prefetch};
    if constexpr (kGrouped) {
      const PanelGroups& g = *t.groups;
      float* parts = g.parts + t.row * kPanelWidth + first_vector * S::kWidth;
      const int64_t end = t.first_unit + t.n_units;
      for (int64_t unit = t.first_unit; unit < end;) {
        const int64_t group = unit / g.group_units;
        const int64_t next = (group + 1) * g.group_units;
        const int64_t group_end = next < g.n_units ? next : g.n_units;
        const int64_t stop = group_end < end ? group_end : end;
        load_sums<M, N>(parts, kPanelWidth, unit > group * g.group_units, acc);
        add_units<M, N, kPrefetchLines>(t, first_vector, stop - unit, &at, acc);
        if (stop == group_end) {
          add_group<M, N>(t, first_vector, group, acc);
        } else {
          store_sums<M, N>(acc, parts, kPanelWidth);
        }
        unit = stop;
      }
    } else {
      float* sums = t.sums + first_vector * S::kWidth;
      load_sums<M, N>(sums, t.sums_stride, t.accumulate, acc);
      add_units<M, N, kPrefetchLines>(t, first_vector, t.n_units, &at, acc);
      store_sums<M, N>(acc, sums, t.sums_stride);
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
  static void block(const PanelGemm& g, const PanelGroups* groups, int64_t first_unit,
                    int64_t n_units, int64_t n_tiles) {
    Tile t{};
    t.groups = groups;
    t.first_unit = groups == nullptr ? 0 : groups->first_unit + first_unit;
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
      t.row = row;
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

  static void all_blocks(const PanelGemm& g, const PanelGroups* groups) {
    const int64_t n_tiles = (g.n_rows + S::kTileRows - 1) / S::kTileRows;
    const int64_t block_units = n_tiles == 1 ? g.n_units : kBlockUnits;
    for (int64_t u = 0; u < g.n_units; u += block_units) {
      block(g, groups, u, g.n_units - u < block_units ? g.n_units - u : block_units, n_tiles);
    }
  }

  static void panel(const PanelGemm& g) { all_blocks(g, nullptr); }
  static void groups(const PanelGemm& g, const PanelGroups& groups) { all_blocks(g, &groups); }
};

}  // namespace
}  // namespace trireme::kernels::cpu
