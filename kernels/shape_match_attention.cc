#include "kernels/shape_checks.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {
namespace {

void check_cache(const TensorView& k_cache, const TensorView& v_cache) {
  CHECK_EQ(k_cache.rank, 4) << "k_cache";
  CHECK_EQ(v_cache.rank, 4) << "v_cache";
  CHECK_EQ(k_cache.dtype, v_cache.dtype);
  CHECK(is_float(k_cache.dtype)) << "k_cache is " << k_cache.dtype;
  for (int i = 0; i < 4; ++i) CHECK_EQ(k_cache.shape[i], v_cache.shape[i]) << "dimension " << i;
  CHECK_GE(k_cache.row_stride, k_cache.row_numel());
  CHECK_EQ(k_cache.row_stride, v_cache.row_stride);
  CHECK_EQ(k_cache.shape[2] % 16, 0) << "block_size " << k_cache.shape[2];
  CHECK_GE(k_cache.shape[2], 16) << "block_size";
}

}  // namespace

void check_shapes(const KvAppendArgs& args) {
  check_heads(args.k, "k");
  check_heads(args.v, "v");
  CHECK_EQ(args.k.dtype, DType::kF32);
  CHECK_EQ(args.v.dtype, DType::kF32);
  check_vector(args.slots, DType::kI64, "slots");
  check_cache(args.k_cache, args.v_cache);
  for (int i = 0; i < 3; ++i) CHECK_EQ(args.k.shape[i], args.v.shape[i]) << "dimension " << i;
  CHECK_EQ(args.k.dim(0), args.slots.dim(0));
  CHECK_EQ(args.k.dim(1), args.k_cache.dim(1));
  CHECK_EQ(args.k.dim(2), args.k_cache.dim(3));
}

void check_shapes(const PagedAttentionArgs& args) {
  check_heads(args.q, "q");
  check_heads(args.out, "out");
  CHECK_EQ(args.q.dtype, DType::kF32);
  CHECK(is_activation(args.out.dtype)) << "out is " << args.out.dtype;
  for (int i = 0; i < 3; ++i) CHECK_EQ(args.q.shape[i], args.out.shape[i]) << "dimension " << i;
  check_cache(args.k_cache, args.v_cache);
  CHECK_EQ(args.q.dim(2), args.k_cache.dim(3));
  CHECK_GT(args.k_cache.dim(1), 0);
  CHECK_EQ(args.q.dim(1) % args.k_cache.dim(1), 0) << args.q.dim(1) << " heads";
  check_vector(args.query_start, DType::kI32, "query_start");
  check_vector(args.context_len, DType::kI32, "context_len");
  CHECK_EQ(args.query_start.dim(0), args.context_len.dim(0) + 1);
  CHECK_EQ(args.block_table.rank, 2);
  CHECK_EQ(args.block_table.dtype, DType::kI32);
  CHECK_EQ(args.block_table.dim(0), args.context_len.dim(0));
  CHECK_GE(args.window, 0);
  CHECK_GE(args.chunk, 0);
  CHECK_GE(args.softcap, 0.0f);
  if (!args.sinks.defined()) return;
  check_vector(args.sinks, DType::kF32, "sinks");
  CHECK_EQ(args.sinks.dim(0), args.q.dim(1));
}

void check_contents(const KvAppendArgs& args) {
  const int64_t n_slots = args.k_cache.dim(0) * args.k_cache.dim(2);
  for (int64_t i = 0; i < args.slots.dim(0); ++i) {
    CHECK_LE(0, args.slots.as<int64_t>()[i]) << "token " << i;
    CHECK_LT(args.slots.as<int64_t>()[i], n_slots) << "token " << i;
  }
}

void check_contents(const PagedAttentionArgs& args) {
  const int64_t n_seqs = args.context_len.dim(0);
  const int64_t block_size = args.k_cache.dim(2);
  const int32_t* start = args.query_start.as<int32_t>();
  const int32_t* context_len = args.context_len.as<int32_t>();
  CHECK_EQ(start[0], 0);
  CHECK_EQ(start[n_seqs], args.q.dim(0));
  for (int64_t s = 0; s < n_seqs; ++s) {
    CHECK_LE(start[s], start[s + 1]) << "sequence " << s;
    CHECK_LE(start[s + 1] - start[s], context_len[s]) << "sequence " << s;
    const int64_t n_blocks = (context_len[s] + block_size - 1) / block_size;
    CHECK_LE(n_blocks, args.block_table.dim(1)) << "sequence " << s;
    if (start[s] == start[s + 1]) continue;
    const int64_t first_position = context_len[s] - (start[s + 1] - start[s]);
    const int64_t first_key = first_visible_key(first_position, args.window, args.chunk);
    for (int64_t b = first_key / block_size; b < n_blocks; ++b) {
      CHECK_LE(0, args.block_table.row<int32_t>(s)[b]) << "sequence " << s << " block " << b;
      CHECK_LT(args.block_table.row<int32_t>(s)[b], args.k_cache.dim(0))
          << "sequence " << s << " block " << b;
    }
  }
}

}  // namespace trireme::kernels
