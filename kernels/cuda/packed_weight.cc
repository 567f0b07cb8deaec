#include "kernels/cuda/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/runtime.h"
#include "kernels/host_backend.h"

namespace trireme::kernels::cuda {
namespace {

constexpr size_t kPieceBytes = size_t{32} << 20;

}  // namespace

Result<std::unique_ptr<DeviceBuffer>> DeviceBuffer::allocate(size_t bytes) {
  ASSIGN_OR_RETURN(void* data, allocate_device(bytes));
  return std::unique_ptr<DeviceBuffer>(new DeviceBuffer(data, bytes));
}

DeviceBuffer::~DeviceBuffer() { release_device(data_); }

Status WeightUploader::reserve() {
  for (Piece& piece : pieces_) {
    if (piece.pinned == nullptr) {
      ASSIGN_OR_RETURN(piece.pinned, allocate_pinned(kPieceBytes));
    }
    if (piece.device == nullptr) {
      ASSIGN_OR_RETURN(piece.device, allocate_device(kPieceBytes));
    }
    if (piece.event == nullptr) piece.event = make_event();
  }
  return {};
}

void WeightUploader::release() {
  for (Piece& piece : pieces_) {
    if (piece.in_flight) wait_for_event(piece.event);
    if (piece.pinned != nullptr) release_pinned(piece.pinned);
    if (piece.device != nullptr) release_device(piece.device);
    if (piece.event != nullptr) release_event(piece.event);
    piece = {};
  }
}

Status WeightUploader::upload(const TensorView& host, void* to, int64_t pitch, DType element,
                              const Launcher& launcher) {
  TRY(reserve());
  const int64_t columns = host.dim(1);
  const size_t row_bytes = static_cast<size_t>(columns) * size_of(host.dtype);
  if (row_bytes > kPieceBytes) {
    return invalid_argument("a weight's row of " + std::to_string(row_bytes) +
                            " bytes is longer than the " + std::to_string(kPieceBytes) +
                            " bytes of an upload");
  }
  const auto rows_at_once = static_cast<int64_t>(kPieceBytes / row_bytes);
  const bool as_it_is = host.dtype == element && pitch == columns;
  const size_t stride_bytes = static_cast<size_t>(host.row_stride) * size_of(host.dtype);
  size_t turn = 0;
  for (int64_t begin = 0; begin < host.dim(0); begin += rows_at_once, turn = 1 - turn) {
    const int64_t n = std::min(rows_at_once, host.dim(0) - begin);
    Piece& piece = pieces_[turn];
    if (piece.in_flight) wait_for_event(piece.event);
    const auto* from =
        static_cast<const char*>(host.data) + static_cast<size_t>(begin) * stride_bytes;
    auto* pinned = static_cast<char*>(piece.pinned);
    if (stride_bytes == row_bytes) {
      std::memcpy(pinned, from, static_cast<size_t>(n) * row_bytes);
    } else {
      for (int64_t i = 0; i < n; ++i) {
        std::memcpy(pinned + static_cast<size_t>(i) * row_bytes,
                    from + static_cast<size_t>(i) * stride_bytes, row_bytes);
      }
    }
    char* target = static_cast<char*>(to) + static_cast<size_t>(begin * pitch) * size_of(element);
    void* landing = as_it_is ? target : piece.device;
    copy_to_device_async(landing, pinned, static_cast<size_t>(n) * row_bytes, launcher.stream);
    if (!as_it_is) {
      convert(TensorView(landing, host.dtype, {n, columns}),
              TensorView(target, element, {n, pitch}), launcher);
    }
    record_event(piece.event, launcher.stream);
    piece.in_flight = true;
  }
  return {};
}

Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype,
                                                  WeightUploader& uploader,
                                                  const Launcher& launcher) {
  TRY(check_packable(host_weight));
  const int64_t out = host_weight.dim(0);
  const int64_t in = host_weight.dim(1);
  const bool as_bf16 = host_weight.dtype == DType::kBF16 || compute_dtype == ComputeDType::kBF16;
  const DType element = as_bf16 ? DType::kBF16 : DType::kF32;
  const int64_t pitch = round_up(in, kChunk);
  size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(out), static_cast<size_t>(pitch), &bytes) ||
      __builtin_mul_overflow(bytes, size_of(element), &bytes)) {
    return invalid_argument("a weight of " + std::to_string(out) + " by " + std::to_string(in) +
                            " is too large");
  }
  ASSIGN_OR_RETURN(auto buffer, DeviceBuffer::allocate(bytes));
  TRY(uploader.upload(host_weight, buffer->data(), pitch, element, launcher));
  return std::unique_ptr<PackedWeight>(
      std::make_unique<CudaPackedWeight>(std::move(buffer), out, in, pitch, element));
}

}  // namespace trireme::kernels::cuda
