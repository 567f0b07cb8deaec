// A paged cache with scattered blocks, and attention calls on cuts of its sequences.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/shape_match.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {

struct AttentionShape {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t block_size = 0;
};

// What a layer may ask of attention beyond causality.
struct AttentionRules {
  int32_t window = 0;
  int32_t chunk = 0;
  float softcap = 0;
  std::vector<float> sinks = {};
  bool causal = true;
};

// Sequences whose queries are known at every position, so that any cut of them can be asked for.
class PagedSequences {
 public:
  PagedSequences(const AttentionShape& shape, DType cache_dtype,
                 const std::vector<int64_t>& lengths, uint32_t seed)
      : shape_(shape), scales_(scales_for(cache_dtype)), lengths_(lengths), random_(seed) {
    int64_t n_blocks = 0;
    for (const int64_t length : lengths) n_blocks += blocks_of(length);
    k_cache_ = random_.tensor(cache_dtype,
                              {n_blocks + 1, shape.n_kv_heads, shape.block_size, shape.head_dim});
    v_cache_ = random_.tensor(cache_dtype,
                              {n_blocks + 1, shape.n_kv_heads, shape.block_size, shape.head_dim});
    std::vector<int32_t> ids(static_cast<size_t>(n_blocks));
    std::iota(ids.begin(), ids.end(), 1);
    std::shuffle(ids.begin(), ids.end(), random_.engine());
    size_t next = 0;
    for (const int64_t length : lengths) {
      blocks_.emplace_back(ids.begin() + static_cast<int64_t>(next),
                           ids.begin() + static_cast<int64_t>(next) + blocks_of(length));
      next += static_cast<size_t>(blocks_of(length));
      queries_.push_back(random_.tensor(DType::kF32, {length, shape.n_heads, shape.head_dim}));
      spoil_unused_slots(static_cast<int64_t>(blocks_.size()) - 1);
    }
  }

  // A run of queries [begin, end) of one sequence, when the cache holds `end` keys.
  struct Span {
    int64_t seq;
    int64_t begin;
    int64_t end;
  };

  HostTensor attend(Backend* backend, const std::vector<Span>& spans, DType out_dtype,
                    const AttentionRules& rules = {}) const {
    return attend_by([&](const PagedAttentionArgs& args) { backend->paged_attention(args, {}); },
                     spans, out_dtype, rules);
  }

  // `attention`: what computes it, called with operands in host memory.
  HostTensor attend_by(const std::function<void(const PagedAttentionArgs&)>& attention,
                       const std::vector<Span>& spans, DType out_dtype,
                       const AttentionRules& rules = {}) const {
    const int64_t row = shape_.n_heads * shape_.head_dim;
    std::vector<int32_t> starts{0};
    std::vector<int32_t> context;
    int64_t max_blocks = 1;
    for (const Span& span : spans) {
      starts.push_back(starts.back() + static_cast<int32_t>(span.end - span.begin));
      context.push_back(static_cast<int32_t>(span.end));
      max_blocks = std::max(max_blocks, blocks_of(span.end));
    }
    HostTensor q(DType::kF32, {starts.back(), shape_.n_heads, shape_.head_dim});
    HostTensor table(DType::kI32, {static_cast<int64_t>(spans.size()), max_blocks});
    for (size_t s = 0; s < spans.size(); ++s) {
      const Span& span = spans[s];
      const HostTensor& from = queries_[static_cast<size_t>(span.seq)];
      std::memcpy(q.view().row<float>(starts[s]), from.view().row<float>(span.begin),
                  static_cast<size_t>((span.end - span.begin) * row) * sizeof(float));
      for (int64_t b = 0; b < max_blocks; ++b) {
        // Entries past the sequence's end, and of blocks before its window, may hold anything.
        const int64_t first_key = first_visible_key(span.begin, rules.window, rules.chunk);
        table.view().row<int32_t>(static_cast<int64_t>(s))[b] =
            b < blocks_of(span.end) && b >= first_key / shape_.block_size
                ? blocks_[static_cast<size_t>(span.seq)][static_cast<size_t>(b)]
                : -7;
      }
    }
    const HostTensor query_start = tensor_of(starts);
    const HostTensor context_len = tensor_of(context);
    const HostTensor sinks = tensor_of(rules.sinks);
    HostTensor out(out_dtype, {starts.back(), shape_.n_heads, shape_.head_dim});
    attention({.q = q.view(),
               .k_cache = k_cache_.view(),
               .v_cache = v_cache_.view(),
               .block_table = table.view(),
               .query_start = query_start.view(),
               .context_len = context_len.view(),
               .scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim)),
               .out = out.view(),
               .window = rules.window,
               .chunk = rules.chunk,
               .softcap = rules.softcap,
               .sinks = rules.sinks.empty() ? TensorView() : sinks.view(),
               .causal = rules.causal,
               .k_scale = scales_.k,
               .v_scale = scales_.v});
    return out;
  }

 private:
  int64_t blocks_of(int64_t length) const {
    return (length + shape_.block_size - 1) / shape_.block_size;
  }

  // Slots behind the end of a sequence hold what was there before: NaNs must not leak out of them,
  // nor the 448 that they are in e4m3.
  void spoil_unused_slots(int64_t seq) {
    const int64_t length = lengths_[static_cast<size_t>(seq)];
    for (int64_t key = length; key < blocks_of(length) * shape_.block_size; ++key) {
      const int64_t block =
          blocks_[static_cast<size_t>(seq)][static_cast<size_t>(key / shape_.block_size)];
      for (int64_t h = 0; h < shape_.n_kv_heads; ++h) {
        for (int64_t c = 0; c < shape_.head_dim; ++c) {
          const int64_t at =
              ((block * shape_.n_kv_heads + h) * shape_.block_size + key % shape_.block_size) *
                  shape_.head_dim +
              c;
          k_cache_.set(at, std::numeric_limits<float>::quiet_NaN());
          v_cache_.set(at, std::numeric_limits<float>::quiet_NaN());
        }
      }
    }
  }

  AttentionShape shape_;
  CacheScales scales_;
  std::vector<int64_t> lengths_;
  Random random_;
  HostTensor k_cache_;
  HostTensor v_cache_;
  std::vector<std::vector<int32_t>> blocks_;
  std::vector<HostTensor> queries_;
};

}  // namespace trireme::kernels::testing
