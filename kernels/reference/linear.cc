#include <utility>

#include "kernels/host_backend.h"
#include "kernels/host_memory.h"
#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

// Rows of f32, as they are multiplied: plain weights are rounded to bf16 where the compute dtype
// asks for it.
class ReferenceWeight final : public PackedWeight {
 public:
  ReferenceWeight(std::unique_ptr<Buffer> buffer, int64_t out, int64_t in, ComputeDType dtype)
      : buffer_(std::move(buffer)), out_(out), in_(in), compute_dtype_(dtype) {}

  int64_t out_features() const override { return out_; }
  int64_t in_features() const override { return in_; }
  size_t bytes() const override { return buffer_->bytes(); }
  float* row(int64_t o) const { return static_cast<float*>(buffer_->data()) + o * in_; }
  ComputeDType compute_dtype() const { return compute_dtype_; }

 private:
  std::unique_ptr<Buffer> buffer_;
  int64_t out_;
  int64_t in_;
  ComputeDType compute_dtype_;
};

float rounded(float value, ComputeDType dtype) {
  return dtype == ComputeDType::kBF16 ? to_f32(to_bf16(value)) : value;
}

}  // namespace

Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype) {
  TRY(check_packable(host_weight));
  const int64_t out = host_weight.dim(0);
  const int64_t in = host_weight.dim(1);
  ASSIGN_OR_RETURN(auto buffer, allocate_host(static_cast<size_t>(out) * static_cast<size_t>(in) *
                                              sizeof(float)));
  auto weight = std::make_unique<ReferenceWeight>(std::move(buffer), out, in, compute_dtype);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t k = 0; k < in; ++k) {
      weight->row(o)[k] = rounded(load(host_weight, o, k), compute_dtype);
    }
  }
  return std::unique_ptr<PackedWeight>(std::move(weight));
}

Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight,
                                                   ComputeDType compute_dtype) {
  TRY(check_low_bit(host_weight));
  const int64_t out = host_weight.out_features();
  const int64_t in = host_weight.in_features;
  ASSIGN_OR_RETURN(auto buffer, allocate_host(static_cast<size_t>(out) * static_cast<size_t>(in) *
                                              sizeof(float)));
  auto weight = std::make_unique<ReferenceWeight>(std::move(buffer), out, in, compute_dtype);
  for (int64_t o = 0; o < out; ++o) expand_low_bit_row(host_weight, o, weight->row(o));
  return std::unique_ptr<PackedWeight>(std::move(weight));
}

void linear(const LinearArgs& args) {
  const auto* weight = dynamic_cast<const ReferenceWeight*>(args.weight);
  CHECK(weight != nullptr) << "the weight was packed by another backend";
  for (int64_t i = 0; i < args.x.dim(0); ++i) {
    for (int64_t o = 0; o < weight->out_features(); ++o) {
      const float* w = weight->row(o);
      float sum = 0;
      for (int64_t k = 0; k < weight->in_features(); ++k) {
        sum += rounded(load(args.x, i, k), weight->compute_dtype()) * w[k];
      }
      if (args.bias.defined()) sum += args.bias.as<float>()[o];
      store(args.out, i, o, sum);
    }
  }
}

}  // namespace trireme::kernels::reference
