#include <utility>
#include <vector>

#include "tests/gpu/ops/device_fixture.h"

namespace trireme::kernels::testing {
namespace {

constexpr size_t kAlignment = 256;

// The operands of one call: on the device while it runs.
class Operands {
 public:
  explicit Operands(Backend& device) : device_(device) {}

  TensorView in(const TensorView& host) { return move(host, false); }
  TensorView out(const TensorView& host) {
    return move(host, true);
  }  // also read: ops update in place

  void bring_back() {
    for (const Moved& moved : moved_) {
      if (moved.is_output) {
        device_.copy_to_host(moved.host, moved.device, moved.bytes, {});
      }
    }
    device_.synchronize({});
  }

 private:
  struct Moved {
    void* host;
    void* device;
    size_t bytes;
    bool is_output;
  };

  TensorView move(const TensorView& host, bool is_output) {
    if (!host.defined()) return host;
    const int64_t n_rows = host.rank == 0 ? 1 : host.dim(0);
    const int64_t n = n_rows == 0 ? 0 : (n_rows - 1) * host.row_stride + host.row_numel();
    const size_t bytes = static_cast<size_t>(n) * size_of(host.dtype);
    // The same distance from a round address as on the host.
    const size_t offset = reinterpret_cast<uintptr_t>(host.data) % kAlignment;
    auto buffer = device_.allocate(bytes + offset);
    CHECK(buffer.ok()) << buffer.error().message;
    TensorView view = host;
    view.data = static_cast<char*>((*buffer)->data()) + offset;
    device_.copy_to_device(view.data, host.data, bytes, {});
    buffers_.push_back(std::move(*buffer));
    moved_.push_back({host.data, view.data, bytes, is_output});
    return view;
  }

  Backend& device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Moved> moved_;
};

class HostTensorBackend final : public Backend {
 public:
  explicit HostTensorBackend(std::unique_ptr<Backend> device) : device_(std::move(device)) {}

  std::string_view name() const override { return device_->name(); }
  std::string description() const override { return device_->description(); }
  ComputeDType compute_dtype() const override { return device_->compute_dtype(); }
  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override {
    return device_->allocate(bytes);
  }
  Result<size_t> free_memory_bytes() const override { return device_->free_memory_bytes(); }
  Result<std::unique_ptr<Buffer>> allocate_on_host(size_t bytes) override {
    return device_->allocate_on_host(bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) override {
    device_->copy_to_host(host, device, bytes, stream);
  }
  void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) override {
    device_->copy_to_device(device, host, bytes, stream);
  }
  void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override {
    device_->copy_on_device(to, from, bytes, stream);
  }
  void synchronize(Stream stream) override { device_->synchronize(stream); }
  std::unique_ptr<Marker> make_marker() override { return device_->make_marker(); }
  void mark(Marker& marker, Stream stream) override { device_->mark(marker, stream); }
  bool is_reached(const Marker& marker) override { return device_->is_reached(marker); }
  void wait_for(const Marker& marker) override { device_->wait_for(marker); }
  Result<Stream> make_stream() override { return device_->make_stream(); }
  void order(Stream earlier, Stream later) override { device_->order(earlier, later); }
  Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight) override {
    return device_->pack_weight(host_weight);
  }
  Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight) override {
    return device_->pack_low_bit(host_weight);
  }

  void embedding(const EmbeddingArgs& args, Stream stream) override {
    Operands o(*device_);
    EmbeddingArgs on = args;
    on.ids = o.in(args.ids);
    on.table = o.in(args.table);
    on.out = o.out(args.out);
    device_->embedding(on, stream);
    o.bring_back();
  }
  void rms_norm(const RmsNormArgs& args, Stream stream) override {
    Operands o(*device_);
    RmsNormArgs on = args;
    on.x = o.in(args.x);
    on.weight = o.in(args.weight);
    on.out = o.out(args.out);
    device_->rms_norm(on, stream);
    o.bring_back();
  }
  void add_rms_norm(const AddRmsNormArgs& args, Stream stream) override {
    Operands o(*device_);
    AddRmsNormArgs on = args;
    on.residual = o.out(args.residual);
    on.delta = o.in(args.delta);
    on.weight = o.in(args.weight);
    on.out = o.out(args.out);
    device_->add_rms_norm(on, stream);
    o.bring_back();
  }
  void add(const AddArgs& args, Stream stream) override {
    Operands o(*device_);
    AddArgs on = args;
    on.x = o.in(args.x);
    on.y = o.out(args.y);
    device_->add(on, stream);
    o.bring_back();
  }
  void linear(const LinearArgs& args, Stream stream) override {
    Operands o(*device_);
    LinearArgs on = args;
    on.x = o.in(args.x);
    on.bias = o.in(args.bias);
    on.out = o.out(args.out);
    device_->linear(on, stream);
    o.bring_back();
  }
  void layer_norm(const LayerNormArgs& args, Stream stream) override {
    Operands o(*device_);
    LayerNormArgs on = args;
    on.x = o.in(args.x);
    on.weight = o.in(args.weight);
    on.bias = o.in(args.bias);
    on.out = o.out(args.out);
    device_->layer_norm(on, stream);
    o.bring_back();
  }
  void head_rms_norm(const HeadRmsNormArgs& args, Stream stream) override {
    Operands o(*device_);
    HeadRmsNormArgs on = args;
    on.weight = o.in(args.weight);
    on.x = o.out(args.x);
    device_->head_rms_norm(on, stream);
    o.bring_back();
  }
  void head_layer_norm(const HeadLayerNormArgs& args, Stream stream) override {
    Operands o(*device_);
    HeadLayerNormArgs on = args;
    on.weight = o.in(args.weight);
    on.x = o.out(args.x);
    device_->head_layer_norm(on, stream);
    o.bring_back();
  }
  void row_sum_squares(const RowSumSquaresArgs& args, Stream stream) override {
    Operands o(*device_);
    RowSumSquaresArgs on = args;
    on.x = o.in(args.x);
    on.out = o.out(args.out);
    device_->row_sum_squares(on, stream);
    o.bring_back();
  }
  void rms_norm_rows(const RmsNormRowsArgs& args, Stream stream) override {
    Operands o(*device_);
    RmsNormRowsArgs on = args;
    on.sum_squares = o.in(args.sum_squares);
    on.weight = o.in(args.weight);
    on.x = o.out(args.x);
    device_->rms_norm_rows(on, stream);
    o.bring_back();
  }
  void scale(const ScaleArgs& args, Stream stream) override {
    Operands o(*device_);
    ScaleArgs on = args;
    on.x = o.out(args.x);
    device_->scale(on, stream);
    o.bring_back();
  }
  void softcap(const SoftcapArgs& args, Stream stream) override {
    Operands o(*device_);
    SoftcapArgs on = args;
    on.x = o.out(args.x);
    device_->softcap(on, stream);
    o.bring_back();
  }
  void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, Stream stream) override {
    Operands o(*device_);
    SigmoidScaleRowsArgs on = args;
    on.gate = o.in(args.gate);
    on.x = o.out(args.x);
    device_->sigmoid_scale_rows(on, stream);
    o.bring_back();
  }
  void position_scale(const PositionScaleArgs& args, Stream stream) override {
    Operands o(*device_);
    PositionScaleArgs on = args;
    on.positions = o.in(args.positions);
    on.x = o.out(args.x);
    device_->position_scale(on, stream);
    o.bring_back();
  }
  void activation(const ActivationArgs& args, Stream stream) override {
    Operands o(*device_);
    ActivationArgs on = args;
    on.x = o.in(args.x);
    on.out = o.out(args.out);
    device_->activation(on, stream);
    o.bring_back();
  }
  void gated_activation(const GatedActivationArgs& args, Stream stream) override {
    Operands o(*device_);
    GatedActivationArgs on = args;
    on.gate_up = o.in(args.gate_up);
    on.out = o.out(args.out);
    device_->gated_activation(on, stream);
    o.bring_back();
  }
  void clamped_swiglu(const ClampedSwigluArgs& args, Stream stream) override {
    Operands o(*device_);
    ClampedSwigluArgs on = args;
    on.gate_up = o.in(args.gate_up);
    on.out = o.out(args.out);
    device_->clamped_swiglu(on, stream);
    o.bring_back();
  }
  void rope(const RopeArgs& args, Stream stream) override {
    Operands o(*device_);
    RopeArgs on = args;
    on.q = o.out(args.q);
    on.k = o.out(args.k);
    on.positions = o.in(args.positions);
    on.inv_freq = o.in(args.inv_freq);
    on.set_of_token = o.in(args.set_of_token);
    device_->rope(on, stream);
    o.bring_back();
  }
  void kv_append(const KvAppendArgs& args, Stream stream) override {
    Operands o(*device_);
    KvAppendArgs on = args;
    on.k = o.in(args.k);
    on.v = o.in(args.v);
    on.slots = o.in(args.slots);
    on.k_cache = o.out(args.k_cache);
    on.v_cache = o.out(args.v_cache);
    device_->kv_append(on, stream);
    o.bring_back();
  }
  void paged_attention(const PagedAttentionArgs& args, Stream stream) override {
    Operands o(*device_);
    PagedAttentionArgs on = args;
    on.q = o.in(args.q);
    on.k_cache = o.in(args.k_cache);
    on.v_cache = o.in(args.v_cache);
    on.block_table = o.in(args.block_table);
    on.query_start = o.in(args.query_start);
    on.context_len = o.in(args.context_len);
    on.sinks = o.in(args.sinks);
    on.out = o.out(args.out);
    device_->paged_attention(on, stream);
    o.bring_back();
  }
  void latent_append(const LatentAppendArgs& args, Stream stream) override {
    Operands o(*device_);
    LatentAppendArgs on = args;
    on.latent = o.in(args.latent);
    on.rope_key = o.in(args.rope_key);
    on.slots = o.in(args.slots);
    on.cache = o.out(args.cache);
    device_->latent_append(on, stream);
    o.bring_back();
  }
  void latent_attention(const LatentAttentionArgs& args, Stream stream) override {
    Operands o(*device_);
    LatentAttentionArgs on = args;
    on.q = o.in(args.q);
    on.cache = o.in(args.cache);
    on.block_table = o.in(args.block_table);
    on.query_start = o.in(args.query_start);
    on.context_len = o.in(args.context_len);
    on.out = o.out(args.out);
    device_->latent_attention(on, stream);
    o.bring_back();
  }
  void moe_route(const MoeRouteArgs& args, Stream stream) override {
    Operands o(*device_);
    MoeRouteArgs on = args;
    on.logits = o.in(args.logits);
    on.choice_bias = o.in(args.choice_bias);
    on.expert_ids = o.out(args.expert_ids);
    on.weights = o.out(args.weights);
    device_->moe_route(on, stream);
    o.bring_back();
  }
  void moe_dispatch(const MoeDispatchArgs& args, Stream stream) override {
    Operands o(*device_);
    MoeDispatchArgs on = args;
    on.expert_ids = o.in(args.expert_ids);
    on.token_of_row = o.out(args.token_of_row);
    on.expert_start = o.out(args.expert_start);
    on.row_of_choice = o.out(args.row_of_choice);
    device_->moe_dispatch(on, stream);
    o.bring_back();
  }
  void moe_gather(const MoeGatherArgs& args, Stream stream) override {
    Operands o(*device_);
    MoeGatherArgs on = args;
    on.x = o.in(args.x);
    on.token_of_row = o.in(args.token_of_row);
    on.expert_start = o.in(args.expert_start);
    on.row_of_choice = o.in(args.row_of_choice);
    on.weights = o.in(args.weights);
    on.out = o.out(args.out);
    device_->moe_gather(on, stream);
    o.bring_back();
  }
  void grouped_linear(const GroupedLinearArgs& args, Stream stream) override {
    Operands o(*device_);
    GroupedLinearArgs on = args;
    on.x = o.in(args.x);
    on.bias = o.in(args.bias);
    on.expert_start = o.in(args.expert_start);
    on.out = o.out(args.out);
    device_->grouped_linear(on, stream);
    o.bring_back();
  }
  void moe_combine(const MoeCombineArgs& args, Stream stream) override {
    Operands o(*device_);
    MoeCombineArgs on = args;
    on.y = o.in(args.y);
    on.row_of_choice = o.in(args.row_of_choice);
    on.weights = o.in(args.weights);
    on.out = o.out(args.out);
    device_->moe_combine(on, stream);
    o.bring_back();
  }
  void gather_rows(const GatherRowsArgs& args, Stream stream) override {
    Operands o(*device_);
    GatherRowsArgs on = args;
    on.x = o.in(args.x);
    on.rows = o.in(args.rows);
    on.out = o.out(args.out);
    device_->gather_rows(on, stream);
    o.bring_back();
  }
  void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, Stream stream) override {
    Operands o(*device_);
    RowMaxLogSumExpArgs on = args;
    on.x = o.in(args.x);
    on.rows = o.in(args.rows);
    on.inverse_temperature = o.in(args.inverse_temperature);
    on.max = o.out(args.max);
    on.sum_exp = o.out(args.sum_exp);
    device_->row_max_log_sum_exp(on, stream);
    o.bring_back();
  }
  void row_candidates(const RowCandidatesArgs& args, Stream stream) override {
    Operands o(*device_);
    RowCandidatesArgs on = args;
    on.x = o.in(args.x);
    on.rows = o.in(args.rows);
    on.inverse_temperature = o.in(args.inverse_temperature);
    on.keys = o.in(args.keys);
    on.ids = o.out(args.ids);
    on.scores = o.out(args.scores);
    on.values = o.out(args.values);
    device_->row_candidates(on, stream);
    o.bring_back();
  }
  void count_before(const CountBeforeArgs& args, Stream stream) override {
    Operands o(*device_);
    CountBeforeArgs on = args;
    on.x = o.in(args.x);
    on.rows = o.in(args.rows);
    on.ids = o.in(args.ids);
    on.values = o.in(args.values);
    on.counts = o.out(args.counts);
    device_->count_before(on, stream);
    o.bring_back();
  }
  void best_tokens(const BestTokensArgs& args, Stream stream) override {
    Operands o(*device_);
    BestTokensArgs on = args;
    on.ids = o.in(args.ids);
    on.scores = o.in(args.scores);
    on.rows = o.in(args.rows);
    on.tokens = o.out(args.tokens);
    device_->best_tokens(on, stream);
    o.bring_back();
  }
  void draw_tokens(const DrawTokensArgs& args, Stream stream) override {
    Operands o(*device_);
    DrawTokensArgs on = args;
    for (TensorView* operand : {&on.ids, &on.values, &on.sum_exp, &on.inverse_temperature, &on.keys,
                                &on.top_k, &on.top_p, &on.min_p, &on.rows}) {
      *operand = o.in(*operand);
    }
    on.tokens = o.out(args.tokens);
    device_->draw_tokens(on, stream);
    o.bring_back();
  }
  void place_tokens(const PlaceTokensArgs& args, Stream stream) override {
    Operands o(*device_);
    PlaceTokensArgs on = args;
    on.tokens = o.in(args.tokens);
    on.sources = o.in(args.sources);
    on.ids = o.out(args.ids);
    device_->place_tokens(on, stream);
    o.bring_back();
  }
  void head_linear(const HeadLinearArgs& args, Stream stream) override {
    Operands o(*device_);
    HeadLinearArgs on = args;
    on.x = o.in(args.x);
    on.out = o.out(args.out);
    device_->head_linear(on, stream);
    o.bring_back();
  }
  void norm_rope_append(const NormRopeAppendArgs& args, Stream stream) override {
    Operands o(*device_);
    NormRopeAppendArgs on = args;
    on.q = o.out(args.q);
    on.k = o.in(args.k);
    on.v = o.in(args.v);
    on.q_norm = o.in(args.q_norm);
    on.k_norm = o.in(args.k_norm);
    on.positions = o.in(args.positions);
    on.inv_freq = o.in(args.inv_freq);
    on.set_of_token = o.in(args.set_of_token);
    on.slots = o.in(args.slots);
    on.k_cache = o.out(args.k_cache);
    on.v_cache = o.out(args.v_cache);
    device_->norm_rope_append(on, stream);
    o.bring_back();
  }
  // Operands that move are not what was recorded.
  Status begin_recording(Stream) override { return unimplemented("operands are moved"); }
  Result<std::unique_ptr<RecordedWork>> end_recording(Stream) override {
    return failed_precondition("nothing is being recorded");
  }
  bool replay(const RecordedWork&, Stream) override { return false; }

 private:
  std::unique_ptr<Backend> device_;
};

}  // namespace

std::unique_ptr<Backend> on_host_tensors(std::unique_ptr<Backend> device) {
  return std::make_unique<HostTensorBackend>(std::move(device));
}

}  // namespace trireme::kernels::testing
