#include "kernels/host_backend.h"
#include "kernels/reference/reference_ops.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {
namespace {

class ReferenceBackend final : public HostBackend {
 public:
  explicit ReferenceBackend(ComputeDType compute_dtype) : compute_dtype_(compute_dtype) {}

  std::string_view name() const override { return "reference"; }
  std::string description() const override {
    return "reference, plain loops, 1 thread, " + std::string(to_string(compute_dtype_));
  }
  ComputeDType compute_dtype() const override { return compute_dtype_; }

  Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight) override {
    return reference::pack_weight(host_weight, compute_dtype_);
  }

  Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight) override {
    return reference::pack_low_bit(host_weight, compute_dtype_);
  }

  void embedding(const EmbeddingArgs& args, Stream) override {
    check_shapes(args);
    reference::embedding(args);
  }
  void rms_norm(const RmsNormArgs& args, Stream) override {
    check_shapes(args);
    reference::rms_norm(args);
  }
  void add_rms_norm(const AddRmsNormArgs& args, Stream) override {
    check_shapes(args);
    reference::add_rms_norm(args);
  }
  void add(const AddArgs& args, Stream) override {
    check_shapes(args);
    reference::add(args);
  }
  void linear(const LinearArgs& args, Stream) override {
    check_shapes(args);
    reference::linear(args);
  }
  void layer_norm(const LayerNormArgs& args, Stream) override {
    check_shapes(args);
    reference::layer_norm(args);
  }
  void head_rms_norm(const HeadRmsNormArgs& args, Stream) override {
    check_shapes(args);
    reference::head_rms_norm(args);
  }
  void head_layer_norm(const HeadLayerNormArgs& args, Stream) override {
    check_shapes(args);
    reference::head_layer_norm(args);
  }
  void row_sum_squares(const RowSumSquaresArgs& args, Stream) override {
    check_shapes(args);
    reference::row_sum_squares(args);
  }
  void rms_norm_rows(const RmsNormRowsArgs& args, Stream) override {
    check_shapes(args);
    reference::rms_norm_rows(args);
  }
  void scale(const ScaleArgs& args, Stream) override {
    check_shapes(args);
    reference::scale(args);
  }
  void softcap(const SoftcapArgs& args, Stream) override {
    check_shapes(args);
    reference::softcap(args);
  }
  void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, Stream) override {
    check_shapes(args);
    reference::sigmoid_scale_rows(args);
  }
  void position_scale(const PositionScaleArgs& args, Stream) override {
    check_shapes(args);
    reference::position_scale(args);
  }
  void activation(const ActivationArgs& args, Stream) override {
    check_shapes(args);
    reference::activation(args);
  }
  void gated_activation(const GatedActivationArgs& args, Stream) override {
    check_shapes(args);
    reference::gated_activation(args);
  }
  void clamped_swiglu(const ClampedSwigluArgs& args, Stream) override {
    check_shapes(args);
    reference::clamped_swiglu(args);
  }
  void rope(const RopeArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::rope(args);
  }
  void kv_append(const KvAppendArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::kv_append(args);
  }
  void paged_attention(const PagedAttentionArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::paged_attention(args);
  }
  void latent_append(const LatentAppendArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::latent_append(args);
  }
  void latent_attention(const LatentAttentionArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::latent_attention(args);
  }
  void moe_route(const MoeRouteArgs& args, Stream) override {
    check_shapes(args);
    reference::moe_route(args);
  }
  void moe_dispatch(const MoeDispatchArgs& args, Stream) override {
    check_shapes(args);
    reference::moe_dispatch(args);
  }
  void moe_gather(const MoeGatherArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::moe_gather(args);
  }
  void grouped_linear(const GroupedLinearArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::grouped_linear(args);
  }
  void moe_combine(const MoeCombineArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::moe_combine(args);
  }
  void gather_rows(const GatherRowsArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::gather_rows(args);
  }
  void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    reference::row_max_log_sum_exp(args);
  }

 private:
  ComputeDType compute_dtype_;
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(ComputeDType compute_dtype) {
  return std::make_unique<ReferenceBackend>(compute_dtype);
}

}  // namespace trireme::kernels
