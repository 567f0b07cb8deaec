#include "kernels/host_backend.h"

#include <cstring>
#include <string>

#include "kernels/host_memory.h"
#include "kernels/reference/reference_ops.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {

Result<std::unique_ptr<Buffer>> HostBackend::allocate(size_t bytes) { return allocate_host(bytes); }

Result<std::unique_ptr<Buffer>> HostBackend::allocate_on_host(size_t bytes) {
  return allocate_host(bytes);
}

Result<size_t> HostBackend::free_memory_bytes() const { return available_host_memory_bytes(); }

void HostBackend::copy_to_host(void* host, const void* device, size_t bytes, Stream) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void HostBackend::copy_to_device(void* device, const void* host, size_t bytes, Stream) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void HostBackend::copy_on_device(void* to, const void* from, size_t bytes, Stream) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void HostBackend::synchronize(Stream) {}

// What was enqueued is done: every marker is reached.
std::unique_ptr<Marker> HostBackend::make_marker() { return std::make_unique<Marker>(); }

void HostBackend::mark(Marker&, Stream) {}

bool HostBackend::is_reached(const Marker&) { return true; }

void HostBackend::wait_for(const Marker&) {}

Result<Stream> HostBackend::make_stream() { return Stream{}; }

void HostBackend::order(Stream, Stream) {}

Status HostBackend::begin_recording(Stream) {
  return unimplemented("ops on a host are done at once: there is nothing to record");
}

Result<std::unique_ptr<RecordedWork>> HostBackend::end_recording(Stream) {
  return failed_precondition("nothing is being recorded");
}

bool HostBackend::replay(const RecordedWork&, Stream) { return false; }

void HostBackend::head_linear(const HeadLinearArgs& args, Stream stream) {
  check_shapes(args);
  for (size_t h = 0; h < args.weights.size(); ++h) {
    const PackedWeight& weight = *args.weights[h];
    const int64_t from = static_cast<int64_t>(h) * args.x_head_stride;
    const int64_t to = static_cast<int64_t>(h) * args.out_head_stride;
    linear({.x = args.x.columns(from, from + weight.in_features()),
            .weight = &weight,
            .out = args.out.columns(to, to + weight.out_features())},
           stream);
  }
}

void HostBackend::norm_rope_append(const NormRopeAppendArgs& args, Stream stream) {
  check_shapes(args);
  if (args.q_norm.defined()) {
    head_rms_norm({.x = args.q, .weight = args.q_norm, .eps = args.norm_eps}, stream);
  }
  if (args.k_norm.defined()) {
    head_rms_norm({.x = args.k, .weight = args.k_norm, .eps = args.norm_eps}, stream);
  }
  if (args.inv_freq.defined()) rope(rope_part(args), stream);
  kv_append(append_part(args), stream);
}

void HostBackend::row_candidates(const RowCandidatesArgs& args, Stream) {
  check_shapes(args);
  check_contents(args);
  reference::row_candidates(args);
}

void HostBackend::count_before(const CountBeforeArgs& args, Stream) {
  check_shapes(args);
  check_contents(args);
  reference::count_before(args);
}

void HostBackend::best_tokens(const BestTokensArgs& args, Stream) {
  check_shapes(args);
  check_contents(args);
  reference::best_tokens(args);
}

void HostBackend::draw_tokens(const DrawTokensArgs& args, Stream) {
  check_shapes(args);
  check_contents(args);
  reference::draw_tokens(args);
}

void HostBackend::place_tokens(const PlaceTokensArgs& args, Stream) {
  check_shapes(args);
  check_contents(args);
  reference::place_tokens(args);
}

Status check_packable(const TensorView& host_weight) {
  if (!host_weight.defined() || host_weight.rank != 2) {
    return invalid_argument("a weight to pack must be a matrix [out, in], but it has rank " +
                            std::to_string(host_weight.rank));
  }
  if (host_weight.shape[0] <= 0 || host_weight.shape[1] <= 0) {
    return invalid_argument("a weight to pack must not be empty, but its shape is [" +
                            std::to_string(host_weight.shape[0]) + ", " +
                            std::to_string(host_weight.shape[1]) + "]");
  }
  const DType dtype = host_weight.dtype;
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    return invalid_argument("a weight to pack must be f32, f16 or bf16, but it is " +
                            std::string(to_string(dtype)));
  }
  return {};
}

}  // namespace trireme::kernels
