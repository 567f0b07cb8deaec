// Low-bit weights on the device: where their parts lie, and the kernels that read them.
//
// One piece of memory holds a weight's codes, its scales [out, n_groups] (f32, or u8 of kE2M1), its
// zero points [out, n_groups] u8 and its input order [in] i32, so that experts of one shape differ
// in one pointer. Codes are [out, pitch] bytes, or of nibbles [out, pitch / 8] words of which each
// 16 are permuted (`nibble_word_at`), so that 16 bytes of a lane are what it multiplies.
// `low_bit_gemm` reads codes as they lie, for a few rows, bound by their bytes; for many rows
// `expand_low_bit` makes a piece of a plain weight (gemm.h).
#pragma once

#include <memory>
#include <utility>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/packed_weight.h"

namespace trireme::kernels::cuda {

// Inputs of one output that a quad of lanes reads at once, 16 bytes each.
constexpr int64_t low_bit_chunk(LowBitCode code) { return is_nibbles(code) ? 128 : 64; }

// Where word `i` of a chunk's 16 lies: lane i % 4 of a quad multiplies words i / 4 in four steps.
TRIREME_HD constexpr int nibble_word_at(int i) { return i % 4 * 4 + i / 4; }

// The same for all runs of a grouped product.
struct LowBitShape {
  LowBitCode code = LowBitCode::kE4M3;
  int64_t in_features = 0;
  int64_t pitch = 0;  // inputs, whole chunks
  int64_t n_groups = 1;
  // In units of 32 inputs; larger than the pitch where there is one group.
  int32_t group_steps = 1;
  // Bytes from the codes; 0: there are none.
  int64_t scales_at = 0;
  int64_t zeros_at = 0;
  int64_t order_at = 0;
  int64_t bytes = 0;

  int64_t row_bytes() const { return is_nibbles(code) ? pitch / 2 : pitch; }
  friend bool operator==(const LowBitShape&, const LowBitShape&) = default;
};
LowBitShape low_bit_shape(const LowBitMatrix& matrix);

class CudaLowBitWeight final : public PackedWeight {
 public:
  CudaLowBitWeight(std::unique_ptr<DeviceBuffer> buffer, int64_t out, const LowBitShape& shape)
      : buffer_(std::move(buffer)), out_(out), shape_(shape) {}

  int64_t out_features() const override { return out_; }
  int64_t in_features() const override { return shape_.in_features; }
  size_t bytes() const override { return buffer_->bytes(); }

  const void* data() const { return buffer_->data(); }
  const LowBitShape& shape() const { return shape_; }

 private:
  std::unique_ptr<DeviceBuffer> buffer_;
  int64_t out_;
  LowBitShape shape_;
};

Result<std::unique_ptr<CudaLowBitWeight>> pack_low_bit(const LowBitMatrix& host_weight,
                                                       WeightUploader& uploader,
                                                       const Launcher& launcher);

// As plan_small_gemm, for chunks of codes; any number of rows in grouped products. Pure.
SmallGemmPlan plan_low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                                int n_multiprocessors, const GemmWorkspace& workspace);

// Operands as of small_gemm, but weights are CudaLowBitWeight::data() of this shape; at most
// kMaxSmallRows rows, unless they come in runs.
void low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                  const GemmWorkspace& workspace, const Launcher& launcher);

// The same for many rows in runs, with weights rounded to bf16 as expand_low_bit rounds them:
// tile_gemm.cu.
void tile_low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                       const Launcher& launcher);

// The same of f32 or bf16 x, any alignment, in f32 arithmetic and the order of k: plain_gemm.cu.
void plain_low_bit_gemm(const GemmOperands& operands, const LowBitShape& shape,
                        const Launcher& launcher);

// Outputs [first, first + n) of a weight as [n, pitch] bf16, zeros from `in` to the pitch.
void expand_low_bit(const void* weight, const LowBitShape& shape, int64_t first, int64_t n,
                    void* to, const Launcher& launcher);

// to[row, j] = x[row, order[j]] in to's type, zeros from `in` to its width. x, n_rows and the runs
// are the operands'.
void order_inputs(const GemmOperands& operands, const LowBitShape& shape, void* to, DType to_dtype,
                  int64_t to_stride, const Launcher& launcher);

}  // namespace trireme::kernels::cuda
