// Paged attention over an instruction set's Simd type: one sequence, one key head, consecutive
// query tokens.
//
// Keys are walked in tiles of kPanelWidth positions from 0. A tile is expanded to f32 once and
// shared by all rows (query tokens x heads of the group); a row enters a tile only when it sees a
// key of it. Scores and the mix of values go through the same product as linear layers, so a row's
// arithmetic never depends on the rows beside it. Source: Dao, arXiv:2307.08691 (online softmax).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/row_ops_impl.h"
#include "kernels/cpu/vector_math.h"

namespace trireme::kernels::cpu {
namespace {

template <class S>
struct Attention {
  using F = typename S::F;
  using M = VectorMath<S>;
  using Rows = RowOps<S>;
  using Product = Gemm<S, F32Format<S>, false>;
  using PairedProduct = Gemm<S, ExpandedBf16Format<S>, false>;
  using RowProduct = Gemm<S, Bf16RowFormat<S>, false>;
  static constexpr int64_t kRun = 16;  // keys that always follow each other in a block
  static constexpr int kVectors = kPanelWidth / S::kWidth;

  // The parts of an item's scratch.
  struct Work {
    int64_t padded_dim;  // head_dim in whole panels
    float* queries;      // [n_rows, padded_dim]
    float* scores;       // [n_rows, kPanelWidth]
    float* mixed;        // [n_rows, padded_dim], sums of weighted values
    float* max;          // [n_rows]
    float* sum;          // [n_rows]
    float* key_rows;     // [kPanelWidth, padded_dim]
    float* key_panel;    // [head_dim, kPanelWidth]
    float* values;       // padded_dim / kPanelWidth panels [kPanelWidth keys, kPanelWidth]
  };

  static Work split_scratch(const AttentionItem& item) {
    const int64_t n_rows = item.n_tokens * item.group;
    Work w;
    w.padded_dim = (item.head_dim + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
    w.key_panel = item.scratch;
    w.values = w.key_panel + kPanelWidth * w.padded_dim;
    w.key_rows = w.values + kPanelWidth * w.padded_dim;
    w.scores = w.key_rows + kPanelWidth * w.padded_dim;
    w.queries = w.scores + n_rows * kPanelWidth;
    w.mixed = w.queries + n_rows * w.padded_dim;
    w.max = w.mixed + n_rows * w.padded_dim;
    w.sum = w.max + n_rows;
    return w;
  }

  static void start(const AttentionItem& item, const Work& w) {
    int64_t row = 0;
    for (int64_t t = 0; t < item.n_tokens; ++t) {
      for (int64_t g = 0; g < item.group; ++g, ++row) {
        const float* q = item.q + t * item.q_stride + g * item.head_dim;
        Rows::to_f32(q, DType::kF32, item.head_dim, w.queries + row * w.padded_dim);
        w.max[row] = -__builtin_inff();
        w.sum[row] = 0;
      }
    }
    std::memset(w.mixed, 0, static_cast<size_t>(row * w.padded_dim) * sizeof(float));
    std::memset(w.values, 0, static_cast<size_t>(kPanelWidth * w.padded_dim) * sizeof(float));
  }

  // bf16 keys need no expansion: their channels stay in pairs, as the product of packed weights
  // reads them. The order of the sums is that of the f32 product, and so are the results.
  static bool keys_stay_paired(const AttentionItem& item) {
    return item.cache_dtype == DType::kBF16 && item.head_dim % 2 == 0;
  }

  // bf16 values of whole panels are read where they lie, for the few rows of a decode step:
  // expanding a tile first pays off with many rows only. It is the same multiply-adds in the same
  // order either way.
  static bool values_stay_in_place(const AttentionItem& item, int64_t n_rows) {
    return item.cache_dtype == DType::kBF16 && item.head_dim % kPanelWidth == 0 &&
           n_rows <= 2 * S::kTileRows;
  }

  // Puts up to kRun keys, rows of the cache that follow each other, into columns of the key panel.
  static void load_keys(const AttentionItem& item, const Work& w, const char* keys, int64_t n,
                        int64_t column) {
    const float* rows = reinterpret_cast<const float*>(keys);
    int64_t n_units = item.head_dim;
    if (keys_stay_paired(item)) {
      n_units = item.head_dim / 2;
    } else if (item.cache_dtype != DType::kF32) {
      Rows::to_f32(keys, item.cache_dtype, n * item.head_dim, w.key_rows);
      rows = w.key_rows;
    }
    for (int64_t i = 0; i < n; i += S::kWidth) {
      Rows::transpose_rows(rows + i * n_units, n_units, n - i, n_units, w.key_panel + column + i);
    }
  }

  static void load_values(const AttentionItem& item, const Work& w, const char* values, int64_t n,
                          int64_t column) {
    if (item.head_dim == kPanelWidth) {
      Rows::to_f32(values, item.cache_dtype, n * kPanelWidth, w.values + column * kPanelWidth);
      return;
    }
    const int64_t element = item.cache_dtype == DType::kF32 ? 4 : 2;
    for (int64_t i = 0; i < n; ++i, values += item.head_dim * element) {
      for (int64_t c = 0; c < item.head_dim; c += kPanelWidth) {
        const int64_t width = item.head_dim - c < kPanelWidth ? item.head_dim - c : kPanelWidth;
        Rows::to_f32(values + c * element, item.cache_dtype, width,
                     w.values + (c + column + i) * kPanelWidth);
      }
    }
  }

  // Bytes from the caches' start to key `key`.
  static int64_t offset_of(const AttentionItem& item, int64_t key) {
    const int64_t element = item.cache_dtype == DType::kF32 ? 4 : 2;
    return (item.blocks[key / item.block_size] * item.block_stride +
            key % item.block_size * item.head_dim) *
           element;
  }

  // Blocks lie anywhere, so the processor cannot guess where the next tile is; decoding would wait
  // for memory.
  static void prefetch_run(const AttentionItem& item, int64_t key) {
    const int64_t offset = offset_of(item, key);
    const int64_t bytes = kRun * item.head_dim * (item.cache_dtype == DType::kF32 ? 4 : 2);
    for (int64_t i = 0; i < bytes; i += 64) {
      __builtin_prefetch(static_cast<const char*>(item.k_cache) + offset + i, 0, 2);
      __builtin_prefetch(static_cast<const char*>(item.v_cache) + offset + i, 0, 2);
    }
  }

  // Brings keys [first, first + n) of n_keys near. Values behind them become zeros, since 0 x a
  // stale NaN is a NaN; scores of keys that are not there are masked later.
  static void load_tile(const AttentionItem& item, const Work& w, int64_t first, int64_t n,
                        int64_t n_keys, bool expand_values) {
    for (int64_t j = 0; j < n; j += kRun) {
      const int64_t ahead = first + kPanelWidth + j;
      if (ahead < n_keys) prefetch_run(item, ahead);
      const int64_t offset = offset_of(item, first + j);
      const int64_t n_run = n - j < kRun ? n - j : kRun;
      load_keys(item, w, static_cast<const char*>(item.k_cache) + offset, n_run, j);
      if (!expand_values) continue;
      load_values(item, w, static_cast<const char*>(item.v_cache) + offset, n_run, j);
    }
    if (!expand_values) return;
    for (int64_t c = 0; n < kPanelWidth && c < w.padded_dim; c += kPanelWidth) {
      std::memset(w.values + (c + n) * kPanelWidth, 0,
                  static_cast<size_t>((kPanelWidth - n) * kPanelWidth) * sizeof(float));
    }
  }

  // Turns one row's scores into weights, of which the first n_visible count, and rescales what was
  // mixed before.
  static void softmax_row(const AttentionItem& item, const Work& w, int64_t row,
                          int64_t n_visible) {
    float* scores = w.scores + row * kPanelWidth;
    const F lowest = S::set1(-__builtin_inff());
    const F scale = S::set1(item.scale);
    F s[kVectors];
    F highest = lowest;
    for (int v = 0; v < kVectors; ++v) {
      s[v] = S::mul(S::load(scores + v * S::kWidth), scale);
      s[v] = S::keep_first(s[v], n_visible - v * S::kWidth, lowest);
      highest = S::max(highest, s[v]);
    }
    const float tile_max = S::reduce_max(highest);
    const float max = tile_max > w.max[row] ? tile_max : w.max[row];
    const F offset = S::set1(max);
    F total = S::zero();
    for (int v = 0; v < kVectors; ++v) {
      s[v] = M::exp(S::sub(s[v], offset));
      total = S::add(total, s[v]);
      S::store(scores + v * S::kWidth, s[v]);
    }
    const F shrink = M::exp(S::sub(S::set1(w.max[row]), offset));
    alignas(64) float shrink_lanes[S::kWidth];
    S::store(shrink_lanes, shrink);
    w.sum[row] = w.sum[row] * shrink_lanes[0] + S::reduce_add(total);
    if (max != w.max[row]) {
      float* mixed = w.mixed + row * w.padded_dim;
      for (int64_t c = 0; c < w.padded_dim; c += S::kWidth) {
        S::store(mixed + c, S::mul(S::load(mixed + c), shrink));
      }
    }
    w.max[row] = max;
  }

  static void finish(const AttentionItem& item, const Work& w) {
    const int64_t element = item.out_dtype == DType::kF32 ? 4 : 2;
    int64_t row = 0;
    for (int64_t t = 0; t < item.n_tokens; ++t) {
      for (int64_t g = 0; g < item.group; ++g, ++row) {
        float* mixed = w.mixed + row * w.padded_dim;
        const F sum = S::set1(w.sum[row]);
        for (int64_t c = 0; c < w.padded_dim; c += S::kWidth) {
          S::store(mixed + c, S::div(S::load(mixed + c), sum));
        }
        char* out =
            static_cast<char*>(item.out) + (t * item.out_stride + g * item.head_dim) * element;
        Rows::from_f32(mixed, item.head_dim, item.out_dtype, out);
      }
    }
  }

  // scores[r][j] = q_r . k_j for rows [row, row + n_rows) and all keys of the tile.
  static void score(const AttentionItem& item, const Work& w, int64_t row, int64_t n_rows) {
    const bool paired = keys_stay_paired(item);
    const auto product = paired ? PairedProduct::panel : Product::panel;
    product({.x = w.queries + row * w.padded_dim,
             .x_stride = w.padded_dim,
             .n_rows = n_rows,
             .panel = w.key_panel,
             .n_units = paired ? item.head_dim / 2 : item.head_dim,
             .sums = w.scores + row * kPanelWidth,
             .sums_stride = kPanelWidth,
             .accumulate = false});
  }

  // mixed_r += weights_r . values, from the expanded tile.
  static void mix_expanded(const Work& w, int64_t row, int64_t n_rows) {
    for (int64_t c = 0; c < w.padded_dim; c += kPanelWidth) {
      Product::panel({.x = w.scores + row * kPanelWidth,
                      .x_stride = kPanelWidth,
                      .n_rows = n_rows,
                      .panel = w.values + c * kPanelWidth,
                      .n_units = kPanelWidth,
                      .sums = w.mixed + row * w.padded_dim + c,
                      .sums_stride = w.padded_dim,
                      .accumulate = true});
    }
  }

  // The same from the cache: keys [first, first + n), a run of keys of one block at a time.
  static void mix_in_place(const AttentionItem& item, const Work& w, int64_t row, int64_t n_rows,
                           int64_t first, int64_t n) {
    for (int64_t j = 0; j < n;) {
      const int64_t left_in_block = item.block_size - (first + j) % item.block_size;
      const int64_t n_run = n - j < left_in_block ? n - j : left_in_block;
      const char* values = static_cast<const char*>(item.v_cache) + offset_of(item, first + j);
      for (int64_t c = 0; c < item.head_dim; c += kPanelWidth) {
        RowProduct::panel({.x = w.scores + row * kPanelWidth + j,
                           .x_stride = kPanelWidth,
                           .n_rows = n_rows,
                           .panel = values + c * 2,
                           .n_units = n_run,
                           .unit_words = item.head_dim / 2,
                           .sums = w.mixed + row * w.padded_dim + c,
                           .sums_stride = w.padded_dim,
                           .accumulate = true});
      }
      j += n_run;
    }
  }

  static void run(const AttentionItem& item) {
    const Work w = split_scratch(item);
    start(item, w);
    const int64_t n_all_rows = item.n_tokens * item.group;
    const int64_t n_keys = item.first_position + item.n_tokens;
    const bool in_place = values_stay_in_place(item, n_all_rows);
    for (int64_t first = 0; first < n_keys; first += kPanelWidth) {
      const int64_t n = n_keys - first < kPanelWidth ? n_keys - first : kPanelWidth;
      load_tile(item, w, first, n, n_keys, !in_place);
      // Tokens before `first` see nothing of this tile.
      const int64_t token = first > item.first_position ? first - item.first_position : 0;
      const int64_t row = token * item.group;
      const int64_t n_rows = n_all_rows - row;
      score(item, w, row, n_rows);
      for (int64_t i = 0; i < n_rows; ++i) {
        const int64_t position = item.first_position + token + i / item.group;
        softmax_row(item, w, row + i, position - first + 1);
      }
      if (in_place) {
        mix_in_place(item, w, row, n_rows, first, n);
      } else {
        mix_expanded(w, row, n_rows);
      }
    }
    finish(item, w);
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
