// The linear ops on low-bit weights: which kernel takes them.
#include <algorithm>

#include "kernels/cuda/cuda_linear.h"
#include "kernels/cuda/launcher.h"

namespace trireme::kernels::cuda {
namespace {

GemmOperands operands_of(const TensorView& bias, const TensorView& out, int64_t out_features) {
  GemmOperands operands;
  operands.out_features = out_features;
  operands.bias = bias.defined() ? bias.as<float>() : nullptr;
  operands.out = out.data;
  operands.out_dtype = out.dtype;
  operands.out_stride = out.row_stride;
  return operands;
}

}  // namespace

// Outputs that are expanded at once: whole tiles of tile_gemm where there is room.
int64_t Linear::outs_at_once(const LowBitShape& shape) const {
  const auto row_bytes = static_cast<size_t>(shape.pitch) * size_of(DType::kBF16);
  const auto n = static_cast<int64_t>(expand_bytes_ / row_bytes);
  return std::clamp<int64_t>(n >= 128 ? n / 128 * 128 : n, 16, kMaxGridYZ / 128 * 128);
}

void Linear::reserve(const LowBitShape& shape, const Launcher& launcher) {
  if (compute_dtype_ == ComputeDType::kF32) return;
  expanded_.get(static_cast<size_t>(outs_at_once(shape) * shape.pitch) * size_of(DType::kBF16),
                launcher);
}

// x as set_x has it, its columns in the weight's input order. `operands` names weights and runs.
void Linear::set_low_bit_x(const TensorView& x, const LowBitShape& shape, GemmOperands* operands,
                           const Launcher& launcher) {
  if (shape.order_at == 0) return set_x(x, shape.pitch, operands, launcher);
  operands->x = x.data;
  operands->x_dtype = x.dtype;
  operands->x_stride = x.row_stride;
  operands->n_rows = x.dim(0);
  const DType dtype = compute_dtype_ == ComputeDType::kBF16 ? DType::kBF16 : DType::kF32;
  void* ordered = x_.get(static_cast<size_t>(x.dim(0) * shape.pitch) * size_of(dtype), launcher);
  order_inputs(*operands, shape, ordered, dtype, shape.pitch, launcher);
  operands->x = ordered;
  operands->x_dtype = dtype;
  operands->x_stride = shape.pitch;
  operands->x_width = shape.pitch;
}

// A piece of the weight at a time becomes a plain one, rounded to bf16.
void Linear::multiply_expanded(const CudaLowBitWeight& weight, const GemmOperands& operands,
                               const Launcher& launcher) {
  const LowBitShape& shape = weight.shape();
  const int64_t at_once = outs_at_once(shape);
  void* expanded =
      expanded_.get(static_cast<size_t>(at_once * shape.pitch) * size_of(DType::kBF16), launcher);
  for (int64_t first = 0; first < operands.out_features; first += at_once) {
    const int64_t n = std::min(at_once, operands.out_features - first);
    expand_low_bit(weight.data(), shape, first, n, expanded, launcher);
    GemmOperands piece = operands;
    piece.weight = expanded;
    piece.weight_dtype = DType::kBF16;
    piece.pitch = shape.pitch;
    piece.out_features = n;
    if (piece.bias != nullptr) piece.bias += first;
    piece.out =
        static_cast<char*>(piece.out) + static_cast<size_t>(first) * size_of(operands.out_dtype);
    multiply(piece, launcher);
  }
}

void Linear::run_low_bit(const LinearArgs& args, const CudaLowBitWeight& weight,
                         const Launcher& launcher) {
  if (args.x.dim(0) == 0) return;
  GemmOperands operands = operands_of(args.bias, args.out, weight.out_features());
  operands.weight = weight.data();
  set_low_bit_x(args.x, weight.shape(), &operands, launcher);
  if (compute_dtype_ == ComputeDType::kF32) {
    plain_low_bit_gemm(operands, weight.shape(), launcher);
  } else if (operands.n_rows <= kMaxSmallRows) {
    low_bit_gemm(operands, weight.shape(), workspace_, launcher);
  } else if (workspace_.one_order) {
    each_part(operands, kMaxSmallRows, [&](const GemmOperands& part) {
      low_bit_gemm(part, weight.shape(), workspace_, launcher);
    });
  } else {
    multiply_expanded(weight, operands, launcher);
  }
}

void Linear::run_grouped_low_bit(const GroupedLinearArgs& args, const Launcher& launcher) {
  WeightTable table{};
  const CudaLowBitWeight* first = nullptr;
  for (size_t run = 0; run < args.weights.size(); ++run) {
    const auto* weight = dynamic_cast<const CudaLowBitWeight*>(args.weights[run]);
    CHECK(weight != nullptr) << "expert " << run << " is not low-bit like the others";
    if (first == nullptr) first = weight;
    CHECK(weight->shape() == first->shape()) << "expert " << run;
    table.at[run] = weight->data();
  }
  if (args.bias.defined()) CHECK(args.bias.contiguous());
  GemmOperands operands = operands_of(args.bias, args.out, first->out_features());
  operands.run_start = args.expert_start.as<int32_t>();
  operands.n_runs = static_cast<int64_t>(args.weights.size());
  operands.weights = &table;
  set_low_bit_x(args.x, first->shape(), &operands, launcher);
  if (compute_dtype_ == ComputeDType::kF32) {
    plain_low_bit_gemm(operands, first->shape(), launcher);
  } else if (workspace_.one_order || operands.n_rows <= kMaxSmallRows * operands.n_runs) {
    low_bit_gemm(operands, first->shape(), workspace_, launcher);
  } else {
    tile_low_bit_gemm(operands, first->shape(), launcher);
  }
}

}  // namespace trireme::kernels::cuda
