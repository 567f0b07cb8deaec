#include "kernels/cpu/paged_attention.h"

#include <algorithm>

namespace trireme::kernels::cpu {
namespace {

// Query rows (tokens x heads of a group) that share one expansion of the keys and values. Their
// scratch fits the second-level cache.
constexpr int64_t kRowsPerItem = 96;

char* at(const TensorView& view, int64_t element) {
  return static_cast<char*>(view.data) + element * static_cast<int64_t>(size_of(view.dtype));
}

}  // namespace

PagedAttention::PagedAttention(const IsaKernels& isa, ThreadPool* pool)
    : isa_(isa), pool_(pool), per_thread_(static_cast<size_t>(pool->n_threads())) {}

void PagedAttention::cut_into_chunks(const PagedAttentionArgs& args) {
  const int64_t group = args.q.dim(1) / args.k_cache.dim(1);
  const int64_t chunk_tokens = std::max<int64_t>(1, kRowsPerItem / group);
  const int32_t* start = args.query_start.as<int32_t>();
  chunks_.clear();
  for (int64_t seq = 0; seq < args.context_len.dim(0); ++seq) {
    for (int64_t row = start[seq]; row < start[seq + 1]; row += chunk_tokens) {
      chunks_.push_back({seq, row, std::min<int64_t>(row + chunk_tokens, start[seq + 1])});
    }
  }
}

void PagedAttention::run_item(const PagedAttentionArgs& args, const Chunk& chunk, int64_t kv_head,
                              int thread) {
  const int64_t n_kv_heads = args.k_cache.dim(1);
  const int64_t block_size = args.k_cache.dim(2);
  const int64_t head_dim = args.k_cache.dim(3);
  const int64_t group = args.q.dim(1) / n_kv_heads;
  const int64_t sequence_end = args.query_start.as<int32_t>()[chunk.seq + 1];
  const int64_t first_channel = kv_head * group * head_dim;

  AttentionItem item;
  item.q = args.q.row<float>(chunk.begin) + first_channel;
  item.q_stride = args.q.row_stride;
  item.n_tokens = chunk.end - chunk.begin;
  item.group = group;
  item.key_dim = head_dim;
  item.value_dim = head_dim;
  item.first_position = args.context_len.as<int32_t>()[chunk.seq] - (sequence_end - chunk.begin);
  item.scale = args.scale;
  item.window = args.window;
  item.chunk = args.chunk;
  item.softcap = args.softcap;
  item.sinks = args.sinks.defined() ? args.sinks.as<float>() + kv_head * group : nullptr;
  item.cache_dtype = args.k_cache.dtype;
  item.k_cache = at(args.k_cache, kv_head * block_size * head_dim);
  item.v_cache = at(args.v_cache, kv_head * block_size * head_dim);
  item.value_stride = head_dim;
  item.block_stride = args.k_cache.row_stride;
  item.block_size = block_size;
  item.blocks = args.block_table.row<int32_t>(chunk.seq);
  item.out_dtype = args.out.dtype;
  item.out = at(args.out, chunk.begin * args.out.row_stride + first_channel);
  item.out_stride = args.out.row_stride;
  item.scratch = per_thread_[static_cast<size_t>(thread)].get<float>(
      attention_scratch_size(item.n_tokens * group, head_dim, head_dim));
  isa_.attention(item);
}

void PagedAttention::run(const PagedAttentionArgs& args) {
  cut_into_chunks(args);
  const int64_t n_kv_heads = args.k_cache.dim(1);
  const auto n_chunks = static_cast<int64_t>(chunks_.size());
  const int64_t n_items = n_chunks * n_kv_heads;
  if (n_items == 0) return;
  if (n_items == 1) return run_item(args, chunks_[0], 0, 0);
  pool_->run([&](int thread) {
    // Every n-th item: later chunks of a prompt see more keys, and so the long ones are dealt out
    // evenly.
    for (int64_t i = thread; i < n_items; i += pool_->n_threads()) {
      run_item(args, chunks_[static_cast<size_t>(i % n_chunks)], i / n_chunks, thread);
    }
  });
}

}  // namespace trireme::kernels::cpu
