// Paged attention over an instruction set's Simd type: one sequence, one key head, consecutive
// query tokens.
//
// Keys are walked in tiles of kPanelWidth positions from 0. A tile is expanded to f32 once and
// shared by all rows (query tokens x heads of the group); a row enters a tile only when it sees a
// key of it, and runs of keys before everybody's window are not read: their blocks may be gone.
// Scores and the mix of values go through the same product as linear layers, so a row's arithmetic
// never depends on the rows beside it. Source: Dao, arXiv:2307.08691 (online softmax).
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
  using Bf16RowProduct = Gemm<S, Bf16RowFormat<S>, false>;
  using E4M3RowProduct = Gemm<S, E4M3RowFormat<S>, false>;
  static constexpr int64_t kRun = 16;  // keys that always follow each other in a block
  static constexpr int kVectors = kPanelWidth / S::kWidth;

  // The parts of an item's scratch.
  struct Work {
    int64_t key_width;    // key_dim in whole panels
    int64_t value_width;  // value_dim in whole panels
    float* queries;       // [n_rows, key_width]
    float* scores;        // [n_rows, kPanelWidth]
    float* mixed;         // [n_rows, value_width], sums of weighted values
    float* max;           // [n_rows]
    float* sum;           // [n_rows]
    float* key_rows;      // [kPanelWidth, key_width], or [key_dim / 4, kPanelWidth] units
    float* key_panel;     // [key_dim, kPanelWidth]
    float* values;        // value_width / kPanelWidth panels [kPanelWidth keys, kPanelWidth]
  };

  // kPanelWidth keys from position `first`, of which some row sees keys [begin, end), counted from
  // `first`, and the rows that see any of them.
  struct Tile {
    int64_t first;
    int64_t begin;  // a multiple of kRun
    int64_t end;
    int64_t first_token;
    int64_t n_tokens;
  };

  static Work split_scratch(const AttentionItem& item) {
    const int64_t n_rows = item.n_tokens * item.group;
    Work w;
    w.key_width = whole_panels(item.key_dim);
    w.value_width = whole_panels(item.value_dim);
    w.key_panel = item.scratch;
    w.values = w.key_panel + kPanelWidth * w.key_width;
    w.key_rows = w.values + kPanelWidth * w.value_width;
    w.scores = w.key_rows + kPanelWidth * w.key_width;
    w.queries = w.scores + n_rows * kPanelWidth;
    w.mixed = w.queries + n_rows * w.key_width;
    w.max = w.mixed + n_rows * w.value_width;
    w.sum = w.max + n_rows;
    return w;
  }

  // A sink is a score without a value: the running softmax starts from it.
  static void start(const AttentionItem& item, const Work& w) {
    int64_t row = 0;
    for (int64_t t = 0; t < item.n_tokens; ++t) {
      for (int64_t g = 0; g < item.group; ++g, ++row) {
        const float* q = item.q + t * item.q_stride + g * item.key_dim;
        float* query = w.queries + row * w.key_width;
        Rows::to_f32(q, DType::kF32, item.key_dim, query);
        if (keys_stay_quads(item)) swap_in_quads(query, item.key_dim);
        w.max[row] = item.sinks == nullptr ? -__builtin_inff() : item.sinks[g];
        w.sum[row] = item.sinks == nullptr ? 0.0f : 1.0f;
      }
    }
    std::memset(w.mixed, 0, static_cast<size_t>(row * w.value_width) * sizeof(float));
    std::memset(w.values, 0, static_cast<size_t>(kPanelWidth * w.value_width) * sizeof(float));
  }

  // The first key that position p sees. Never falls as p grows.
  static int64_t first_key_of(const AttentionItem& item, int64_t p) {
    int64_t key = 0;
    if (item.window > 0 && p - item.window + 1 > key) key = p - item.window + 1;
    if (item.chunk > 0 && p - p % item.chunk > key) key = p - p % item.chunk;
    return key;
  }

  // One behind the last key that position p sees.
  static int64_t end_key_of(const AttentionItem& item, int64_t p) {
    return item.causal ? p + 1 : item.n_keys;
  }

  // Tokens before `first` see nothing of the tile, and those whose window begins behind it neither.
  static Tile tile_at(const AttentionItem& item, int64_t first, int64_t n_keys) {
    Tile tile;
    tile.first = first;
    tile.end = n_keys - first < kPanelWidth ? n_keys - first : kPanelWidth;
    tile.first_token = item.causal && first > item.first_position ? first - item.first_position : 0;
    const int64_t oldest = first_key_of(item, item.first_position + tile.first_token) - first;
    tile.begin = oldest > 0 ? oldest / kRun * kRun : 0;
    int64_t end_position = item.first_position + item.n_tokens;
    const int64_t last = first + kPanelWidth - 1;
    if (item.window > 0 && last + item.window < end_position) end_position = last + item.window;
    if (item.chunk > 0 && (last / item.chunk + 1) * item.chunk < end_position) {
      end_position = (last / item.chunk + 1) * item.chunk;
    }
    tile.n_tokens = end_position - item.first_position - tile.first_token;
    return tile;
  }

  // bf16 keys need no expansion: their channels stay in pairs, as the product of packed weights
  // reads them. The order of the sums is that of the f32 product, and so are the results.
  static bool keys_stay_paired(const AttentionItem& item) {
    return item.cache_dtype == DType::kBF16 && item.key_dim % 2 == 0;
  }

  // Keys of e4m3 are moved in units of four channels, and expanded to pairs of bf16 once they
  // stand in columns. The expansion pairs channels 0 and 2 of a unit, and 1 and 3: the queries'
  // channels stand in that order too.
  static bool keys_stay_quads(const AttentionItem& item) {
    return item.cache_dtype == DType::kE4M3 && item.key_dim % 4 == 0;
  }
  static void swap_in_quads(float* query, int64_t n) {
    for (int64_t c = 0; c < n; c += 4) {
      const float second = query[c + 1];
      query[c + 1] = query[c + 2];
      query[c + 2] = second;
    }
  }

  // bf16 and e4m3 values of whole panels are read where they lie, for the few rows of a decode
  // step: expanding a tile first pays off with many rows only. It is the same multiply-adds in the
  // same order either way.
  static bool values_stay_in_place(const AttentionItem& item, int64_t n_rows) {
    if (item.value_dim % kPanelWidth != 0 || n_rows > 2 * S::kTileRows) return false;
    // Rows of whole words.
    return (item.cache_dtype == DType::kBF16 && item.value_stride % 2 == 0) ||
           (item.cache_dtype == DType::kE4M3 && item.value_stride % 4 == 0);
  }

  // Puts up to kRun keys, rows of the cache that follow each other, into columns of the key panel;
  // units of four channels into columns of the room for rows.
  static void load_keys(const AttentionItem& item, const Work& w, const char* keys, int64_t n,
                        int64_t column) {
    const float* rows = reinterpret_cast<const float*>(keys);
    float* panel = w.key_panel;
    int64_t n_units = item.key_dim;
    if (keys_stay_paired(item)) {
      n_units = item.key_dim / 2;
    } else if (keys_stay_quads(item)) {
      n_units = item.key_dim / 4;
      panel = w.key_rows;
    } else if (item.cache_dtype != DType::kF32) {
      Rows::to_f32(keys, item.cache_dtype, n * item.key_dim, w.key_rows);
      rows = w.key_rows;
    }
    for (int64_t i = 0; i < n; i += S::kWidth) {
      Rows::transpose_rows(rows + i * n_units, n_units, n - i, n_units, panel + column + i);
    }
  }

  static void load_values(const AttentionItem& item, const Work& w, const char* values, int64_t n,
                          int64_t column) {
    if (item.value_dim == kPanelWidth && item.value_stride == kPanelWidth) {
      Rows::to_f32(values, item.cache_dtype, n * kPanelWidth, w.values + column * kPanelWidth);
      return;
    }
    const int64_t element = element_size(item);
    for (int64_t i = 0; i < n; ++i, values += item.value_stride * element) {
      for (int64_t c = 0; c < item.value_dim; c += kPanelWidth) {
        const int64_t width = item.value_dim - c < kPanelWidth ? item.value_dim - c : kPanelWidth;
        Rows::to_f32(values + c * element, item.cache_dtype, width,
                     w.values + (c + column + i) * kPanelWidth);
      }
    }
  }

  static int64_t element_size(const AttentionItem& item) { return M::bytes_of(item.cache_dtype); }

  static const char* key_at(const AttentionItem& item, int64_t key) {
    const int64_t element = item.blocks[key / item.block_size] * item.block_stride +
                            key % item.block_size * item.key_dim;
    return static_cast<const char*>(item.k_cache) + element * element_size(item);
  }

  static const char* value_at(const AttentionItem& item, int64_t key) {
    const int64_t element = item.blocks[key / item.block_size] * item.block_stride +
                            key % item.block_size * item.value_stride;
    return static_cast<const char*>(item.v_cache) + element * element_size(item);
  }

  // Blocks lie anywhere, so the processor cannot guess where the next tile is; decoding would wait
  // for memory.
  static void prefetch_run(const AttentionItem& item, int64_t key) {
    const char* keys = key_at(item, key);
    for (int64_t i = 0; i < kRun * item.key_dim * element_size(item); i += 64) {
      __builtin_prefetch(keys + i, 0, 2);
    }
    if (item.v_cache == item.k_cache) return;  // values that are parts of the keys
    const char* values = value_at(item, key);
    for (int64_t i = 0; i < kRun * item.value_stride * element_size(item); i += 64) {
      __builtin_prefetch(values + i, 0, 2);
    }
  }

  // Values [begin, end) of the expanded tile become zeros, since 0 x a stale NaN is a NaN.
  static void clear_values(const Work& w, int64_t begin, int64_t end) {
    if (begin >= end) return;
    for (int64_t c = 0; c < w.value_width; c += kPanelWidth) {
      std::memset(w.values + (c + begin) * kPanelWidth, 0,
                  static_cast<size_t>((end - begin) * kPanelWidth) * sizeof(float));
    }
  }

  // Brings a tile's keys near. Scores of keys that are not there are masked later.
  static void load_tile(const AttentionItem& item, const Work& w, const Tile& tile, int64_t n_keys,
                        bool expand_values) {
    for (int64_t j = tile.begin; j < tile.end; j += kRun) {
      const int64_t ahead = tile.first + kPanelWidth + j;
      if (ahead < n_keys) prefetch_run(item, ahead);
      const int64_t n_run = tile.end - j < kRun ? tile.end - j : kRun;
      load_keys(item, w, key_at(item, tile.first + j), n_run, j);
      if (expand_values) load_values(item, w, value_at(item, tile.first + j), n_run, j);
    }
    if (keys_stay_quads(item)) {
      item.expand_e4m3(reinterpret_cast<const uint32_t*>(w.key_rows), item.key_dim / 4,
                       reinterpret_cast<uint32_t*>(w.key_panel));
    }
    if (!expand_values) return;
    clear_values(w, 0, tile.begin);
    clear_values(w, tile.end, kPanelWidth);
  }

  static __attribute__((noinline)) void cap_scores(const AttentionItem& item, float* scores) {
    const F scale = S::set1(item.scale);
    const F cap = S::set1(item.softcap);
    for (int i = 0; i < kPanelWidth; i += S::kWidth) {
      const F x = S::div(S::mul(S::load(scores + i), scale), cap);
      S::store(scores + i, S::mul(cap, M::tanh(x)));
    }
  }

  // Turns one row's scores into weights, of which those in [n_hidden, n_visible) count, and
  // rescales what was mixed before.
  static void softmax_row(const AttentionItem& item, const Work& w, int64_t row, int64_t n_hidden,
                          int64_t n_visible) {
    float* scores = w.scores + row * kPanelWidth;
    if (item.softcap > 0) cap_scores(item, scores);
    const F lowest = S::set1(-__builtin_inff());
    const F scale = S::set1(item.softcap > 0 ? 1.0f : item.scale);
    F s[kVectors];
    F highest = lowest;
    for (int v = 0; v < kVectors; ++v) {
      s[v] = S::mul(S::load(scores + v * S::kWidth), scale);
      s[v] = S::keep_first(s[v], n_visible - v * S::kWidth, lowest);
      if (n_hidden > 0) s[v] = S::keep_first(lowest, n_hidden - v * S::kWidth, s[v]);
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
      float* mixed = w.mixed + row * w.value_width;
      for (int64_t c = 0; c < w.value_width; c += S::kWidth) {
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
        float* mixed = w.mixed + row * w.value_width;
        const F sum = S::set1(w.sum[row]);
        const F scale = S::set1(item.value_scale);
        for (int64_t c = 0; c < w.value_width; c += S::kWidth) {
          S::store(mixed + c, S::mul(S::div(S::load(mixed + c), sum), scale));
        }
        char* out =
            static_cast<char*>(item.out) + (t * item.out_stride + g * item.value_dim) * element;
        Rows::from_f32(mixed, item.value_dim, item.out_dtype, out);
      }
    }
  }

  // scores[r][j] = q_r . k_j for rows [row, row + n_rows) and all keys of the tile.
  static void score(const AttentionItem& item, const Work& w, int64_t row, int64_t n_rows) {
    const bool paired = keys_stay_paired(item) || keys_stay_quads(item);
    const auto product = paired ? PairedProduct::panel : Product::panel;
    product({.x = w.queries + row * w.key_width,
             .x_stride = w.key_width,
             .n_rows = n_rows,
             .panel = w.key_panel,
             .n_units = paired ? item.key_dim / 2 : item.key_dim,
             .sums = w.scores + row * kPanelWidth,
             .sums_stride = kPanelWidth,
             .accumulate = false});
  }

  // mixed_r += weights_r . values, from the expanded tile.
  static void mix_expanded(const Work& w, int64_t row, int64_t n_rows) {
    for (int64_t c = 0; c < w.value_width; c += kPanelWidth) {
      Product::panel({.x = w.scores + row * kPanelWidth,
                      .x_stride = kPanelWidth,
                      .n_rows = n_rows,
                      .panel = w.values + c * kPanelWidth,
                      .n_units = kPanelWidth,
                      .sums = w.mixed + row * w.value_width + c,
                      .sums_stride = w.value_width,
                      .accumulate = true});
    }
  }

  // The same from the cache, a run of keys of one block at a time.
  template <class RowProduct>
  static void mix_in_place(const AttentionItem& item, const Work& w, int64_t row, int64_t n_rows,
                           const Tile& tile) {
    const int64_t element = element_size(item);
    for (int64_t j = tile.begin; j < tile.end;) {
      const int64_t left_in_block = item.block_size - (tile.first + j) % item.block_size;
      const int64_t n_run = tile.end - j < left_in_block ? tile.end - j : left_in_block;
      const char* values = value_at(item, tile.first + j);
      for (int64_t c = 0; c < item.value_dim; c += kPanelWidth) {
        RowProduct::panel({.x = w.scores + row * kPanelWidth + j,
                           .x_stride = kPanelWidth,
                           .n_rows = n_rows,
                           .panel = values + c * element,
                           .n_units = n_run,
                           .unit_words = item.value_stride * element / 4,
                           .sums = w.mixed + row * w.value_width + c,
                           .sums_stride = w.value_width,
                           .accumulate = true});
      }
      j += n_run;
    }
  }

  static void run(const AttentionItem& item) {
    const Work w = split_scratch(item);
    start(item, w);
    const int64_t n_keys = item.n_keys;
    const bool in_place = values_stay_in_place(item, item.n_tokens * item.group);
    const int64_t first_key = first_key_of(item, item.first_position);
    for (int64_t first = first_key / kPanelWidth * kPanelWidth; first < n_keys;
         first += kPanelWidth) {
      const Tile tile = tile_at(item, first, n_keys);
      load_tile(item, w, tile, n_keys, !in_place);
      const int64_t row = tile.first_token * item.group;
      const int64_t n_rows = tile.n_tokens * item.group;
      score(item, w, row, n_rows);
      for (int64_t i = 0; i < n_rows; ++i) {
        const int64_t position = item.first_position + tile.first_token + i / item.group;
        softmax_row(item, w, row + i, first_key_of(item, position) - first,
                    end_key_of(item, position) - first);
      }
      if (!in_place) {
        mix_expanded(w, row, n_rows);
      } else if (item.cache_dtype == DType::kE4M3) {
        mix_in_place<E4M3RowProduct>(item, w, row, n_rows, tile);
      } else {
        mix_in_place<Bf16RowProduct>(item, w, row, n_rows, tile);
      }
    }
    finish(item, w);
  }
};

}  // namespace
}  // namespace trireme::kernels::cpu
