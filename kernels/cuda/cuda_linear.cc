#include "kernels/cuda/cuda_linear.h"

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/head_gemm.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/runtime.h"

namespace trireme::kernels::cuda {

void* DeviceScratch::get(size_t bytes, const Launcher& launcher) {
  if (buffer_ == nullptr || buffer_->bytes() < bytes) {
    synchronize_stream(launcher.stream);  // what reads the old one
    buffer_.reset();
    auto grown = DeviceBuffer::allocate(bytes + bytes / 4);
    CHECK(grown.ok()) << grown.error().message;
    buffer_ = std::move(*grown);
    ++n_moves_;
  }
  return buffer_->data();
}

// The bf16 kernels read 16 bytes at a time: x is used as it lies where that is possible.
void Linear::read_x(const TensorView& x, int64_t pitch, GemmOperands* operands,
                    const Launcher& launcher) {
  const bool as_it_lies = x.dtype == DType::kBF16 && x.dim(1) % 8 == 0 &&
                          (x.row_stride % 8 == 0 || x.dim(0) <= 1) &&
                          reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  operands->n_rows = x.dim(0);
  operands->x_dtype = DType::kBF16;
  if (as_it_lies) {
    operands->x = x.data;
    operands->x_stride = x.row_stride;
    operands->x_width = x.dim(1);
    return;
  }
  const auto bytes = static_cast<size_t>(x.dim(0) * pitch) * size_of(DType::kBF16);
  void* scratch = x_.get(bytes, launcher);
  convert(x, TensorView(scratch, DType::kBF16, {x.dim(0), pitch}), launcher);
  operands->x = scratch;
  operands->x_stride = pitch;
  operands->x_width = pitch;
}

// x as the compute dtype's kernels take it.
void Linear::set_x(const TensorView& x, int64_t pitch, GemmOperands* operands,
                   const Launcher& launcher) {
  if (compute_dtype_ == ComputeDType::kBF16) {
    read_x(x, pitch, operands, launcher);
    return;
  }
  operands->x = x.data;
  operands->x_dtype = x.dtype;
  operands->x_stride = x.row_stride;
  operands->x_width = x.dim(1);
  operands->n_rows = x.dim(0);
}

void Linear::multiply(const GemmOperands& operands, const Launcher& launcher) {
  if (compute_dtype_ == ComputeDType::kF32) {
    plain_gemm(operands, launcher);
    return;
  }
  if (workspace_.one_order) {
    multiply_in_one_order(operands, launcher);
    return;
  }
  const int64_t n_runs = operands.n_runs == 0 ? 1 : operands.n_runs;
  if (operands.n_rows <= kMaxSmallRows * n_runs) {
    small_gemm(operands, workspace_, launcher);
    return;
  }
  if (operands.n_runs == 0 && large_ != nullptr && large_->run(operands, launcher)) {
    if (operands.bias != nullptr) add_bias(operands, launcher);
    return;
  }
  tile_gemm(operands, launcher);
}

// The kernel of few rows, for any number of them: each of its tiles sums alike.
void Linear::multiply_in_one_order(const GemmOperands& operands, const Launcher& launcher) {
  if (operands.n_runs > 0) {
    small_gemm(operands, workspace_, launcher);
    return;
  }
  const int64_t at_once = small_gemm_rows_at_once(operands, launcher.n_multiprocessors, workspace_);
  each_part(operands, at_once,
            [&](const GemmOperands& part) { small_gemm(part, workspace_, launcher); });
}

void Linear::run(const LinearArgs& args, const Launcher& launcher) {
  if (const auto* low_bit = dynamic_cast<const CudaLowBitWeight*>(args.weight)) {
    return run_low_bit(args, *low_bit, launcher);
  }
  const auto* weight = dynamic_cast<const CudaPackedWeight*>(args.weight);
  CHECK(weight != nullptr) << "the weight was packed by another backend";
  if (args.x.dim(0) == 0) return;
  GemmOperands operands;
  operands.weight = weight->data();
  operands.weight_dtype = weight->element();
  operands.pitch = weight->pitch();
  operands.out_features = weight->out_features();
  operands.bias = args.bias.defined() ? args.bias.as<float>() : nullptr;
  operands.out = args.out.data;
  operands.out_dtype = args.out.dtype;
  operands.out_stride = args.out.row_stride;
  set_x(args.x, weight->pitch(), &operands, launcher);
  multiply(operands, launcher);
}

// Heads whose weights or inputs the kernel of all heads does not take go one by one.
void Linear::run_heads(const HeadLinearArgs& args, const Launcher& launcher) {
  if (args.x.dim(0) == 0) return;
  const auto n_heads = static_cast<int64_t>(args.weights.size());
  WeightTable table{};
  const auto* first = dynamic_cast<const CudaPackedWeight*>(args.weights.front());
  bool together = first != nullptr && n_heads <= kMaxRuns;
  for (size_t h = 0; together && h < args.weights.size(); ++h) {
    const auto* weight = dynamic_cast<const CudaPackedWeight*>(args.weights[h]);
    together = weight != nullptr && weight->element() == first->element() &&
               weight->pitch() == first->pitch();
    if (together) table.at[h] = weight->data();
  }
  if (together) {
    HeadGemmOperands operands{.head = {},
                              .weights = &table,
                              .n_heads = n_heads,
                              .x_head_stride = args.x_head_stride,
                              .out_head_stride = args.out_head_stride};
    operands.head.weight_dtype = first->element();
    operands.head.pitch = first->pitch();
    operands.head.out_features = first->out_features();
    operands.head.out = args.out.data;
    operands.head.out_dtype = args.out.dtype;
    operands.head.out_stride = args.out.row_stride;
    set_x(args.x, round_up<int64_t>(args.x.dim(1), 8), &operands.head, launcher);
    operands.head.x_width = first->in_features();
    if (compute_dtype_ == ComputeDType::kF32) return plain_head_gemm(operands, launcher);
    if (head_gemm_takes(operands)) return head_gemm(operands, launcher);
  }
  for (int64_t h = 0; h < n_heads; ++h) {
    const PackedWeight& weight = *args.weights[static_cast<size_t>(h)];
    const int64_t from = h * args.x_head_stride;
    const int64_t to = h * args.out_head_stride;
    run({.x = args.x.columns(from, from + weight.in_features()),
         .weight = &weight,
         .out = args.out.columns(to, to + weight.out_features())},
        launcher);
  }
}

void Linear::run_grouped(const GroupedLinearArgs& args, const Launcher& launcher) {
  const auto n_runs = static_cast<int64_t>(args.weights.size());
  if (args.x.dim(0) == 0 || n_runs == 0) return;
  CHECK_LE(n_runs, kMaxRuns) << "experts of one rank";
  if (dynamic_cast<const CudaLowBitWeight*>(args.weights.front()) != nullptr) {
    return run_grouped_low_bit(args, launcher);
  }
  WeightTable table{};
  const CudaPackedWeight* first = nullptr;
  for (size_t run = 0; run < args.weights.size(); ++run) {
    const auto* weight = dynamic_cast<const CudaPackedWeight*>(args.weights[run]);
    CHECK(weight != nullptr) << "the weight was packed by another backend";
    if (first == nullptr) first = weight;
    CHECK_EQ(weight->element(), first->element()) << "expert " << run;
    CHECK_EQ(weight->pitch(), first->pitch()) << "expert " << run;
    CHECK_EQ(weight->out_features(), first->out_features()) << "expert " << run;
    table.at[run] = weight->data();
  }
  if (args.bias.defined()) CHECK(args.bias.contiguous());
  GemmOperands operands;
  operands.run_start = args.expert_start.as<int32_t>();
  operands.n_runs = n_runs;
  operands.weights = &table;
  operands.weight_dtype = first->element();
  operands.pitch = first->pitch();
  operands.out_features = first->out_features();
  operands.bias = args.bias.defined() ? args.bias.as<float>() : nullptr;
  operands.out = args.out.data;
  operands.out_dtype = args.out.dtype;
  operands.out_stride = args.out.row_stride;
  set_x(args.x, first->pitch(), &operands, launcher);
  multiply(operands, launcher);
}

}  // namespace trireme::kernels::cuda
