#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/launcher.h"
#include "kernels/cuda/low_bit.h"
#include "kernels/cuda/runtime.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kWordsPerChunk = 16;
constexpr int64_t kInputsPerStep = 32;

// The weight as it lies on the device.
void fill(const LowBitMatrix& m, const LowBitShape& shape, std::vector<uint8_t>* image) {
  const int64_t out = m.out_features();
  const int64_t n_scales = out * shape.n_groups;
  for (int64_t o = 0; o < out; ++o) {
    uint8_t* row = image->data() + o * shape.row_bytes();
    if (!is_nibbles(m.code)) {
      std::memcpy(row, m.codes.row<uint8_t>(o), static_cast<size_t>(m.in_features));
      continue;
    }
    const int32_t* words = m.codes.row<int32_t>(o);
    for (int64_t i = 0; i < m.codes.dim(1); ++i) {
      const int64_t at = i / kWordsPerChunk * kWordsPerChunk +
                         nibble_word_at(static_cast<int>(i % kWordsPerChunk));
      std::memcpy(row + at * 4, words + i, 4);
    }
  }
  std::memcpy(image->data() + shape.scales_at, m.scales.data, m.scales.bytes());
  if (shape.zeros_at != 0) {
    std::memcpy(image->data() + shape.zeros_at, m.zeros.data, static_cast<size_t>(n_scales));
  }
  if (shape.order_at != 0) {
    std::memcpy(image->data() + shape.order_at, m.input_order.data,
                static_cast<size_t>(m.in_features) * 4);
  }
}

}  // namespace

LowBitShape low_bit_shape(const LowBitMatrix& m) {
  LowBitShape shape;
  shape.code = m.code;
  shape.in_features = m.in_features;
  shape.pitch = round_up(m.in_features, low_bit_chunk(m.code));
  shape.n_groups = m.n_groups();
  shape.group_steps = static_cast<int32_t>(shape.n_groups == 1 ? shape.pitch / kInputsPerStep
                                                               : m.group_size / kInputsPerStep);
  const int64_t n_scales = m.out_features() * shape.n_groups;
  shape.bytes = round_up(m.out_features() * shape.row_bytes(), kAlignment);
  const auto place = [&](int64_t bytes) {
    const int64_t at = shape.bytes;
    shape.bytes += round_up(bytes, kAlignment);
    return at;
  };
  shape.scales_at = place(n_scales * static_cast<int64_t>(size_of(low_bit_scales_dtype(m.code))));
  if (m.zeros.defined()) shape.zeros_at = place(n_scales);
  if (m.input_order.defined()) shape.order_at = place(m.in_features * 4);
  return shape;
}

Result<std::unique_ptr<CudaLowBitWeight>> pack_low_bit(const LowBitMatrix& host_weight,
                                                       WeightUploader& uploader,
                                                       const Launcher& launcher) {
  TRY(check_low_bit(host_weight));
  const LowBitShape shape = low_bit_shape(host_weight);
  ASSIGN_OR_RETURN(auto buffer, DeviceBuffer::allocate(static_cast<size_t>(shape.bytes)));
  std::vector<uint8_t> image(static_cast<size_t>(shape.bytes), 0);
  fill(host_weight, shape, &image);
  const int64_t n_rows = shape.bytes / kAlignment;
  TRY(uploader.upload(TensorView(image.data(), DType::kU8, {n_rows, kAlignment}), buffer->data(),
                      kAlignment, DType::kU8, launcher));
  return std::make_unique<CudaLowBitWeight>(std::move(buffer), host_weight.out_features(), shape);
}

}  // namespace trireme::kernels::cuda
