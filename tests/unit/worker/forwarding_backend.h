// ForwardingBackend: a backend over another one, whose every op is the other's until a class
// derived from it says otherwise.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/backend.h"

namespace trireme::worker {

class ForwardingBackend : public kernels::Backend {
 public:
  using Stream = kernels::Stream;

  std::string_view name() const override { return inner_->name(); }
  std::string description() const override { return inner_->description(); }
  kernels::ComputeDType compute_dtype() const override { return inner_->compute_dtype(); }
  Result<std::unique_ptr<kernels::Buffer>> allocate(size_t bytes) override {
    return inner_->allocate(bytes);
  }
  Result<size_t> free_memory_bytes() const override { return inner_->free_memory_bytes(); }
  Result<std::unique_ptr<kernels::Buffer>> allocate_on_host(size_t bytes) override {
    return inner_->allocate_on_host(bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) override {
    inner_->copy_to_host(host, device, bytes, stream);
  }
  void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) override {
    inner_->copy_to_device(device, host, bytes, stream);
  }
  void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override {
    inner_->copy_on_device(to, from, bytes, stream);
  }
  void synchronize(Stream stream) override { inner_->synchronize(stream); }
  std::unique_ptr<kernels::Marker> make_marker() override { return inner_->make_marker(); }
  void mark(kernels::Marker& marker, Stream stream) override { inner_->mark(marker, stream); }
  bool is_reached(const kernels::Marker& marker) override { return inner_->is_reached(marker); }
  void wait_for(const kernels::Marker& marker) override { inner_->wait_for(marker); }
  Result<Stream> make_stream() override { return inner_->make_stream(); }
  void order(Stream earlier, Stream later) override { inner_->order(earlier, later); }
  Result<std::unique_ptr<kernels::PackedWeight>> pack_weight(const TensorView& weight) override {
    return inner_->pack_weight(weight);
  }
  Result<std::unique_ptr<kernels::PackedWeight>> pack_low_bit(
      const kernels::LowBitMatrix& weight) override {
    return inner_->pack_low_bit(weight);
  }

  void embedding(const kernels::EmbeddingArgs& args, Stream stream) override {
    inner_->embedding(args, stream);
  }
  void rms_norm(const kernels::RmsNormArgs& args, Stream stream) override {
    inner_->rms_norm(args, stream);
  }
  void add_rms_norm(const kernels::AddRmsNormArgs& args, Stream stream) override {
    inner_->add_rms_norm(args, stream);
  }
  void add(const kernels::AddArgs& args, Stream stream) override { inner_->add(args, stream); }
  void linear(const kernels::LinearArgs& args, Stream stream) override {
    inner_->linear(args, stream);
  }
  void layer_norm(const kernels::LayerNormArgs& args, Stream stream) override {
    inner_->layer_norm(args, stream);
  }
  void head_rms_norm(const kernels::HeadRmsNormArgs& args, Stream stream) override {
    inner_->head_rms_norm(args, stream);
  }
  void head_layer_norm(const kernels::HeadLayerNormArgs& args, Stream stream) override {
    inner_->head_layer_norm(args, stream);
  }
  void row_sum_squares(const kernels::RowSumSquaresArgs& args, Stream stream) override {
    inner_->row_sum_squares(args, stream);
  }
  void rms_norm_rows(const kernels::RmsNormRowsArgs& args, Stream stream) override {
    inner_->rms_norm_rows(args, stream);
  }
  void scale(const kernels::ScaleArgs& args, Stream stream) override {
    inner_->scale(args, stream);
  }
  void softcap(const kernels::SoftcapArgs& args, Stream stream) override {
    inner_->softcap(args, stream);
  }
  void sigmoid_scale_rows(const kernels::SigmoidScaleRowsArgs& args, Stream stream) override {
    inner_->sigmoid_scale_rows(args, stream);
  }
  void position_scale(const kernels::PositionScaleArgs& args, Stream stream) override {
    inner_->position_scale(args, stream);
  }
  void activation(const kernels::ActivationArgs& args, Stream stream) override {
    inner_->activation(args, stream);
  }
  void gated_activation(const kernels::GatedActivationArgs& args, Stream stream) override {
    inner_->gated_activation(args, stream);
  }
  void clamped_swiglu(const kernels::ClampedSwigluArgs& args, Stream stream) override {
    inner_->clamped_swiglu(args, stream);
  }
  void rope(const kernels::RopeArgs& args, Stream stream) override { inner_->rope(args, stream); }
  void kv_append(const kernels::KvAppendArgs& args, Stream stream) override {
    inner_->kv_append(args, stream);
  }
  void paged_attention(const kernels::PagedAttentionArgs& args, Stream stream) override {
    inner_->paged_attention(args, stream);
  }
  void latent_append(const kernels::LatentAppendArgs& args, Stream stream) override {
    inner_->latent_append(args, stream);
  }
  void latent_attention(const kernels::LatentAttentionArgs& args, Stream stream) override {
    inner_->latent_attention(args, stream);
  }
  void moe_route(const kernels::MoeRouteArgs& args, Stream stream) override {
    inner_->moe_route(args, stream);
  }
  void moe_dispatch(const kernels::MoeDispatchArgs& args, Stream stream) override {
    inner_->moe_dispatch(args, stream);
  }
  void moe_gather(const kernels::MoeGatherArgs& args, Stream stream) override {
    inner_->moe_gather(args, stream);
  }
  void grouped_linear(const kernels::GroupedLinearArgs& args, Stream stream) override {
    inner_->grouped_linear(args, stream);
  }
  void moe_combine(const kernels::MoeCombineArgs& args, Stream stream) override {
    inner_->moe_combine(args, stream);
  }
  void gather_rows(const kernels::GatherRowsArgs& args, Stream stream) override {
    inner_->gather_rows(args, stream);
  }
  void row_max_log_sum_exp(const kernels::RowMaxLogSumExpArgs& args, Stream stream) override {
    inner_->row_max_log_sum_exp(args, stream);
  }
  void row_candidates(const kernels::RowCandidatesArgs& args, Stream stream) override {
    inner_->row_candidates(args, stream);
  }
  void count_before(const kernels::CountBeforeArgs& args, Stream stream) override {
    inner_->count_before(args, stream);
  }
  void best_tokens(const kernels::BestTokensArgs& args, Stream stream) override {
    inner_->best_tokens(args, stream);
  }
  void draw_tokens(const kernels::DrawTokensArgs& args, Stream stream) override {
    inner_->draw_tokens(args, stream);
  }
  void place_tokens(const kernels::PlaceTokensArgs& args, Stream stream) override {
    inner_->place_tokens(args, stream);
  }
  void head_linear(const kernels::HeadLinearArgs& args, Stream stream) override {
    inner_->head_linear(args, stream);
  }
  void norm_rope_append(const kernels::NormRopeAppendArgs& args, Stream stream) override {
    inner_->norm_rope_append(args, stream);
  }
  Status begin_recording(Stream stream) override { return inner_->begin_recording(stream); }
  Result<std::unique_ptr<kernels::RecordedWork>> end_recording(Stream stream) override {
    return inner_->end_recording(stream);
  }
  bool replay(const kernels::RecordedWork& work, Stream stream) override {
    return inner_->replay(work, stream);
  }

 protected:
  explicit ForwardingBackend(std::unique_ptr<kernels::Backend> inner) : inner_(std::move(inner)) {}

  std::unique_ptr<kernels::Backend> inner_;
};

}  // namespace trireme::worker
