#include <cmath>

#include "kernels/shape_checks.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {
namespace {

void check_cached(DType dtype, float scale, const char* name) {
  CHECK(is_float(dtype) || dtype == DType::kE4M3) << name << " is " << dtype;
  CHECK(std::isfinite(scale) && scale > 0) << name << " has scale " << scale;
  // A factor that rounds to infinity would leave nothing of what is stored.
  CHECK(std::isfinite(1 / scale)) << name << " has scale " << scale;
  if (dtype != DType::kE4M3) CHECK_EQ(scale, 1.0f) << name << " is " << dtype;
}

void check_cache(const TensorView& k_cache, const TensorView& v_cache, float k_scale,
                 float v_scale) {
  CHECK_EQ(k_cache.rank, 4) << "k_cache";
  CHECK_EQ(v_cache.rank, 4) << "v_cache";
  CHECK_EQ(k_cache.dtype, v_cache.dtype);
  check_cached(k_cache.dtype, k_scale, "k_cache");
  check_cached(v_cache.dtype, v_scale, "v_cache");
  for (int i = 0; i < 4; ++i) CHECK_EQ(k_cache.shape[i], v_cache.shape[i]) << "dimension " << i;
  CHECK_GE(k_cache.row_stride, k_cache.row_numel());
  CHECK_EQ(k_cache.row_stride, v_cache.row_stride);
  CHECK_EQ(k_cache.shape[2] % 16, 0) << "block_size " << k_cache.shape[2];
  CHECK_GE(k_cache.shape[2], 16) << "block_size";
}

void check_latent_cache(const TensorView& cache, float scale) {
  CHECK_EQ(cache.rank, 3) << "cache";
  check_cached(cache.dtype, scale, "cache");
  CHECK_GE(cache.row_stride, cache.row_numel());
  CHECK_EQ(cache.shape[1] % 16, 0) << "block_size " << cache.shape[1];
  CHECK_GE(cache.shape[1], 16) << "block_size";
}

void check_sequences(const TensorView& block_table, const TensorView& query_start,
                     const TensorView& context_len) {
  check_vector(query_start, DType::kI32, "query_start");
  check_vector(context_len, DType::kI32, "context_len");
  CHECK_EQ(query_start.dim(0), context_len.dim(0) + 1);
  CHECK_EQ(block_table.rank, 2);
  CHECK_EQ(block_table.dtype, DType::kI32);
  CHECK_EQ(block_table.dim(0), context_len.dim(0));
}

void check_slots(const TensorView& slots, int64_t n_slots) {
  for (int64_t i = 0; i < slots.dim(0); ++i) {
    CHECK_LE(0, slots.as<int64_t>()[i]) << "token " << i;
    CHECK_LT(slots.as<int64_t>()[i], n_slots) << "token " << i;
  }
}

struct CacheShape {
  int64_t n_blocks;
  int64_t block_size;
};

// Query ranges cover the n_tokens rows, and every block that a query sees is in the cache.
void check_sequence_contents(const TensorView& block_table, const TensorView& query_start,
                             const TensorView& context_len, int64_t n_tokens, CacheShape cache,
                             int64_t window, int64_t chunk) {
  const int64_t n_seqs = context_len.dim(0);
  const int32_t* start = query_start.as<int32_t>();
  CHECK_EQ(start[0], 0);
  CHECK_EQ(start[n_seqs], n_tokens);
  for (int64_t s = 0; s < n_seqs; ++s) {
    const int64_t n_keys = context_len.as<int32_t>()[s];
    const int64_t n_queries = start[s + 1] - start[s];
    CHECK_LE(0, n_queries) << "sequence " << s;
    CHECK_LE(n_queries, n_keys) << "sequence " << s;
    const int64_t n_blocks = (n_keys + cache.block_size - 1) / cache.block_size;
    CHECK_LE(n_blocks, block_table.dim(1)) << "sequence " << s;
    if (n_queries == 0) continue;
    const int64_t first_key = first_visible_key(n_keys - n_queries, window, chunk);
    for (int64_t b = first_key / cache.block_size; b < n_blocks; ++b) {
      const int32_t block = block_table.row<int32_t>(s)[b];
      CHECK_LE(0, block) << "sequence " << s << " block " << b;
      CHECK_LT(block, cache.n_blocks) << "sequence " << s << " block " << b;
    }
  }
}

}  // namespace

void check_shapes(const KvAppendArgs& args) {
  check_heads(args.k, "k");
  check_heads(args.v, "v");
  CHECK_EQ(args.k.dtype, DType::kF32);
  CHECK_EQ(args.v.dtype, DType::kF32);
  check_vector(args.slots, DType::kI64, "slots");
  check_cache(args.k_cache, args.v_cache, args.k_scale, args.v_scale);
  for (int i = 0; i < 3; ++i) CHECK_EQ(args.k.shape[i], args.v.shape[i]) << "dimension " << i;
  CHECK_EQ(args.k.dim(0), args.slots.dim(0));
  CHECK_EQ(args.k.dim(1), args.k_cache.dim(1));
  CHECK_EQ(args.k.dim(2), args.k_cache.dim(3));
}

void check_shapes(const NormRopeAppendArgs& args) {
  check_f32_heads(args.q, "q");
  check_shapes(append_part(args));
  CHECK_EQ(args.q.dim(0), args.k.dim(0));
  CHECK_EQ(args.q.dim(2), args.k.dim(2));
  for (const TensorView& weight : {args.q_norm, args.k_norm}) {
    if (!weight.defined()) continue;
    check_vector(weight, DType::kF32, "norm");
    CHECK_EQ(weight.dim(0), args.q.dim(2));
  }
  if (args.inv_freq.defined()) check_shapes(rope_part(args));
}

void check_shapes(const PagedAttentionArgs& args) {
  check_heads(args.q, "q");
  check_heads(args.out, "out");
  CHECK_EQ(args.q.dtype, DType::kF32);
  CHECK(is_activation(args.out.dtype)) << "out is " << args.out.dtype;
  for (int i = 0; i < 3; ++i) CHECK_EQ(args.q.shape[i], args.out.shape[i]) << "dimension " << i;
  check_cache(args.k_cache, args.v_cache, args.k_scale, args.v_scale);
  CHECK_EQ(args.q.dim(2), args.k_cache.dim(3));
  CHECK_GT(args.k_cache.dim(1), 0);
  CHECK_EQ(args.q.dim(1) % args.k_cache.dim(1), 0) << args.q.dim(1) << " heads";
  check_sequences(args.block_table, args.query_start, args.context_len);
  CHECK_GE(args.window, 0);
  CHECK_GE(args.chunk, 0);
  CHECK_GE(args.softcap, 0.0f);
  if (!args.causal) CHECK_EQ(args.window + args.chunk, 0) << "without causality";
  if (!args.sinks.defined()) return;
  check_vector(args.sinks, DType::kF32, "sinks");
  CHECK_EQ(args.sinks.dim(0), args.q.dim(1));
}

void check_shapes(const LatentAppendArgs& args) {
  check_f32_matrix(args.latent, "latent");
  check_f32_matrix(args.rope_key, "rope_key");
  check_vector(args.slots, DType::kI64, "slots");
  check_latent_cache(args.cache, args.cache_scale);
  CHECK_EQ(args.latent.dim(0), args.slots.dim(0));
  CHECK_EQ(args.rope_key.dim(0), args.slots.dim(0));
  CHECK_EQ(args.latent.dim(1) + args.rope_key.dim(1), args.cache.dim(2));
}

void check_shapes(const LatentAttentionArgs& args) {
  check_f32_heads(args.q, "q");
  check_heads(args.out, "out");
  CHECK(is_activation(args.out.dtype)) << "out is " << args.out.dtype;
  check_latent_cache(args.cache, args.cache_scale);
  CHECK_EQ(args.q.dim(0), args.out.dim(0));
  CHECK_EQ(args.q.dim(1), args.out.dim(1));
  CHECK_EQ(args.q.dim(2), args.cache.dim(2));
  CHECK_EQ(args.out.dim(2), args.rank);
  CHECK_GT(args.rank, 0);
  CHECK_LE(args.rank, args.cache.dim(2));
  check_sequences(args.block_table, args.query_start, args.context_len);
}

void check_contents(const KvAppendArgs& args) {
  check_slots(args.slots, args.k_cache.dim(0) * args.k_cache.dim(2));
}

void check_contents(const PagedAttentionArgs& args) {
  check_sequence_contents(args.block_table, args.query_start, args.context_len, args.q.dim(0),
                          {args.k_cache.dim(0), args.k_cache.dim(2)}, args.window, args.chunk);
}

void check_contents(const LatentAppendArgs& args) {
  check_slots(args.slots, args.cache.dim(0) * args.cache.dim(1));
}

void check_contents(const LatentAttentionArgs& args) {
  check_sequence_contents(args.block_table, args.query_start, args.context_len, args.q.dim(0),
                          {args.cache.dim(0), args.cache.dim(1)}, 0, 0);
}

}  // namespace trireme::kernels
