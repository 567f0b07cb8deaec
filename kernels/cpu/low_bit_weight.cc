#include "kernels/cpu/low_bit_weight.h"

#include <algorithm>

#include "kernels/host_memory.h"

namespace trireme::kernels::cpu {
namespace {

// Words of a row that are made at once: a panel's rows stay in the nearest cache.
constexpr int64_t kChunkUnits = 128;

uint32_t bytes_unit(const uint8_t* codes, int64_t n) {
  const auto byte = [&](int64_t i) { return i < n ? uint32_t{codes[i]} : 0; };
  return byte(0) | byte(2) << 8 | byte(1) << 16 | byte(3) << 24;
}

class LowBitPacker {
 public:
  LowBitPacker(const LowBitMatrix& source, const CpuLowBitWeight& weight, const IsaKernels& isa)
      : source_(source),
        weight_(weight),
        isa_(isa),
        rows_(static_cast<size_t>(kPanelWidth * kChunkUnits)) {}

  void pack(int64_t panel) {
    const int64_t first = panel * kPanelWidth;
    const int64_t n_rows = std::min<int64_t>(kPanelWidth, weight_.out_features() - first);
    if (weight_.has_scaled_units()) return pack_scaled(panel, first, n_rows);
    for (int64_t u = 0; u < weight_.n_units(); u += kChunkUnits) {
      const int64_t n = std::min(kChunkUnits, weight_.n_units() - u);
      for (int64_t r = 0; r < n_rows; ++r) copy_units(first + r, u, n, &rows_[size_of_rows(r)]);
      isa_.transpose_to_panel(rows_.data(), kChunkUnits, n_rows, n,
                              weight_.panel(panel) + u * kPanelWidth);
    }
    for (int64_t g = 0; g < weight_.n_groups(); ++g) {
      for (int64_t r = 0; r < n_rows; ++r) {
        const int64_t at = g * kPanelWidth + r;
        weight_.scales(panel)[at] = source_.scales.row<float>(first + r)[g];
        if (int8_t* offsets = weight_.offsets(panel); offsets != nullptr) {
          const int zero = source_.zeros.row<uint8_t>(first + r)[g];
          offsets[at] = static_cast<int8_t>(zero - kInt4Middle);
        }
      }
    }
  }

 private:
  void pack_scaled(int64_t panel, int64_t first, int64_t n_rows) {
    const int64_t n_words = source_.codes.dim(1);
    for (int64_t u = 0; u < weight_.n_units(); ++u) {
      uint32_t* unit = weight_.panel(panel) + u * kScaledUnitWords;
      const int64_t n = std::min<int64_t>(4, n_words - u * 4);
      for (int64_t r = 0; r < n_rows; ++r) copy_units(first + r, u * 4, n, &rows_[size_of_rows(r)]);
      isa_.transpose_to_panel(rows_.data(), kChunkUnits, n_rows, n, unit);
      auto* scales = reinterpret_cast<uint8_t*>(unit + kScaledUnitCodeWords);
      for (int64_t r = 0; r < n_rows; ++r) scales[r] = source_.scales.row<uint8_t>(first + r)[u];
    }
  }

  static size_t size_of_rows(int64_t n) { return static_cast<size_t>(n * kChunkUnits); }

  void copy_units(int64_t output, int64_t first, int64_t n, uint32_t* to) const {
    if (is_nibbles(source_.code)) {
      const int32_t* words = source_.codes.row<int32_t>(output) + first;
      for (int64_t u = 0; u < n; ++u) to[u] = static_cast<uint32_t>(words[u]);
      return;
    }
    const uint8_t* codes = source_.codes.row<uint8_t>(output);
    for (int64_t u = 0; u < n; ++u) {
      const int64_t input = (first + u) * 4;
      to[u] = bytes_unit(codes + input, source_.in_features - input);
    }
  }

  const LowBitMatrix& source_;
  const CpuLowBitWeight& weight_;
  const IsaKernels& isa_;
  std::vector<uint32_t> rows_;
};

bool has_offsets(const LowBitMatrix& matrix) {
  if (!matrix.zeros.defined()) return false;
  const auto* zeros = matrix.zeros.as<uint8_t>();
  return !std::all_of(zeros, zeros + matrix.zeros.numel(),
                      [](uint8_t zero) { return zero == kInt4Middle; });
}

}  // namespace

Result<std::unique_ptr<CpuLowBitWeight>> CpuLowBitWeight::create(const LowBitMatrix& like) {
  std::unique_ptr<CpuLowBitWeight> weight(new CpuLowBitWeight);
  weight->code_ = like.code;
  weight->out_ = like.out_features();
  weight->in_ = like.in_features;
  weight->group_units_ = std::min(
      weight->n_units(), std::max<int64_t>(1, like.group_size / weight->inputs_per_unit()));
  if (like.group_size >= like.in_features) weight->group_units_ = weight->n_units();
  const auto n_words =
      static_cast<size_t>(weight->n_panels() * weight->n_units() * weight->unit_words());
  ASSIGN_OR_RETURN(weight->codes_, allocate_host(n_words * sizeof(uint32_t)));
  const auto n_scales = static_cast<size_t>(weight->n_panels() * weight->n_groups() * kPanelWidth);
  if (!weight->has_scaled_units()) {
    ASSIGN_OR_RETURN(weight->scales_, allocate_host(n_scales * sizeof(float)));
  }
  if (has_offsets(like)) {
    ASSIGN_OR_RETURN(weight->offsets_, allocate_host(n_scales));
  }
  if (like.input_order.defined()) {
    const auto* order = like.input_order.as<int32_t>();
    weight->input_order_.assign(order, order + like.in_features);
  }
  return weight;
}

size_t CpuLowBitWeight::bytes() const {
  const auto bytes_of = [](const auto& buffer) { return buffer == nullptr ? 0 : buffer->bytes(); };
  return codes_->bytes() + bytes_of(scales_) + bytes_of(offsets_) +
         input_order_.size() * sizeof(int32_t);
}

Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight,
                                                   const IsaKernels& isa, ThreadPool* pool) {
  TRY(check_low_bit(host_weight));
  ASSIGN_OR_RETURN(auto weight, CpuLowBitWeight::create(host_weight));
  pool->split(weight->n_panels(), weight->bytes() > 65536,
              [&](int64_t begin, int64_t end, int /*thread*/) {
                LowBitPacker packer(host_weight, *weight, isa);
                for (int64_t panel = begin; panel < end; ++panel) packer.pack(panel);
              });
  return std::unique_ptr<PackedWeight>(std::move(weight));
}

}  // namespace trireme::kernels::cpu
