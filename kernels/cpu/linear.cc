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
// Rows of several experts that are converted together.
constexpr int64_t kMaxBatchRows = 1024;
// A panel of few rows takes as long as its weights take to arrive, which is about that of so many
// rows.
constexpr int64_t kRowsWorthReading = 8;
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
  int64_t first_row = 0;  // of x, the one at `data`
};

Linear::Linear(const IsaKernels& isa, ComputeDType compute_dtype, ThreadPool* pool)
    : isa_(isa),
      compute_dtype_(compute_dtype),
      pool_(pool),
      per_thread_(static_cast<size_t>(pool->n_threads())) {}

void Linear::convert_row(const TensorView& x, int64_t row, const Inputs& inputs, int64_t i) const {
  const int64_t in = x.dim(1);
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  const char* from = static_cast<const char*>(x.data) + row * x.row_stride * size;
  char* to = inputs.data + i * inputs.row_bytes;
  auto* floats = reinterpret_cast<float*>(to);
  if (inputs.pairs_of_bf16) {
    if (x.dtype == DType::kBF16) {
      std::memcpy(to, from, static_cast<size_t>(in * size));
    } else {
      isa_.from_f32(reinterpret_cast<const float*>(from), in, DType::kBF16, to);
    }
    if (in % 2 != 0) std::memset(to + in * 2, 0, 2);
    return;
  }
  isa_.to_f32(from, x.dtype, in, floats);
  if (inputs.rounds_to_bf16 && x.dtype != DType::kBF16) {
    for (int64_t k = 0; k < in; ++k) floats[k] = to_f32(to_bf16(floats[k]));
  }
  floats[in] = 0;  // the other half of an odd last pair
}

Linear::Inputs Linear::convert_inputs(const TensorView& x, int64_t first_row, int64_t n_rows) {
  const int64_t in = x.dim(1);
  Inputs inputs;
  inputs.rounds_to_bf16 = compute_dtype_ == ComputeDType::kBF16;
  inputs.pairs_of_bf16 = inputs.rounds_to_bf16 && isa_.gemm_bf16 != nullptr;
  inputs.first_row = first_row;
  const int64_t used = inputs.pairs_of_bf16 ? round_up(in, 2) * 2 : (in + 1) * 4;
  inputs.row_bytes = round_up(used, 64) + kRowPaddingBytes;
  inputs.data = inputs_.get<char>(inputs.row_bytes * n_rows);
  pool_->split(n_rows, n_rows * in > 16384, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t i = begin; i < end; ++i) convert_row(x, first_row + i, inputs, i);
  });
  return inputs;
}

void Linear::run_panels(const Segment& segment, const Inputs& inputs, const TensorView& out,
                        int64_t first_panel, int64_t end_panel, int thread) {
  const CpuPackedWeight& weight = *segment.weight;
  const bool bf16_weight = weight.element() == DType::kBF16;
  const auto gemm =
      inputs.pairs_of_bf16 ? isa_.gemm_bf16 : (bf16_weight ? isa_.gemm_bf16_as_f32 : isa_.gemm_f32);
  const auto out_size = static_cast<int64_t>(size_of(out.dtype));
  float* sums = per_thread_[static_cast<size_t>(thread)].get<float>(segment.n_rows * kPanelWidth);
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    gemm({.x = inputs.data + (segment.first_row - inputs.first_row) * inputs.row_bytes,
          .x_stride = inputs.row_bytes / 4,
          .n_rows = segment.n_rows,
          .panel = weight.panel(panel),
          .n_units = weight.n_units(),
          .sums = sums,
          .sums_stride = kPanelWidth,
          .accumulate = false});
    const int64_t first = panel * kPanelWidth;
    const int64_t n = std::min<int64_t>(kPanelWidth, weight.out_features() - first);
    const float* bias = segment.bias == nullptr ? nullptr : segment.bias + first;
    for (int64_t i = 0; i < segment.n_rows; ++i) {
      char* to = static_cast<char*>(out.data) +
                 ((segment.first_row + i) * out.row_stride + first) * out_size;
      isa_.add_bias(sums + i * kPanelWidth, bias, n, out.dtype, to);
    }
  }
}

// The segments' rows follow each other, and their weights have one shape. Each thread gets an equal
// share of the work, cut anywhere between two panels.
void Linear::run_batch(const TensorView& x, const TensorView& out, std::span<const Segment> batch) {
  const int64_t first_row = batch.front().first_row;
  const int64_t n_rows = batch.back().first_row + batch.back().n_rows - first_row;
  const Inputs inputs = convert_inputs(x, first_row, n_rows);
  const int64_t n_panels = batch.front().weight->n_panels();
  const int64_t panel_units = batch.front().weight->n_units() * kPanelWidth;
  const auto cost_of_panel = [](const Segment& s) { return std::max(s.n_rows, kRowsWorthReading); };
  int64_t total = 0;
  for (const Segment& segment : batch) total += n_panels * cost_of_panel(segment);
  const bool worth_it = n_rows * n_panels * panel_units > kUnitsWorthThreads;
  pool_->split(total, worth_it, [&](int64_t begin, int64_t end, int thread) {
    for (const Segment& segment : batch) {
      const int64_t cost = cost_of_panel(segment);
      const int64_t first = std::clamp<int64_t>((begin + cost - 1) / cost, 0, n_panels);
      const int64_t last = std::clamp<int64_t>((end + cost - 1) / cost, 0, n_panels);
      run_panels(segment, inputs, out, first, last, thread);
      begin = std::max<int64_t>(begin - n_panels * cost, 0);
      end = std::max<int64_t>(end - n_panels * cost, 0);
    }
  });
}

Linear::Segment Linear::segment_of(const PackedWeight* weight, const float* bias, int64_t first_row,
                                   int64_t n_rows) const {
  const auto* packed = dynamic_cast<const CpuPackedWeight*>(weight);
  CHECK(packed != nullptr) << "the weight was packed by another backend";
  CHECK(packed->element() == DType::kBF16 || compute_dtype_ == ComputeDType::kF32);
  return {packed, bias, first_row, n_rows};
}

void Linear::run(const LinearArgs& args) {
  const float* bias = args.bias.defined() ? args.bias.as<float>() : nullptr;
  const Segment whole = segment_of(args.weight, bias, 0, args.x.dim(0));
  const int64_t n_parts = (whole.n_rows + kMaxRows - 1) / kMaxRows;
  for (int64_t part = 0; part < n_parts; ++part) {
    Segment segment = whole;
    segment.first_row = part * whole.n_rows / n_parts;
    segment.n_rows = (part + 1) * whole.n_rows / n_parts - segment.first_row;
    run_batch(args.x, args.out, {&segment, 1});
  }
}

void Linear::run(const GroupedLinearArgs& args) {
  const int32_t* start = args.expert_start.as<int32_t>();
  batch_.clear();
  const auto flush = [&] {
    if (!batch_.empty()) run_batch(args.x, args.out, batch_);
    batch_.clear();
  };
  for (size_t e = 0; e < args.weights.size(); ++e) {
    const int64_t n_rows = start[e + 1] - start[e];
    const float* bias =
        args.bias.defined() ? args.bias.row<float>(static_cast<int64_t>(e)) : nullptr;
    const int64_t n_parts = (n_rows + kMaxRows - 1) / kMaxRows;
    for (int64_t part = 0; part < n_parts; ++part) {
      const int64_t first = start[e] + part * n_rows / n_parts;
      const int64_t end = start[e] + (part + 1) * n_rows / n_parts;
      if (!batch_.empty() && end - batch_.front().first_row > kMaxBatchRows) flush();
      batch_.push_back(segment_of(args.weights[e], bias, first, end - first));
    }
  }
  flush();
}

}  // namespace trireme::kernels::cpu
