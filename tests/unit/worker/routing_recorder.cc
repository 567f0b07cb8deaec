#include "tests/unit/worker/routing_recorder.h"

#include <algorithm>

#include "base/check.h"

namespace trireme::worker {
namespace {

using kernels::Stream;

class RoutingRecorder final : public kernels::Backend {
 public:
  RoutingRecorder(std::unique_ptr<kernels::Backend> inner, RoutingLog* log)
      : inner_(std::move(inner)), log_(log) {}

  std::string_view name() const override { return inner_->name(); }
  std::string description() const override { return inner_->description(); }
  kernels::ComputeDType compute_dtype() const override { return inner_->compute_dtype(); }
  Result<std::unique_ptr<kernels::Buffer>> allocate(size_t bytes) override {
    return inner_->allocate(bytes);
  }
  Result<size_t> free_memory_bytes() const override { return inner_->free_memory_bytes(); }
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
    RowChoices rows;
    for (int64_t t = 0; t < args.expert_ids.dim(0); ++t) {
      std::vector<int32_t> ids(static_cast<size_t>(args.expert_ids.dim(1)));
      inner_->copy_to_host(ids.data(), args.expert_ids.row<int32_t>(t),
                           ids.size() * sizeof(int32_t), stream);
      inner_->synchronize(stream);
      std::sort(ids.begin(), ids.end());
      rows.push_back(std::move(ids));
    }
    log_->push_back(std::move(rows));
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
  void head_linear(const kernels::HeadLinearArgs& args, Stream stream) override {
    inner_->head_linear(args, stream);
  }
  void norm_rope_append(const kernels::NormRopeAppendArgs& args, Stream stream) override {
    inner_->norm_rope_append(args, stream);
  }
  // What it records is read between the ops.
  Status begin_recording(Stream) override { return unimplemented("routing is read on the host"); }
  Result<std::unique_ptr<kernels::RecordedWork>> end_recording(Stream) override {
    return failed_precondition("nothing is being recorded");
  }
  bool replay(const kernels::RecordedWork&, Stream) override { return false; }

 private:
  std::unique_ptr<kernels::Backend> inner_;
  RoutingLog* log_;
};

}  // namespace

std::unique_ptr<kernels::Backend> record_routing(std::unique_ptr<kernels::Backend> inner,
                                                 RoutingLog* log) {
  return std::make_unique<RoutingRecorder>(std::move(inner), log);
}

RoutingFlips::RoutingFlips(const std::vector<RoutingLog>& exact,
                           const std::vector<RoutingLog>& rounded, size_t n_steps)
    : flips_(n_steps) {
  // All calls of a step, over the stages.
  const auto calls_of = [&](const std::vector<RoutingLog>& stages, size_t step) {
    std::vector<const RowChoices*> calls;
    for (const RoutingLog& log : stages) {
      CHECK_EQ(log.size() % n_steps, 0u);
      const size_t n_layers = log.size() / n_steps;
      for (size_t i = 0; i < n_layers; ++i) calls.push_back(&log[step * n_layers + i]);
    }
    return calls;
  };
  for (size_t step = 0; step < n_steps; ++step) {
    const auto wanted = calls_of(exact, step);
    const auto got = calls_of(rounded, step);
    CHECK_EQ(wanted.size(), got.size());
    for (size_t layer = 0; layer < wanted.size(); ++layer) {
      CHECK_EQ(wanted[layer]->size(), got[layer]->size());
      flips_[step].resize(wanted[layer]->size());
      for (size_t row = 0; row < wanted[layer]->size(); ++row) {
        if ((*wanted[layer])[row] != (*got[layer])[row]) flips_[step][row] = true;
      }
    }
  }
}

}  // namespace trireme::worker
