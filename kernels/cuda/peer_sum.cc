// The device's PeerSum. Compiled twice: with the CUDA runtime, and with the emulator for tests.
#include "kernels/cuda/peer_sum.h"

#include <atomic>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/launcher.h"
#include "kernels/cuda/packed_weight.h"
#include "kernels/cuda/peer_memory.h"
#include "kernels/cuda/runtime.h"
#include "kernels/shape_match.h"

#if defined(TRIREME_CUDA_EMULATED)
#include "kernels/cuda/emulated/emulated_backend.h"
#endif

namespace trireme::kernels {
namespace {

using cuda::DeviceBuffer;
using cuda::PeerControl;
using cuda::PeerHostWords;
using cuda::PeerWindow;

class CudaPeerSum final : public PeerSum {
 public:
  static Result<std::unique_ptr<PeerSum>> create(const PeerSumOptions& options) {
    CHECK_GE(options.rank, 0);
    CHECK_LT(options.rank, options.n_ranks);
    if (options.n_ranks > kMaxPeers) {
      return failed_precondition("sums over peers' memory are for up to " +
                                 std::to_string(kMaxPeers) + " ranks, not " +
                                 std::to_string(options.n_ranks));
    }
    std::unique_ptr<CudaPeerSum> sum(new CudaPeerSum(options));
    TRY(sum->allocate());
    cuda::load_peer_sum();
    return std::unique_ptr<PeerSum>(std::move(sum));
  }

  ~CudaPeerSum() override {
    if (host_ != nullptr) abort();  // nothing waits for ever at an end that nobody expected
    for (void* window : imported_) cuda::close_imported(window);
    window_buffer_.reset();  // waits for the device
    if (host_ != nullptr) cuda::release_pinned(host_);
  }
  CudaPeerSum(const CudaPeerSum&) = delete;
  CudaPeerSum& operator=(const CudaPeerSum&) = delete;

  PeerOffer offer() const override { return offer_; }

  Status connect(std::span<const PeerOffer> offers) override {
    CHECK_EQ(static_cast<int>(offers.size()), options_.n_ranks);
    CHECK(windows_.empty()) << "connected twice";
    std::vector<unsigned char*> windows;
    for (int r = 0; r < options_.n_ranks; ++r) {
      const PeerOffer& theirs = offers[static_cast<size_t>(r)];
      if (theirs.max_bytes != offer_.max_bytes || theirs.max_blocks != offer_.max_blocks) {
        return failed_precondition("the ranks' windows differ in size");
      }
      if (r == options_.rank) {
        windows.push_back(static_cast<unsigned char*>(window_buffer_->data()));
      } else if (options_.one_process) {
        windows.push_back(reinterpret_cast<unsigned char*>(static_cast<uintptr_t>(theirs.address)));
      } else {
        ASSIGN_OR_RETURN(void* window, cuda::import_memory(theirs));
        imported_.push_back(window);
        windows.push_back(static_cast<unsigned char*>(window));
      }
    }
    windows_ = std::move(windows);
    return {};
  }

  bool takes(const AddRmsNormArgs& args) const override {
    const int64_t bytes = args.delta.numel() * int64_t{sizeof(float)};
    return args.delta.dtype == DType::kF32 && bytes > 0 && bytes <= window_.max_bytes;
  }

  void add_rms_norm(const AddRmsNormArgs& args, Stream stream) override {
    CHECK(!windows_.empty()) << "not connected";
    CHECK(takes(args));
    const bool has_norm = args.weight.defined();
    CHECK_EQ(has_norm, args.out.defined());
    if (has_norm) {
      check_shapes(args);
    } else {
      check_shapes(AddArgs{.x = args.delta, .y = args.residual, .scale = args.delta_scale});
    }
    cuda::PeerSumCall call{.peers = {.window = window_,
                                     .rank = options_.rank,
                                     .control = static_cast<PeerControl*>(control_buffer_->data()),
                                     .host = host_,
                                     .patience_ns = static_cast<uint64_t>(patience_ns_)},
                           .max_blocks = offer_.max_blocks};
    for (size_t r = 0; r < windows_.size(); ++r) call.peers.windows[r] = windows_[r];
    cuda::peer_sum(args, call,
                   {.stream = stream.handle != nullptr ? stream.handle : cuda::default_stream()});
  }

  void set_patience_ns(int64_t patience_ns) override { patience_ns_ = patience_ns; }
  void abort() override { std::atomic_ref(host_->stop).store(1); }
  bool gave_up() const override { return std::atomic_ref(host_->gave_up).load() != 0; }

 private:
  explicit CudaPeerSum(const PeerSumOptions& options)
      : options_(options),
        window_{.max_bytes = cuda::round_up<int64_t>(options.max_bytes, 16),
                .n_ranks = options.n_ranks} {}

  Status allocate() {
    ASSIGN_OR_RETURN(window_buffer_,
                     DeviceBuffer::allocate(static_cast<size_t>(peer_window_bytes(window_))));
    ASSIGN_OR_RETURN(control_buffer_, DeviceBuffer::allocate(sizeof(PeerControl)));
    ASSIGN_OR_RETURN(void* words, cuda::allocate_pinned(sizeof(PeerHostWords)));
    host_ = new (words) PeerHostWords;
    offer_.address = reinterpret_cast<uintptr_t>(window_buffer_->data());
    offer_.max_bytes = window_.max_bytes;
    offer_.max_blocks = options_.max_blocks > 0 ? options_.max_blocks : cuda::kMaxPeerBlocks;
    if (options_.one_process) return {};
    return cuda::export_memory(window_buffer_->data(), offer_);
  }

  const PeerSumOptions options_;
  const PeerWindow window_;
  int64_t patience_ns_ = kPeerPatienceNs;
  std::unique_ptr<DeviceBuffer> window_buffer_;
  std::unique_ptr<DeviceBuffer> control_buffer_;
  PeerHostWords* host_ = nullptr;
  PeerOffer offer_;
  std::vector<void*> imported_;
  std::vector<unsigned char*> windows_;  // by rank, once connected
};

}  // namespace

#if defined(TRIREME_CUDA_EMULATED)
Result<std::unique_ptr<PeerSum>> make_emulated_peer_sum(const PeerSumOptions& options) {
  return CudaPeerSum::create(options);
}
#else
Result<std::unique_ptr<PeerSum>> make_cuda_peer_sum(const PeerSumOptions& options) {
  return CudaPeerSum::create(options);
}
#endif

}  // namespace trireme::kernels
