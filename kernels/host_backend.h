// HostBackend: what the backends on host memory have in common: memory, copies, and the ops that
// are others one after the other or plain loops on all of them.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace trireme::kernels {

class HostBackend : public Backend {
 public:
  Result<std::unique_ptr<Buffer>> allocate(size_t bytes) override;
  Result<size_t> free_memory_bytes() const override;
  Result<std::unique_ptr<Buffer>> allocate_on_host(size_t bytes) override;
  void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) override;
  void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) override;
  void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) override;
  void synchronize(Stream stream) override;
  std::unique_ptr<Marker> make_marker() override;
  void mark(Marker& marker, Stream stream) override;
  bool is_reached(const Marker& marker) override;
  void wait_for(const Marker& marker) override;
  Result<Stream> make_stream() override;
  void order(Stream earlier, Stream later) override;
  Status begin_recording(Stream stream) override;
  Result<std::unique_ptr<RecordedWork>> end_recording(Stream stream) override;
  bool replay(const RecordedWork& work, Stream stream) override;

  void head_linear(const HeadLinearArgs& args, Stream stream) override;
  void norm_rope_append(const NormRopeAppendArgs& args, Stream stream) override;
  void row_candidates(const RowCandidatesArgs& args, Stream stream) override;
  void count_before(const CountBeforeArgs& args, Stream stream) override;
  void best_tokens(const BestTokensArgs& args, Stream stream) override;
  void draw_tokens(const DrawTokensArgs& args, Stream stream) override;
  void place_tokens(const PlaceTokensArgs& args, Stream stream) override;
};

// invalid_argument unless `host_weight` is a non-empty [out, in] matrix of f32, f16 or bf16.
Status check_packable(const TensorView& host_weight);

}  // namespace trireme::kernels
