// CudaPackedWeight: a weight matrix on the device, [out, pitch] in bf16 or f32, with zeros from
// `in` to the pitch; and the way there, through pinned memory.
#pragma once

#include <memory>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/gemm.h"

namespace trireme::kernels::cuda {

// Device memory with an owner.
class DeviceBuffer final : public Buffer {
 public:
  static Result<std::unique_ptr<DeviceBuffer>> allocate(size_t bytes);
  ~DeviceBuffer() override;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  DeviceBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  size_t bytes_;
};

class CudaPackedWeight final : public PackedWeight {
 public:
  CudaPackedWeight(std::unique_ptr<DeviceBuffer> buffer, int64_t out, int64_t in, int64_t pitch,
                   DType element)
      : buffer_(std::move(buffer)), out_(out), in_(in), pitch_(pitch), element_(element) {}

  int64_t out_features() const override { return out_; }
  int64_t in_features() const override { return in_; }
  size_t bytes() const override { return buffer_->bytes(); }

  const void* data() const { return buffer_->data(); }
  int64_t pitch() const { return pitch_; }  // elements from row to row
  DType element() const { return element_; }

 private:
  std::unique_ptr<DeviceBuffer> buffer_;
  int64_t out_;
  int64_t in_;
  int64_t pitch_;
  DType element_;
};

// Moves host matrices to the device in pieces: while one piece is on its way, the next is copied
// into pinned memory. Its buffers come into being with the first matrix and go by `release`. One
// thread.
class WeightUploader {
 public:
  WeightUploader() = default;
  ~WeightUploader() { release(); }
  WeightUploader(const WeightUploader&) = delete;
  WeightUploader& operator=(const WeightUploader&) = delete;

  // [rows, columns] of f32, f16 or bf16 to [rows, pitch] at `to`, converted and padded there.
  Status upload(const TensorView& host, void* to, int64_t pitch, DType element,
                const Launcher& launcher);
  void release();

 private:
  struct Piece {
    void* pinned = nullptr;
    void* device = nullptr;
    void* event = nullptr;
    bool in_flight = false;
  };
  Status reserve();

  Piece pieces_[2];
};

// bf16 weights stay bf16 under both compute dtypes, since they expand exactly; f16 and f32 weights
// are rounded to bf16 for bf16 compute and kept as f32 for f32 compute.
Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype,
                                                  WeightUploader& uploader,
                                                  const Launcher& launcher);

}  // namespace trireme::kernels::cuda
