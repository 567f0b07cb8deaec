#include "kernels/cpu/paged_attention.h"

#include <algorithm>

namespace trireme::kernels::cpu {
namespace {

// Query rows (tokens x heads of a group) that share one expansion of the keys and values. Their
// scratch fits the second-level cache.
constexpr int64_t kRowsPerItem = 96;
// Heads that are worth a tile of their own, where threads would be idle otherwise.
constexpr int64_t kMinHeadsPerPart = 8;

char* at(const TensorView& view, int64_t element) {
  return static_cast<char*>(view.data) + element * static_cast<int64_t>(size_of(view.dtype));
}

const char* offset(const void* memory, int64_t bytes) {
  return static_cast<const char*>(memory) + bytes;
}

int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

PagedAttention::PagedAttention(const IsaKernels& isa, ThreadPool* pool)
    : isa_(isa), pool_(pool), per_thread_(static_cast<size_t>(pool->n_threads())) {}

void PagedAttention::cut_into_chunks(const Call& call) {
  const int64_t n_heads = div_up(call.group, call.n_group_parts);
  const int64_t chunk_tokens = std::max<int64_t>(1, kRowsPerItem / n_heads);
  const int32_t* start = call.query_start.as<int32_t>();
  chunks_.clear();
  for (int64_t seq = 0; seq < call.context_len.dim(0); ++seq) {
    for (int64_t row = start[seq]; row < start[seq + 1]; row += chunk_tokens) {
      chunks_.push_back({seq, row, std::min<int64_t>(row + chunk_tokens, start[seq + 1])});
    }
  }
}

// Large groups are cut so that their rows fit an item, and further when threads would be idle.
void PagedAttention::cut(Call* call) {
  call->n_group_parts = div_up(call->group, kRowsPerItem);
  cut_into_chunks(*call);
  const int64_t n_items =
      static_cast<int64_t>(chunks_.size()) * call->n_kv_heads * call->n_group_parts;
  if (n_items == 0 || n_items >= pool_->n_threads()) return;
  const int64_t wanted = call->n_group_parts * div_up(pool_->n_threads(), n_items);
  const int64_t most = std::max(call->n_group_parts, call->group / kMinHeadsPerPart);
  call->n_group_parts = std::min(wanted, most);
  cut_into_chunks(*call);
}

// `part` counts the parts of the first key head's group, then those of the second, and so on.
void PagedAttention::run_item(const Call& call, const Chunk& chunk, int64_t part, int thread) {
  const int64_t kv_head = part / call.n_group_parts;
  const int64_t in_group = part % call.n_group_parts;
  const int64_t first_in_group = in_group * call.group / call.n_group_parts;
  const int64_t first_head = kv_head * call.group + first_in_group;
  const int64_t sequence_end = call.query_start.as<int32_t>()[chunk.seq + 1];

  AttentionItem item = call.common;
  item.q = call.q.row<float>(chunk.begin) + first_head * item.key_dim;
  item.n_tokens = chunk.end - chunk.begin;
  item.group = (in_group + 1) * call.group / call.n_group_parts - first_in_group;
  const int64_t n_context = call.context_len.as<int32_t>()[chunk.seq];
  item.first_position = n_context - (sequence_end - chunk.begin);
  item.n_keys = item.causal ? item.first_position + item.n_tokens : n_context;
  if (item.sinks != nullptr) item.sinks += first_head;
  item.k_cache = offset(item.k_cache, kv_head * call.kv_head_bytes);
  item.v_cache = offset(item.v_cache, kv_head * call.kv_head_bytes);
  item.blocks = call.block_table.row<int32_t>(chunk.seq);
  item.out = at(call.out, chunk.begin * call.out.row_stride + first_head * item.value_dim);
  item.scratch = per_thread_[static_cast<size_t>(thread)].get<float>(
      attention_scratch_size(item.n_tokens * item.group, item.key_dim, item.value_dim));
  isa_.attention(item);
}

void PagedAttention::run(Call* call) {
  call->common.q_stride = call->q.row_stride;
  call->common.out_dtype = call->out.dtype;
  call->common.out_stride = call->out.row_stride;
  call->common.expand_e4m3 = isa_.e4m3.expand;
  cut(call);
  const auto n_chunks = static_cast<int64_t>(chunks_.size());
  const int64_t n_items = n_chunks * call->n_kv_heads * call->n_group_parts;
  if (n_items == 0) return;
  if (n_items == 1) return run_item(*call, chunks_[0], 0, 0);
  pool_->run([&](int thread) {
    // Every n-th item: later chunks of a prompt see more keys, and so the long ones are dealt out
    // evenly.
    for (int64_t i = thread; i < n_items; i += pool_->n_threads()) {
      run_item(*call, chunks_[static_cast<size_t>(i % n_chunks)], i / n_chunks, thread);
    }
  });
}

void PagedAttention::run(const PagedAttentionArgs& args) {
  Call call{.q = args.q,
            .out = args.out,
            .block_table = args.block_table,
            .query_start = args.query_start,
            .context_len = args.context_len};
  const int64_t head_dim = args.k_cache.dim(3);
  call.n_kv_heads = args.k_cache.dim(1);
  call.group = args.q.dim(1) / call.n_kv_heads;
  call.common.key_dim = head_dim;
  call.common.value_dim = head_dim;
  call.common.scale = args.scale * args.k_scale;
  call.common.value_scale = args.v_scale;
  call.common.window = args.window;
  call.common.chunk = args.chunk;
  call.common.softcap = args.softcap;
  call.common.causal = args.causal;
  call.common.sinks = args.sinks.defined() ? args.sinks.as<float>() : nullptr;
  call.common.cache_dtype = args.k_cache.dtype;
  call.common.k_cache = args.k_cache.data;
  call.common.v_cache = args.v_cache.data;
  call.common.value_stride = head_dim;
  call.common.block_stride = args.k_cache.row_stride;
  call.common.block_size = args.k_cache.dim(2);
  call.kv_head_bytes =
      args.k_cache.dim(2) * head_dim * static_cast<int64_t>(size_of(args.k_cache.dtype));
  run(&call);
}

// One key head that all query heads share, and values that are the first channels of its keys.
void PagedAttention::run(const LatentAttentionArgs& args) {
  Call call{.q = args.q,
            .out = args.out,
            .block_table = args.block_table,
            .query_start = args.query_start,
            .context_len = args.context_len};
  call.group = args.q.dim(1);
  call.common.key_dim = args.cache.dim(2);
  call.common.value_dim = args.rank;
  call.common.scale = args.scale * args.cache_scale;
  call.common.value_scale = args.cache_scale;
  call.common.cache_dtype = args.cache.dtype;
  call.common.k_cache = args.cache.data;
  call.common.v_cache = args.cache.data;
  call.common.value_stride = args.cache.dim(2);
  call.common.block_stride = args.cache.row_stride;
  call.common.block_size = args.cache.dim(1);
  run(&call);
}

}  // namespace trireme::kernels::cpu
