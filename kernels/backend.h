// Backend: one device's implementation of the op vocabulary (ops.h), its memory and its packed
// weights.
//
// A backend belongs to one rank and is driven by one thread; the CPU backend spreads each op over
// its own thread pool. On the CPU an op has finished when the call returns. On a device it is
// enqueued on `stream`, and `synchronize` waits. Absence is an error: make_cuda_backend says so
// when the build or the machine has no CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/low_bit.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"

namespace trireme::kernels {

// Arithmetic of linear ops: bf16 products summed in f32, or f32 throughout (the golden-exact path).
enum class ComputeDType : uint8_t { kBF16, kF32 };

std::string_view to_string(ComputeDType dtype);

// Device memory with an owner. Aligned to at least 64 bytes (256 on CUDA).
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() const = 0;
  virtual size_t bytes() const = 0;
};

// A weight matrix [out, in] in the layout that its backend's linear op wants. Opaque and immutable.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  virtual size_t bytes() const = 0;  // device memory held
};

// Work that was recorded once and can be enqueued again. Goes before its backend.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
};

// A point in a stream's work, which the host can ask for. Goes before its backend.
class Marker {
 public:
  virtual ~Marker() = default;
};

// Where an op is enqueued. The CPU backend ignores it.
struct Stream {
  void* handle = nullptr;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;    // "reference", "cpu", "cuda"
  virtual std::string description() const = 0;  // e.g. "cpu avx512-bf16, 2 threads"
  virtual ComputeDType compute_dtype() const = 0;

  // resource_exhausted with the numbers when the memory is not there. Contents are zero.
  virtual Result<std::unique_ptr<Buffer>> allocate(size_t bytes) = 0;
  // Bytes that can still be allocated.
  virtual Result<size_t> free_memory_bytes() const = 0;
  // Memory of the host, which a copy to it does not wait for.
  virtual Result<std::unique_ptr<Buffer>> allocate_on_host(size_t bytes) = 0;
  // Into memory of allocate_on_host it is enqueued; into any other it is done when the call
  // returns.
  virtual void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) = 0;
  // Enqueued; the host's memory may be reused when the call returns.
  virtual void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) = 0;
  // Between two places in the backend's memory.
  virtual void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) = 0;
  virtual void synchronize(Stream stream) = 0;

  // Puts the marker behind what is enqueued on the stream so far.
  virtual std::unique_ptr<Marker> make_marker() = 0;
  virtual void mark(Marker& marker, Stream stream) = 0;
  // Whether all before it is done; a marker that was put nowhere is reached.
  virtual bool is_reached(const Marker& marker) = 0;
  virtual void wait_for(const Marker& marker) = 0;

  // A stream beside the caller's own, there as long as the backend. Null where ops are done at
  // once.
  virtual Result<Stream> make_stream() = 0;
  // What is enqueued on `later` from here on begins when what is on `earlier` now is done.
  virtual void order(Stream earlier, Stream later) = 0;

  // From here to end_recording, ops on `stream` are recorded and not done; nothing may synchronize
  // or allocate meanwhile. unimplemented where work is done at once: on hosts.
  virtual Status begin_recording(Stream stream) = 0;
  virtual Result<std::unique_ptr<RecordedWork>> end_recording(Stream stream) = 0;
  // Enqueues it once more: the same ops on the same operands, whatever these hold by now. False,
  // and nothing is enqueued, where memory of the backend's own has moved since: record anew.
  virtual bool replay(const RecordedWork& work, Stream stream) = 0;

  // Packs a host matrix [out, in] of f32|f16|bf16 (rows may be strided) for `linear`. The host
  // memory may go afterwards.
  virtual Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight) = 0;
  // The same of quantised codes, which stay what they are: a linear op reads them and their scales.
  // Of the weights that they stand for nothing is rounded, under either compute dtype.
  virtual Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight) = 0;

  virtual void embedding(const EmbeddingArgs& args, Stream stream) = 0;
  virtual void rms_norm(const RmsNormArgs& args, Stream stream) = 0;
  virtual void add_rms_norm(const AddRmsNormArgs& args, Stream stream) = 0;
  virtual void add(const AddArgs& args, Stream stream) = 0;
  virtual void linear(const LinearArgs& args, Stream stream) = 0;
  virtual void head_linear(const HeadLinearArgs& args, Stream stream) = 0;
  virtual void layer_norm(const LayerNormArgs& args, Stream stream) = 0;
  virtual void head_rms_norm(const HeadRmsNormArgs& args, Stream stream) = 0;
  virtual void head_layer_norm(const HeadLayerNormArgs& args, Stream stream) = 0;
  virtual void row_sum_squares(const RowSumSquaresArgs& args, Stream stream) = 0;
  virtual void rms_norm_rows(const RmsNormRowsArgs& args, Stream stream) = 0;
  virtual void scale(const ScaleArgs& args, Stream stream) = 0;
  virtual void softcap(const SoftcapArgs& args, Stream stream) = 0;
  virtual void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, Stream stream) = 0;
  virtual void position_scale(const PositionScaleArgs& args, Stream stream) = 0;
  virtual void activation(const ActivationArgs& args, Stream stream) = 0;
  virtual void gated_activation(const GatedActivationArgs& args, Stream stream) = 0;
  virtual void clamped_swiglu(const ClampedSwigluArgs& args, Stream stream) = 0;
  virtual void rope(const RopeArgs& args, Stream stream) = 0;
  virtual void kv_append(const KvAppendArgs& args, Stream stream) = 0;
  virtual void norm_rope_append(const NormRopeAppendArgs& args, Stream stream) = 0;
  virtual void paged_attention(const PagedAttentionArgs& args, Stream stream) = 0;
  virtual void latent_append(const LatentAppendArgs& args, Stream stream) = 0;
  virtual void latent_attention(const LatentAttentionArgs& args, Stream stream) = 0;
  virtual void moe_route(const MoeRouteArgs& args, Stream stream) = 0;
  virtual void moe_dispatch(const MoeDispatchArgs& args, Stream stream) = 0;
  virtual void moe_gather(const MoeGatherArgs& args, Stream stream) = 0;
  virtual void grouped_linear(const GroupedLinearArgs& args, Stream stream) = 0;
  virtual void moe_combine(const MoeCombineArgs& args, Stream stream) = 0;
  virtual void gather_rows(const GatherRowsArgs& args, Stream stream) = 0;
  virtual void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, Stream stream) = 0;
  virtual void row_candidates(const RowCandidatesArgs& args, Stream stream) = 0;
  virtual void count_before(const CountBeforeArgs& args, Stream stream) = 0;
  virtual void best_tokens(const BestTokensArgs& args, Stream stream) = 0;
  virtual void draw_tokens(const DrawTokensArgs& args, Stream stream) = 0;
  virtual void place_tokens(const PlaceTokensArgs& args, Stream stream) = 0;
};

// Plain loops in f32 on one thread: the oracle. Also usable as a (slow) backend.
std::unique_ptr<Backend> make_reference_backend(ComputeDType compute_dtype);

struct CpuOptions {
  ComputeDType compute_dtype = ComputeDType::kBF16;
  int n_threads = 0;         // 0: one per core that this process may run on
  std::string max_isa = "";  // "", "portable", "avx2", "avx512": the highest to use; for tests
};

// The instruction set is chosen at run time. invalid_argument on an unknown or absent max_isa.
Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options);

struct CudaOptions {
  int device = 0;
  ComputeDType compute_dtype = ComputeDType::kBF16;
  // Where algorithms that were chosen by measuring are kept; empty: nowhere. Ranks may share it.
  std::string tuning_file = "";
  // A row's result does not depend on the other rows of a call, nor on how a sequence is cut into
  // calls, as on the CPU: one kernel and one order of sums for every row count. Costs speed.
  bool batch_invariant = false;
};

// failed_precondition with the reason when this build or machine has no CUDA.
Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaOptions& options);

}  // namespace trireme::kernels
