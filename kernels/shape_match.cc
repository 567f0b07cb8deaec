#include "kernels/shape_match.h"

#include "kernels/backend.h"

namespace trireme::kernels {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

bool is_activation(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

void check_vector(const TensorView& view, DType dtype, const char* name) {
  CHECK_EQ(view.rank, 1) << name;
  CHECK_EQ(view.dtype, dtype) << name;
  CHECK(view.contiguous()) << name << " must be contiguous";
}

void check_matrix(const TensorView& view, const char* name) {
  CHECK_EQ(view.rank, 2) << name;
  CHECK_GE(view.row_stride, view.row_numel()) << name;
}

void check_f32_matrix(const TensorView& view, const char* name) {
  check_matrix(view, name);
  CHECK_EQ(view.dtype, DType::kF32) << name;
}

void check_activation_matrix(const TensorView& view, const char* name) {
  check_matrix(view, name);
  CHECK(is_activation(view.dtype)) << name << " is " << view.dtype;
}

void check_same_matrix(const TensorView& a, const TensorView& b, const char* names) {
  CHECK_EQ(a.dim(0), b.dim(0)) << names;
  CHECK_EQ(a.dim(1), b.dim(1)) << names;
}

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

void check_heads(const TensorView& view, const char* name) {
  CHECK_EQ(view.rank, 3) << name;
  CHECK_GE(view.row_stride, view.row_numel()) << name;
}

}  // namespace

void check_shapes(const EmbeddingArgs& args) {
  check_vector(args.ids, DType::kI32, "ids");
  check_matrix(args.table, "table");
  CHECK(is_float(args.table.dtype)) << "table is " << args.table.dtype;
  check_f32_matrix(args.out, "out");
  CHECK_EQ(args.ids.dim(0), args.out.dim(0));
  CHECK_EQ(args.table.dim(1), args.out.dim(1));
}

void check_shapes(const RmsNormArgs& args) {
  check_f32_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  check_vector(args.weight, DType::kF32, "weight");
  check_same_matrix(args.x, args.out, "x, out");
  CHECK_EQ(args.weight.dim(0), args.x.dim(1));
}

void check_shapes(const AddRmsNormArgs& args) {
  check_f32_matrix(args.residual, "residual");
  check_f32_matrix(args.delta, "delta");
  check_activation_matrix(args.out, "out");
  check_vector(args.weight, DType::kF32, "weight");
  check_same_matrix(args.residual, args.delta, "residual, delta");
  check_same_matrix(args.residual, args.out, "residual, out");
  CHECK_EQ(args.weight.dim(0), args.residual.dim(1));
}

void check_shapes(const AddArgs& args) {
  check_f32_matrix(args.x, "x");
  check_f32_matrix(args.y, "y");
  check_same_matrix(args.x, args.y, "x, y");
}

void check_shapes(const LinearArgs& args) {
  CHECK(args.weight != nullptr);
  check_activation_matrix(args.x, "x");
  check_activation_matrix(args.out, "out");
  CHECK_EQ(args.x.dim(0), args.out.dim(0));
  CHECK_EQ(args.x.dim(1), args.weight->in_features());
  CHECK_EQ(args.out.dim(1), args.weight->out_features());
  if (args.bias.defined()) {
    check_vector(args.bias, DType::kF32, "bias");
    CHECK_EQ(args.bias.dim(0), args.out.dim(1));
  }
}

void check_shapes(const SiluMulArgs& args) {
  check_f32_matrix(args.gate_up, "gate_up");
  check_activation_matrix(args.out, "out");
  CHECK_EQ(args.gate_up.dim(0), args.out.dim(0));
  CHECK_EQ(args.gate_up.dim(1), 2 * args.out.dim(1));
}

void check_shapes(const RopeArgs& args) {
  check_heads(args.q, "q");
  check_heads(args.k, "k");
  CHECK_EQ(args.q.dtype, DType::kF32);
  CHECK_EQ(args.k.dtype, DType::kF32);
  check_vector(args.positions, DType::kI32, "positions");
  check_vector(args.inv_freq, DType::kF32, "inv_freq");
  CHECK_EQ(args.q.dim(0), args.positions.dim(0));
  CHECK_EQ(args.k.dim(0), args.positions.dim(0));
  CHECK_EQ(args.q.dim(2), args.k.dim(2));
  CHECK_LE(2 * args.inv_freq.dim(0), args.q.dim(2));
}

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
}

void check_shapes(const GatherRowsArgs& args) {
  check_f32_matrix(args.x, "x");
  check_f32_matrix(args.out, "out");
  check_vector(args.rows, DType::kI32, "rows");
  CHECK_EQ(args.rows.dim(0), args.out.dim(0));
  CHECK_EQ(args.x.dim(1), args.out.dim(1));
}

void check_shapes(const RowMaxLogSumExpArgs& args) {
  check_f32_matrix(args.x, "x");
  check_vector(args.max, DType::kF32, "max");
  check_vector(args.sum_exp, DType::kF32, "sum_exp");
  CHECK_EQ(args.max.dim(0), args.x.dim(0));
  CHECK_EQ(args.sum_exp.dim(0), args.x.dim(0));
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
    for (int64_t b = 0; b < n_blocks; ++b) {
      CHECK_LE(0, args.block_table.row<int32_t>(s)[b]) << "sequence " << s << " block " << b;
      CHECK_LT(args.block_table.row<int32_t>(s)[b], args.k_cache.dim(0))
          << "sequence " << s << " block " << b;
    }
  }
}

void check_contents(const GatherRowsArgs& args) {
  for (int64_t i = 0; i < args.rows.dim(0); ++i) {
    CHECK_LE(0, args.rows.as<int32_t>()[i]) << "row " << i;
    CHECK_LT(args.rows.as<int32_t>()[i], args.x.dim(0)) << "row " << i;
  }
}

}  // namespace trireme::kernels
