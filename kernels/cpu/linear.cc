#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/backend.h"
#include "kernels/cpu/packed_weight.h"

namespace trireme::kernels::cpu {
namespace {

// Rows that pass over a panel while it is near. More rows would push their own inputs out of the
// cache.
constexpr int64_t kMaxRows = 256;
// Rows start a little apart from a power of two, so that those of a tile do not compete for one
// cache set.
constexpr int64_t kRowPaddingBytes = 64;
// Products of units from which on a second thread pays for being woken: a row times 1 MB of
// weights.
constexpr int64_t kUnitsWorthThreads = 262144;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

// How the product reads x: pairs of bf16 for the dot product, f32 for everything else.
struct Linear::Inputs {
  bool pairs_of_bf16 = false;
  bool rounds_to_bf16 = false;
  char* data = nullptr;
  int64_t row_bytes = 0;
};

Linear::Linear(const IsaKernels& isa, ComputeDType compute_dtype, ThreadPool* pool)
    : isa_(isa),
      compute_dtype_(compute_dtype),
      pool_(pool),
      per_thread_(static_cast<size_t>(pool->n_threads())) {}

void Linear::convert_row(const LinearArgs& args, int64_t row, const Inputs& inputs,
                         int64_t i) const {
  const int64_t in = args.x.dim(1);
  const auto size = static_cast<int64_t>(size_of(args.x.dtype));
  const char* from = static_cast<const char*>(args.x.data) + row * args.x.row_stride * size;
  char* to = inputs.data + i * inputs.row_bytes;
  auto* floats = reinterpret_cast<float*>(to);
  if (inputs.pairs_of_bf16) {
    if (args.x.dtype == DType::kBF16) {
      std::memcpy(to, from, static_cast<size_t>(in * size));
    } else {
      isa_.from_f32(reinterpret_cast<const float*>(from), in, DType::kBF16, to);
    }
    if (in % 2 != 0) std::memset(to + in * 2, 0, 2);
    return;
  }
  isa_.to_f32(from, args.x.dtype, in, floats);
  if (inputs.rounds_to_bf16 && args.x.dtype != DType::kBF16) {
    for (int64_t k = 0; k < in; ++k) floats[k] = to_f32(to_bf16(floats[k]));
  }
  floats[in] = 0;  // the other half of an odd last pair
}

Linear::Inputs Linear::convert_inputs(const LinearArgs& args, int64_t first_row, int64_t n_rows) {
  const auto& weight = static_cast<const CpuPackedWeight&>(*args.weight);
  const int64_t in = args.x.dim(1);
  Inputs inputs;
  inputs.rounds_to_bf16 = compute_dtype_ == ComputeDType::kBF16;
  inputs.pairs_of_bf16 = inputs.rounds_to_bf16 && isa_.gemm_bf16 != nullptr;
  CHECK(weight.element() == DType::kBF16 || !inputs.rounds_to_bf16);
  const int64_t used = inputs.pairs_of_bf16 ? round_up(in, 2) * 2 : (in + 1) * 4;
  inputs.row_bytes = round_up(used, 64) + kRowPaddingBytes;
  inputs.data = inputs_.get<char>(inputs.row_bytes * n_rows);
  pool_->split(n_rows, n_rows * in > 16384, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t i = begin; i < end; ++i) convert_row(args, first_row + i, inputs, i);
  });
  return inputs;
}

void Linear::run_rows(const LinearArgs& args, int64_t first_row, int64_t n_rows) {
  const auto& weight = static_cast<const CpuPackedWeight&>(*args.weight);
  const Inputs inputs = convert_inputs(args, first_row, n_rows);
  const bool bf16_weight = weight.element() == DType::kBF16;
  const auto gemm =
      inputs.pairs_of_bf16 ? isa_.gemm_bf16 : (bf16_weight ? isa_.gemm_bf16_as_f32 : isa_.gemm_f32);
  const float* bias = args.bias.defined() ? args.bias.as<float>() : nullptr;
  const auto out_size = static_cast<int64_t>(size_of(args.out.dtype));
  const int64_t work = n_rows * weight.n_units() * weight.n_panels() * kPanelWidth;
  pool_->split(
      weight.n_panels(), work > kUnitsWorthThreads, [&](int64_t begin, int64_t end, int thread) {
        float* sums = per_thread_[static_cast<size_t>(thread)].get<float>(n_rows * kPanelWidth);
        for (int64_t panel = begin; panel < end; ++panel) {
          gemm({.x = inputs.data,
                .x_stride = inputs.row_bytes / 4,
                .n_rows = n_rows,
                .panel = weight.panel(panel),
                .n_units = weight.n_units(),
                .sums = sums,
                .sums_stride = kPanelWidth,
                .accumulate = false});
          const int64_t first = panel * kPanelWidth;
          const int64_t n = std::min<int64_t>(kPanelWidth, weight.out_features() - first);
          for (int64_t i = 0; i < n_rows; ++i) {
            char* out = static_cast<char*>(args.out.data) +
                        ((first_row + i) * args.out.row_stride + first) * out_size;
            isa_.add_bias(sums + i * kPanelWidth, bias == nullptr ? nullptr : bias + first, n,
                          args.out.dtype, out);
          }
        }
      });
}

void Linear::run(const LinearArgs& args) {
  CHECK(dynamic_cast<const CpuPackedWeight*>(args.weight) != nullptr)
      << "the weight was packed by another backend";
  const int64_t n_rows = args.x.dim(0);
  const int64_t n_parts = (n_rows + kMaxRows - 1) / kMaxRows;
  for (int64_t part = 0; part < n_parts; ++part) {
    const int64_t begin = part * n_rows / n_parts;
    run_rows(args, begin, (part + 1) * n_rows / n_parts - begin);
  }
}

}  // namespace trireme::kernels::cpu
