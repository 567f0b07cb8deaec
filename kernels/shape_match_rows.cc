// Checks of the ops that choose among rows and columns: logits and what is sampled from them.
#include "kernels/shape_checks.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {
namespace {

constexpr int64_t kMaxColumns = int64_t{1} << 24;  // columns are counted in f32

void check_rows(const TensorView& rows, const TensorView& x) {
  for (int64_t i = 0; i < rows.dim(0); ++i) {
    CHECK_LE(0, rows.as<int32_t>()[i]) << "row " << i;
    CHECK_LT(rows.as<int32_t>()[i], x.dim(0)) << "row " << i;
  }
}

void check_candidates(const TensorView& view, DType dtype, const RowCandidatesArgs& args,
                      const char* name) {
  check_matrix(view, name);
  CHECK_EQ(view.dtype, dtype) << name;
  CHECK_EQ(view.dim(0), args.rows.dim(0)) << name;
  CHECK_EQ(view.dim(1), args.ids.dim(1)) << name;
}

// [n_ranks, n * k] of a row's k candidates, for n rows.
void check_found(const TensorView& view, DType dtype, const TensorView& ids, const TensorView& rows,
                 const char* name) {
  check_matrix(view, name);
  CHECK_EQ(view.dtype, dtype) << name;
  CHECK_GT(view.dim(0), 0) << name;
  CHECK_EQ(view.dim(0), ids.dim(0)) << name;
  CHECK_EQ(view.dim(1), ids.dim(1)) << name;
  CHECK_GT(rows.dim(0), 0) << "rows";
  CHECK_EQ(view.dim(1) % rows.dim(0), 0) << name;
  CHECK_GT(view.dim(1), 0) << name;
}

}  // namespace

void check_shapes(const BestTokensArgs& args) {
  check_vector(args.rows, DType::kI32, "rows");
  check_vector(args.tokens, DType::kI32, "tokens");
  check_found(args.ids, DType::kI32, args.ids, args.rows, "ids");
  check_found(args.scores, DType::kF32, args.ids, args.rows, "scores");
}

void check_shapes(const DrawTokensArgs& args) {
  const int64_t n = args.rows.dim(0);
  check_vector(args.rows, DType::kI32, "rows");
  check_vector(args.tokens, DType::kI32, "tokens");
  check_found(args.ids, DType::kI32, args.ids, args.rows, "ids");
  check_found(args.values, DType::kF32, args.ids, args.rows, "values");
  CHECK_LE(args.ids.dim(1) / n, kMaxRowCandidates) << "candidates";
  if (args.sum_exp.defined()) {
    check_f32_matrix(args.sum_exp, "sum_exp");
    CHECK_EQ(args.sum_exp.dim(0), args.ids.dim(0));
    CHECK_EQ(args.sum_exp.dim(1), n);
  }
  check_vector(args.keys, DType::kI64, "keys");
  check_vector(args.top_k, DType::kI32, "top_k");
  check_vector(args.inverse_temperature, DType::kF32, "inverse_temperature");
  check_vector(args.top_p, DType::kF32, "top_p");
  check_vector(args.min_p, DType::kF32, "min_p");
  for (const TensorView* of_rows :
       {&args.keys, &args.top_k, &args.inverse_temperature, &args.top_p, &args.min_p}) {
    CHECK_EQ(of_rows->dim(0), n);
  }
}

void check_shapes(const PlaceTokensArgs& args) {
  check_vector(args.tokens, DType::kI32, "tokens");
  check_vector(args.sources, DType::kI32, "sources");
  check_vector(args.ids, DType::kI32, "ids");
  CHECK_EQ(args.sources.dim(0), args.ids.dim(0));
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
  CHECK_EQ(args.sum_exp.dim(0), args.max.dim(0));
  if (args.rows.defined()) check_vector(args.rows, DType::kI32, "rows");
  CHECK_EQ(args.max.dim(0), args.rows.defined() ? args.rows.dim(0) : args.x.dim(0));
  if (!args.inverse_temperature.defined()) return;
  check_vector(args.inverse_temperature, DType::kF32, "inverse_temperature");
  CHECK_EQ(args.inverse_temperature.dim(0), args.max.dim(0));
}

void check_shapes(const RowCandidatesArgs& args) {
  check_f32_matrix(args.x, "x");
  CHECK_LT(args.x.dim(1), kMaxColumns) << "columns";
  check_vector(args.rows, DType::kI32, "rows");
  CHECK_LE(args.ids.dim(1), kMaxRowCandidates) << "candidates";
  CHECK_GT(args.ids.dim(1), 0) << "candidates";
  check_candidates(args.ids, DType::kI32, args, "ids");
  check_candidates(args.scores, DType::kF32, args, "scores");
  check_candidates(args.values, DType::kF32, args, "values");
  CHECK_EQ(args.inverse_temperature.defined(), args.keys.defined());
  if (!args.keys.defined()) return;
  check_vector(args.inverse_temperature, DType::kF32, "inverse_temperature");
  check_vector(args.keys, DType::kI64, "keys");
  CHECK_EQ(args.inverse_temperature.dim(0), args.rows.dim(0));
  CHECK_EQ(args.keys.dim(0), args.rows.dim(0));
}

void check_shapes(const CountBeforeArgs& args) {
  check_f32_matrix(args.x, "x");
  CHECK_LT(args.x.dim(1), kMaxColumns) << "columns";
  check_vector(args.rows, DType::kI32, "rows");
  check_vector(args.ids, DType::kI32, "ids");
  check_vector(args.values, DType::kF32, "values");
  check_vector(args.counts, DType::kI32, "counts");
  CHECK_EQ(args.ids.dim(0), args.rows.dim(0));
  CHECK_EQ(args.values.dim(0), args.rows.dim(0));
  CHECK_EQ(args.counts.dim(0), args.rows.dim(0));
}

void check_contents(const GatherRowsArgs& args) { check_rows(args.rows, args.x); }

void check_contents(const RowMaxLogSumExpArgs& args) {
  if (args.rows.defined()) check_rows(args.rows, args.x);
}

void check_contents(const RowCandidatesArgs& args) { check_rows(args.rows, args.x); }

void check_contents(const CountBeforeArgs& args) { check_rows(args.rows, args.x); }

void check_contents(const BestTokensArgs& args) { check_rows(args.rows, args.tokens); }

void check_contents(const DrawTokensArgs& args) { check_rows(args.rows, args.tokens); }

void check_contents(const PlaceTokensArgs& args) {
  for (int64_t i = 0; i < args.sources.dim(0); ++i) {
    CHECK_LT(args.sources.as<int32_t>()[i], args.tokens.dim(0)) << "row " << i;
  }
}

}  // namespace trireme::kernels
