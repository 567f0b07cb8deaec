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
// Up to so many rows, low-bit codes are cheaper to read once per tile of rows than to expand.
constexpr int64_t kRowsOfCodes = 6;
// Pairs of inputs of a panel that are expanded at once: 64 KiB.
constexpr int64_t kExpandedPairs = 256;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

const LowBitKernels& kernels_of(LowBitCode code, const IsaKernels& isa) {
  if (code == LowBitCode::kE4M3) return isa.e4m3;
  return code == LowBitCode::kInt4 ? isa.int4 : isa.int8;
}

}  // namespace

// How the product reads x: pairs of bf16 for the dot product, f32 for everything else. Rows are
// padded with zeros.
struct Linear::Inputs {
  bool pairs_of_bf16 = false;
  bool rounds_to_bf16 = false;
  char* data = nullptr;
  int64_t row_bytes = 0;
  int64_t first_row = 0;  // of x, the one at `data`
  int64_t width = 0;      // values of a row, padding included
  float* sums = nullptr;  // [n_rows, n_groups], of rows whose low-bit weight has zero points
  int64_t n_groups = 0;

  char* row(int64_t of_x) const { return data + (of_x - first_row) * row_bytes; }
  float* sums_of(int64_t row_of_x) const { return sums + (row_of_x - first_row) * n_groups; }
};

int64_t Linear::Segment::out_features() const {
  return plain != nullptr ? plain->out_features() : low_bit->out_features();
}

Linear::Linear(const IsaKernels& isa, ComputeDType compute_dtype, ThreadPool* pool)
    : isa_(isa),
      compute_dtype_(compute_dtype),
      pool_(pool),
      per_thread_(static_cast<size_t>(pool->n_threads())) {}

// A row of x as the weight's stored inputs follow each other.
const char* Linear::in_order_of(const CpuLowBitWeight& weight, const TensorView& x, const char* row,
                                int thread) {
  const std::vector<int32_t>& order = weight.input_order();
  const size_t size = size_of(x.dtype);
  const auto n = static_cast<int64_t>(order.size() * size);
  char* ordered = per_thread_[static_cast<size_t>(thread)].get<char>(n);
  for (size_t j = 0; j < order.size(); ++j) {
    std::memcpy(ordered + j * size, row + static_cast<size_t>(order[j]) * size, size);
  }
  return ordered;
}

void Linear::convert_row(const TensorView& x, int64_t row, const Segment& segment,
                         const Inputs& inputs, int thread) {
  const int64_t in = x.dim(1);
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  const char* from = static_cast<const char*>(x.data) + row * x.row_stride * size;
  if (segment.low_bit != nullptr && !segment.low_bit->input_order().empty()) {
    from = in_order_of(*segment.low_bit, x, from, thread);
  }
  char* to = inputs.row(row);
  const int64_t value_bytes = inputs.pairs_of_bf16 ? 2 : 4;
  if (!inputs.pairs_of_bf16) {
    auto* floats = reinterpret_cast<float*>(to);
    isa_.to_f32(from, x.dtype, in, floats);
    if (inputs.rounds_to_bf16 && x.dtype != DType::kBF16) {
      for (int64_t k = 0; k < in; ++k) floats[k] = to_f32(to_bf16(floats[k]));
    }
  } else if (x.dtype == DType::kBF16) {
    std::memcpy(to, from, static_cast<size_t>(in * size));
  } else {
    isa_.from_f32(reinterpret_cast<const float*>(from), in, DType::kBF16, to);
  }
  std::memset(to + in * value_bytes, 0, static_cast<size_t>((inputs.width - in) * value_bytes));
  if (inputs.sums == nullptr || segment.low_bit == nullptr) return;
  isa_.sum_groups(to, inputs.pairs_of_bf16 ? DType::kBF16 : DType::kF32, inputs.width,
                  segment.low_bit->group_units() == segment.low_bit->n_units()
                      ? inputs.width
                      : segment.low_bit->group_units() * segment.low_bit->inputs_per_unit(),
                  inputs.sums_of(row));
}

Linear::Inputs Linear::convert_inputs(const TensorView& x, std::span<const Segment> batch) {
  Inputs inputs;
  inputs.rounds_to_bf16 = compute_dtype_ == ComputeDType::kBF16;
  inputs.pairs_of_bf16 = inputs.rounds_to_bf16 && isa_.gemm_bf16 != nullptr;
  inputs.first_row = batch.front().first_row;
  inputs.width = round_up(x.dim(1), kLowBitInputPadding);
  const int64_t n_rows = batch.back().first_row + batch.back().n_rows - inputs.first_row;
  inputs.row_bytes = inputs.width * (inputs.pairs_of_bf16 ? 2 : 4) + kRowPaddingBytes;
  inputs.data = inputs_.get<char>(inputs.row_bytes * n_rows);
  for (const Segment& segment : batch) {
    if (segment.low_bit == nullptr || segment.low_bit->offsets(0) == nullptr) continue;
    // Groups of the padding count too.
    inputs.n_groups = std::max(inputs.n_groups, segment.low_bit->n_groups() + 1);
  }
  if (inputs.n_groups > 0) inputs.sums = input_sums_.get<float>(n_rows * inputs.n_groups);
  pool_->split(n_rows, n_rows * x.dim(1) > 16384, [&](int64_t begin, int64_t end, int thread) {
    const Segment* segment = batch.data();
    for (int64_t row = inputs.first_row + begin; row < inputs.first_row + end; ++row) {
      while (row >= segment->first_row + segment->n_rows) ++segment;
      convert_row(x, row, *segment, inputs, thread);
    }
  });
  return inputs;
}

// The sums of one panel's outputs to the front of `work`.
void Linear::multiply(const Segment& segment, const Inputs& inputs, int64_t panel,
                      float* work) const {
  const CpuPackedWeight& weight = *segment.plain;
  const bool bf16_weight = weight.element() == DType::kBF16;
  const auto gemm =
      inputs.pairs_of_bf16 ? isa_.gemm_bf16 : (bf16_weight ? isa_.gemm_bf16_as_f32 : isa_.gemm_f32);
  gemm({.x = inputs.row(segment.first_row),
        .x_stride = inputs.row_bytes / 4,
        .n_rows = segment.n_rows,
        .panel = weight.panel(panel),
        .n_units = weight.n_units(),
        .sums = work,
        .sums_stride = kPanelWidth,
        .accumulate = false});
}

// Few rows read the codes as they lie: `of_codes` has the whole panel. For many, a piece of it at a
// time is expanded to bf16, which every code fits, and `of_pairs` has pieces; the bits are the
// same.
template <typename OfCodes, typename Expand, typename OfPairs>
void Linear::each_piece(const Segment& segment, const Inputs& inputs, int64_t panel,
                        uint32_t* expanded, const OfCodes& of_codes, const Expand& expand,
                        const OfPairs& of_pairs) const {
  const CpuLowBitWeight& weight = *segment.low_bit;
  PanelGemm g{.x = inputs.row(segment.first_row),
              .x_stride = inputs.row_bytes / 4,
              .n_rows = segment.n_rows,
              .panel = weight.panel(panel),
              .n_units = weight.n_units(),
              .unit_words = weight.unit_words(),
              .sums_stride = kPanelWidth};
  if (segment.n_rows <= kRowsOfCodes) return of_codes(g);
  const int64_t pairs_per_unit = weight.inputs_per_unit() / 2;
  const int64_t piece_units = kExpandedPairs / pairs_per_unit;
  const int64_t input_bytes = inputs.pairs_of_bf16 ? 2 : 4;
  for (int64_t unit = 0; unit < weight.n_units(); unit += piece_units) {
    const int64_t n_units = std::min(piece_units, weight.n_units() - unit);
    expand(weight.panel(panel) + unit * weight.unit_words(), n_units, expanded);
    g.x = inputs.row(segment.first_row) + unit * weight.inputs_per_unit() * input_bytes;
    g.panel = expanded;
    g.n_units = n_units * pairs_per_unit;
    g.unit_words = kPanelWidth;
    g.accumulate = unit > 0;
    of_pairs(g, unit * pairs_per_unit);
  }
}

// The scales are in the units, so that what is expanded is a plain weight.
void Linear::multiply_scaled_units(const Segment& segment, const Inputs& inputs, int64_t panel,
                                   float* work) const {
  const bool pairs = inputs.pairs_of_bf16;
  const auto gemm = [&](auto kernel) {
    return [kernel, work](PanelGemm g, int64_t = 0) {
      g.sums = work;
      kernel(g);
    };
  };
  each_piece(segment, inputs, panel,
             reinterpret_cast<uint32_t*>(work + segment.n_rows * kPanelWidth),
             gemm(pairs ? isa_.e2m1.gemm_bf16 : isa_.e2m1.gemm_f32), isa_.e2m1.expand,
             gemm(pairs ? isa_.expanded.gemm_bf16 : isa_.expanded.gemm_bf16_as_f32));
}

// The same group by group.
void Linear::multiply_low_bit(const Segment& segment, const Inputs& inputs, int64_t panel,
                              float* work) const {
  const CpuLowBitWeight& weight = *segment.low_bit;
  if (weight.has_scaled_units()) return multiply_scaled_units(segment, inputs, panel, work);
  const LowBitKernels& kernels = kernels_of(weight.code(), isa_);
  float* parts = work + segment.n_rows * kPanelWidth;
  auto* expanded = reinterpret_cast<uint32_t*>(parts + segment.n_rows * kPanelWidth);
  const int64_t n_scales = weight.n_groups() * kPanelWidth;
  const int8_t* offsets = weight.offsets(panel);
  auto* offsets_f32 = reinterpret_cast<float*>(expanded + kExpandedPairs * kPanelWidth);
  for (int64_t i = 0; offsets != nullptr && i < n_scales; ++i) offsets_f32[i] = offsets[i];
  PanelGroups groups{.n_units = weight.n_units(),
                     .group_units = weight.group_units(),
                     .scales = weight.scales(panel),
                     .offsets = offsets == nullptr ? nullptr : offsets_f32,
                     .input_sums = offsets == nullptr ? nullptr : inputs.sums_of(segment.first_row),
                     .input_sums_stride = inputs.n_groups,
                     .parts = parts};
  const bool pairs = inputs.pairs_of_bf16;
  each_piece(
      segment, inputs, panel, expanded,
      [&](PanelGemm g) {
        g.sums = work;
        (pairs ? kernels.groups_bf16 : kernels.groups_f32)(g, groups);
      },
      kernels.expand,
      [&](PanelGemm g, int64_t first_pair) {
        const int64_t pairs_per_unit = weight.inputs_per_unit() / 2;
        g.sums = work;
        groups.first_unit = first_pair;
        groups.n_units = weight.n_units() * pairs_per_unit;
        groups.group_units = weight.group_units() * pairs_per_unit;
        (pairs ? isa_.expanded.groups_bf16 : isa_.expanded.groups_bf16_as_f32)(g, groups);
      });
}

int64_t Linear::Segment::work_floats() const {
  const int64_t n_sums = n_rows * kPanelWidth;
  if (low_bit == nullptr) return n_sums;
  const int64_t n_offsets = low_bit->offsets(0) == nullptr ? 0 : low_bit->n_groups() * kPanelWidth;
  return 2 * n_sums + kExpandedPairs * kPanelWidth + n_offsets;
}

void Linear::run_panels(const Segment& segment, const Inputs& inputs, const TensorView& out,
                        int64_t first_panel, int64_t end_panel, int thread) {
  const auto out_size = static_cast<int64_t>(size_of(out.dtype));
  float* sums = per_thread_[static_cast<size_t>(thread)].get<float>(segment.work_floats());
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    if (segment.low_bit == nullptr) {
      multiply(segment, inputs, panel, sums);
    } else {
      multiply_low_bit(segment, inputs, panel, sums);
    }
    const int64_t first = panel * kPanelWidth;
    const int64_t n = std::min<int64_t>(kPanelWidth, segment.out_features() - first);
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
  const int64_t n_rows = batch.back().first_row + batch.back().n_rows - batch.front().first_row;
  const Inputs inputs = convert_inputs(x, batch);
  const int64_t n_panels = batch.front().n_panels();
  const int64_t panel_units = x.dim(1) / 2 * kPanelWidth;
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
  const auto* low_bit = dynamic_cast<const CpuLowBitWeight*>(weight);
  const auto* plain = low_bit == nullptr ? dynamic_cast<const CpuPackedWeight*>(weight) : nullptr;
  CHECK(low_bit != nullptr || plain != nullptr) << "the weight was packed by another backend";
  CHECK(plain == nullptr || plain->element() == DType::kBF16 ||
        compute_dtype_ == ComputeDType::kF32);
  return {plain, low_bit, bias, first_row, n_rows};
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
