#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/host_backend.h"
#include "kernels/host_memory.h"

namespace trireme::kernels::cpu {
namespace {

// Inputs that are brought to the packed element type at once: the rows of a panel stay in the
// nearest cache.
constexpr int64_t kChunkInputs = 256;

class PanelPacker {
 public:
  PanelPacker(const TensorView& source, const CpuPackedWeight& weight, const IsaKernels& isa)
      : source_(source),
        weight_(weight),
        isa_(isa),
        rows_(static_cast<size_t>(kPanelWidth * kChunkInputs)),
        row_f32_(static_cast<size_t>(kChunkInputs)) {}

  void pack(int64_t panel) {
    const int64_t first_row = panel * kPanelWidth;
    const int64_t n_rows = std::min<int64_t>(kPanelWidth, weight_.out_features() - first_row);
    const int64_t inputs_per_unit = weight_.element() == DType::kBF16 ? 2 : 1;
    const int64_t stride = kChunkInputs / inputs_per_unit;
    for (int64_t k = 0; k < weight_.in_features(); k += kChunkInputs) {
      const int64_t n = std::min(kChunkInputs, weight_.in_features() - k);
      const int64_t n_units = (n + inputs_per_unit - 1) / inputs_per_unit;
      for (int64_t r = 0; r < n_rows; ++r) {
        uint32_t* row = rows_.data() + r * stride;
        row[n_units - 1] = 0;  // the missing half of an odd last pair
        convert(first_row + r, k, n, row);
      }
      isa_.transpose_to_panel(rows_.data(), stride, n_rows, n_units,
                              weight_.panel(panel) + k / inputs_per_unit * kPanelWidth);
    }
  }

 private:
  // Inputs [k, k + n) of one output, in the packed element type.
  void convert(int64_t output, int64_t k, int64_t n, uint32_t* to) {
    const auto size = static_cast<int64_t>(size_of(source_.dtype));
    const char* from =
        static_cast<const char*>(source_.data) + (output * source_.row_stride + k) * size;
    if (source_.dtype == weight_.element()) {
      std::memcpy(to, from, static_cast<size_t>(n * size));
    } else if (weight_.element() == DType::kF32) {
      isa_.to_f32(from, source_.dtype, n, reinterpret_cast<float*>(to));
    } else {
      isa_.to_f32(from, source_.dtype, n, row_f32_.data());
      isa_.from_f32(row_f32_.data(), n, DType::kBF16, to);
    }
  }

  const TensorView& source_;
  const CpuPackedWeight& weight_;
  const IsaKernels& isa_;
  std::vector<uint32_t> rows_;
  std::vector<float> row_f32_;
};

}  // namespace

Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype, const IsaKernels& isa,
                                                  ThreadPool* pool) {
  TRY(check_packable(host_weight));
  const bool keeps_f32 = compute_dtype == ComputeDType::kF32 && host_weight.dtype != DType::kBF16;
  const int64_t out = host_weight.dim(0);
  const int64_t in = host_weight.dim(1);
  const int64_t n_units = keeps_f32 ? in : (in + 1) / 2;
  const int64_t n_panels = (out + kPanelWidth - 1) / kPanelWidth;
  const auto bytes = static_cast<size_t>(n_panels * n_units) * kPanelWidth * sizeof(uint32_t);
  ASSIGN_OR_RETURN(auto buffer, allocate_host(bytes));
  auto weight = std::make_unique<CpuPackedWeight>(std::move(buffer), out, in,
                                                  keeps_f32 ? DType::kF32 : DType::kBF16);
  pool->split(n_panels, bytes > 65536, [&](int64_t begin, int64_t end, int /*thread*/) {
    PanelPacker packer(host_weight, *weight, isa);
    for (int64_t panel = begin; panel < end; ++panel) packer.pack(panel);
  });
  return std::unique_ptr<PackedWeight>(std::move(weight));
}

}  // namespace trireme::kernels::cpu
