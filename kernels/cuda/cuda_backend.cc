// The CUDA backend: the op vocabulary on one device, driven by one thread.
//
// Compiled twice: with the CUDA runtime, and with the emulator for tests.
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_linear.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/low_bit.h"
#include "kernels/cuda/packed_weight.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/upload_ring.h"
#include "kernels/shape_match.h"

#if defined(TRIREME_CUDA_EMULATED)
#include "kernels/cuda/emulated/emulated_backend.h"
#endif

namespace trireme::kernels {
namespace {

using cuda::AttentionShapeInfo;
using cuda::DeviceBuffer;
using cuda::DeviceInfo;
using cuda::Launcher;

// Partial sums of split products and of split attention: bounds how far they are split, never what
// can be computed.
constexpr size_t kPartialBytes = size_t{64} << 20;
constexpr int64_t kCounters = 1 << 16;
// Pieces of low-bit weights that are expanded for many rows: they stay in the second-level cache.
// On the emulator a test's weights make several pieces.
#if defined(TRIREME_CUDA_EMULATED)
constexpr size_t kExpandBytes = size_t{16} << 10;
#else
constexpr size_t kExpandBytes = size_t{32} << 20;
#endif

class Graph final : public RecordedWork {
 public:
  Graph(void* handle, uint64_t n_moves) : handle_(handle), n_moves_(n_moves) {}
  ~Graph() override { cuda::release_graph(handle_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void* handle() const { return handle_; }
  uint64_t n_moves() const { return n_moves_; }

 private:
  void* handle_;
  uint64_t n_moves_;  // of the backend's scratch before it was recorded
};

class EventMarker final : public Marker {
 public:
  EventMarker() : event_(cuda::make_event()) {}
  ~EventMarker() override { cuda::release_event(event_); }
  EventMarker(const EventMarker&) = delete;
  EventMarker& operator=(const EventMarker&) = delete;

  void* event() const { return event_; }

 private:
  void* event_;
};

void* event_of(const Marker& marker) { return dynamic_cast<const EventMarker&>(marker).event(); }

class PinnedBuffer final : public Buffer {
 public:
  PinnedBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  ~PinnedBuffer() override { cuda::release_pinned(data_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  void* data_;
  size_t bytes_;
};

class CudaBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> create(const CudaOptions& options) {
    ASSIGN_OR_RETURN(DeviceInfo info, cuda::open_device(options.device));
    ASSIGN_OR_RETURN(auto partials, DeviceBuffer::allocate(kPartialBytes));
    ASSIGN_OR_RETURN(auto counters, DeviceBuffer::allocate(kCounters * sizeof(unsigned)));
    ASSIGN_OR_RETURN(auto large, cuda::make_large_gemm(
                                     {.device = info.name, .tuning_file = options.tuning_file}));
    std::unique_ptr<CudaBackend> backend(
        new CudaBackend(std::move(info), options.compute_dtype, std::move(partials),
                        std::move(counters), std::move(large), options.batch_invariant));
    TRY(backend->uploads_.allocate());
    return std::unique_ptr<Backend>(std::move(backend));
  }

  std::string_view name() const override { return "cuda"; }
  std::string description() const override {
    return "cuda " + std::to_string(info_.index) + ", " + info_.name + ", " +
           std::to_string(info_.n_multiprocessors) + " multiprocessors, " +
           std::string(to_string(compute_dtype_)) + (one_order_ ? ", batch-invariant" : "");
  }
  ComputeDType compute_dtype() const override { return compute_dtype_; }

  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override {
    ASSIGN_OR_RETURN(auto buffer, DeviceBuffer::allocate(bytes));
    return std::unique_ptr<Buffer>(std::move(buffer));
  }
  Result<size_t> free_memory_bytes() const override { return cuda::free_device_bytes(); }
  Result<std::unique_ptr<Buffer>> allocate_on_host(size_t bytes) override {
    ASSIGN_OR_RETURN(void* memory, cuda::allocate_pinned(bytes));
    std::memset(memory, 0, bytes);
    return std::unique_ptr<Buffer>(std::make_unique<PinnedBuffer>(memory, bytes));
  }
  void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) override {
    cuda::copy_to_host_async(host, device, bytes, on(stream).stream);
  }
  void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) override {
    uploads_.copy(device, host, bytes, on(stream).stream);
  }
  void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override {
    cuda::copy_on_device_async(to, from, bytes, on(stream).stream);
  }
  Result<Stream> make_stream() override {
    ASSIGN_OR_RETURN(void* stream, cuda::make_stream());
    streams_.push_back(stream);
    return Stream{stream};
  }
  void order(Stream earlier, Stream later) override {
    if (order_event_ == nullptr) order_event_ = cuda::make_event();
    cuda::record_event(order_event_, on(earlier).stream);
    cuda::enqueue_wait(order_event_, on(later).stream);
  }
  void synchronize(Stream stream) override { cuda::synchronize_stream(on(stream).stream); }
  std::unique_ptr<Marker> make_marker() override { return std::make_unique<EventMarker>(); }
  void mark(Marker& marker, Stream stream) override {
    cuda::record_event(event_of(marker), on(stream).stream);
  }
  bool is_reached(const Marker& marker) override { return cuda::is_reached(event_of(marker)); }
  void wait_for(const Marker& marker) override { cuda::wait_for_event(event_of(marker)); }

  Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight) override {
    return cuda::pack_weight(host_weight, compute_dtype_, uploader_, on({}));
  }
  Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight) override {
    ASSIGN_OR_RETURN(auto weight, cuda::pack_low_bit(host_weight, uploader_, on({})));
    linear_.reserve(weight->shape(), on({}));
    return std::unique_ptr<PackedWeight>(std::move(weight));
  }

  Status begin_recording(Stream stream) override { return cuda::begin_capture(on(stream).stream); }
  Result<std::unique_ptr<RecordedWork>> end_recording(Stream stream) override {
    ASSIGN_OR_RETURN(void* graph, cuda::end_capture(on(stream).stream));
    return std::unique_ptr<RecordedWork>(std::make_unique<Graph>(graph, linear_.n_moves()));
  }
  bool replay(const RecordedWork& work, Stream stream) override {
    const auto& graph = dynamic_cast<const Graph&>(work);
    if (graph.n_moves() != linear_.n_moves()) return false;
    cuda::launch_graph(graph.handle(), on(stream).stream);
    return true;
  }

  void embedding(const EmbeddingArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::embedding(args, on(stream));
  }
  void rms_norm(const RmsNormArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::rms_norm(args, on(stream));
  }
  void add_rms_norm(const AddRmsNormArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::add_rms_norm(args, on(stream));
  }
  void add(const AddArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::add(args, on(stream));
  }
  void linear(const LinearArgs& args, Stream stream) override {
    check_shapes(args);
    linear_.run(args, on(stream));
  }
  void head_linear(const HeadLinearArgs& args, Stream stream) override {
    check_shapes(args);
    linear_.run_heads(args, on(stream));
  }
  void layer_norm(const LayerNormArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::layer_norm(args, on(stream));
  }
  void head_rms_norm(const HeadRmsNormArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::head_rms_norm(args, on(stream));
  }
  void head_layer_norm(const HeadLayerNormArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::head_layer_norm(args, on(stream));
  }
  void row_sum_squares(const RowSumSquaresArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::row_sum_squares(args, on(stream));
  }
  void rms_norm_rows(const RmsNormRowsArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::rms_norm_rows(args, on(stream));
  }
  void scale(const ScaleArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::scale(args, on(stream));
  }
  void softcap(const SoftcapArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::softcap(args, on(stream));
  }
  void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::sigmoid_scale_rows(args, on(stream));
  }
  void position_scale(const PositionScaleArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::position_scale(args, on(stream));
  }
  void activation(const ActivationArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::activation(args, on(stream));
  }
  void gated_activation(const GatedActivationArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::gated_activation(args, on(stream));
  }
  void clamped_swiglu(const ClampedSwigluArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::clamped_swiglu(args, on(stream));
  }
  void rope(const RopeArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::rope(args, on(stream));
  }
  void kv_append(const KvAppendArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::kv_append(args, on(stream));
  }
  void norm_rope_append(const NormRopeAppendArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::norm_rope_append(args, on(stream));
  }
  void paged_attention(const PagedAttentionArgs& args, Stream stream) override;
  void latent_append(const LatentAppendArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::latent_append(args, on(stream));
  }
  void latent_attention(const LatentAttentionArgs& args, Stream stream) override;
  void moe_route(const MoeRouteArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::moe_route(args, on(stream));
  }
  void moe_dispatch(const MoeDispatchArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::moe_dispatch(args, on(stream));
  }
  void moe_gather(const MoeGatherArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::moe_gather(args, on(stream));
  }
  void grouped_linear(const GroupedLinearArgs& args, Stream stream) override {
    check_shapes(args);
    linear_.run_grouped(args, on(stream));
  }
  void moe_combine(const MoeCombineArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::moe_combine(args, on(stream));
  }
  void gather_rows(const GatherRowsArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::gather_rows(args, on(stream));
  }
  void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::row_max_log_sum_exp(args, on(stream));
  }
  void row_candidates(const RowCandidatesArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::row_candidates(args, partials_->data(), static_cast<int64_t>(partials_->bytes()),
                         on(stream));
  }
  void count_before(const CountBeforeArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::count_before(args, on(stream));
  }
  void best_tokens(const BestTokensArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::best_tokens(args, on(stream));
  }
  void draw_tokens(const DrawTokensArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::draw_tokens(args, on(stream));
  }
  void place_tokens(const PlaceTokensArgs& args, Stream stream) override {
    check_shapes(args);
    cuda::place_tokens(args, on(stream));
  }

  ~CudaBackend() override {
    for (void* stream : streams_) cuda::release_stream(stream);
    if (order_event_ != nullptr) cuda::release_event(order_event_);
  }
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

 private:
  CudaBackend(DeviceInfo info, ComputeDType compute_dtype, std::unique_ptr<DeviceBuffer> partials,
              std::unique_ptr<DeviceBuffer> counters, std::unique_ptr<cuda::LargeGemm> large,
              bool one_order)
      : info_(std::move(info)),
        compute_dtype_(compute_dtype),
        one_order_(one_order),
        prefill_attention_(info_, one_order),
        partials_(std::move(partials)),
        counters_(std::move(counters)),
        linear_(compute_dtype,
                {.partials = static_cast<float*>(partials_->data()),
                 .n_partials = static_cast<int64_t>(kPartialBytes / sizeof(float)),
                 .counters = static_cast<unsigned*>(counters_->data()),
                 .n_counters = kCounters,
                 .one_order = one_order},
                kExpandBytes, std::move(large)) {}

  Launcher on(Stream stream) const {
    return {.stream = stream.handle != nullptr ? stream.handle : cuda::default_stream(),
            .n_multiprocessors = info_.n_multiprocessors};
  }

  cuda::AttentionWorkspace attention_workspace() const {
    return {.partials = static_cast<float*>(partials_->data()),
            .n_partials = static_cast<int64_t>(kPartialBytes / sizeof(float)),
            .one_order = one_order_};
  }

  const DeviceInfo info_;
  const ComputeDType compute_dtype_;
  const bool one_order_;
  cuda::PrefillAttention prefill_attention_;
  std::unique_ptr<DeviceBuffer> partials_;
  std::unique_ptr<DeviceBuffer> counters_;
  cuda::Linear linear_;
  cuda::WeightUploader uploader_;
  cuda::UploadRing uploads_;
  std::vector<void*> streams_;
  void* order_event_ = nullptr;
};

void CudaBackend::paged_attention(const PagedAttentionArgs& args, Stream stream) {
  check_shapes(args);
  if (args.q.dim(0) == 0) return;
  const AttentionShapeInfo info = cuda::attention_info(args);
  const cuda::AttentionParams params = cuda::attention_params(args);
  const Launcher launcher = on(stream);
  const DType cache = args.k_cache.dtype;
  const cuda::AttentionWorkspace workspace = attention_workspace();
  const bool tensor_cores = args.causal && compute_dtype_ == ComputeDType::kBF16;
  if (tensor_cores && prefill_attention_.takes(params, info, cache, workspace, launcher)) {
    cuda::wgmma_attention(params, info, cache, launcher);
  } else if (tensor_cores && cuda::mma_attention_takes(info, cache)) {
    cuda::mma_attention(params, info, cache, workspace, launcher);
  } else {
    cuda::plain_attention(params, info, cache, workspace, launcher);
  }
}

// One key head that all query heads share; a value is a part of its key.
void CudaBackend::latent_attention(const LatentAttentionArgs& args, Stream stream) {
  check_shapes(args);
  if (args.q.dim(0) == 0) return;
  const AttentionShapeInfo info{.n_tokens = args.q.dim(0),
                                .n_seqs = args.context_len.dim(0),
                                .n_heads = args.q.dim(1),
                                .n_kv_heads = 1,
                                .key_dim = args.q.dim(2),
                                .value_dim = args.rank,
                                .max_keys = args.block_table.dim(1) * args.cache.dim(1)};
  const cuda::AttentionParams params{.q = args.q.as<float>(),
                                     .q_stride = args.q.row_stride,
                                     .k_cache = args.cache.data,
                                     .block_stride = args.cache.row_stride,
                                     .block_table = args.block_table.as<int32_t>(),
                                     .table_stride = args.block_table.row_stride,
                                     .query_start = args.query_start.as<int32_t>(),
                                     .context_len = args.context_len.as<int32_t>(),
                                     .n_tokens = info.n_tokens,
                                     .n_seqs = info.n_seqs,
                                     .n_heads = info.n_heads,
                                     .n_kv_heads = 1,
                                     .key_dim = info.key_dim,
                                     .value_dim = info.value_dim,
                                     .block_size = args.cache.dim(1),
                                     .scale = args.scale * args.cache_scale,
                                     .value_scale = args.cache_scale,
                                     .out = args.out.data,
                                     .out_stride = args.out.row_stride,
                                     .out_is_bf16 = args.out.dtype == DType::kBF16};
  cuda::plain_attention(params, info, args.cache.dtype, attention_workspace(), on(stream));
}

}  // namespace

#if defined(TRIREME_CUDA_EMULATED)
std::unique_ptr<Backend> make_emulated_cuda_backend(ComputeDType compute_dtype,
                                                    bool batch_invariant) {
  auto backend =
      CudaBackend::create({.compute_dtype = compute_dtype, .batch_invariant = batch_invariant});
  CHECK(backend.ok()) << backend.error().message;
  return std::move(*backend);
}
#else
Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaOptions& options) {
  return CudaBackend::create(options);
}
#endif

}  // namespace trireme::kernels
