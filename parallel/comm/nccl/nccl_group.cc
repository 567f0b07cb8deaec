#include "parallel/comm/nccl/nccl_group.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "parallel/comm/nccl/nccl_library.h"
#include "parallel/comm/op_signature.h"
#include "parallel/comm/rank_order_sum.h"

namespace trireme::comm {
namespace {

constexpr auto kPollInterval = std::chrono::microseconds(200);

cudaStream_t stream_of(const OpContext& context) {
  return context.stream.handle != nullptr ? static_cast<cudaStream_t>(context.stream.handle)
                                          : cudaStreamPerThread;
}

bool is_capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) == cudaSuccess &&
         status != cudaStreamCaptureStatusNone;
}

// Bytes are what is moved; the type matters to sums alone.
ncclDataType_t type_of(DType dtype) { return dtype == DType::kBF16 ? ncclBfloat16 : ncclFloat; }

class NcclGroup final : public ExchangingGroup {
 public:
  static Result<std::unique_ptr<ExchangingGroup>> create(const NcclGroupOptions& options,
                                                         const CarryId& carry_id,
                                                         const Clock& clock) {
    std::unique_ptr<NcclGroup> group(new NcclGroup(options, clock));
    if (group->size() > 1) TRY(group->connect(carry_id));
    return std::unique_ptr<ExchangingGroup>(std::move(group));
  }

  ~NcclGroup() override {
    if (comm_ == nullptr) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    watcher_.join();
    // A communicator whose operations are all done is destroyed in peace; any other is not waited
    // for.
    if (!error_.has_value() && pending_.empty()) {
      (void)nccl_.destroy(comm_);
    } else if (!aborted_) {
      (void)nccl_.abort(comm_);
    }
    for (const Pending& pending : pending_) (void)cudaEventDestroy(pending.event);
    for (const cudaEvent_t event : free_events_) (void)cudaEventDestroy(event);
    if (barrier_word_ != nullptr) (void)cudaFree(barrier_word_);
  }

  int rank() const override { return options_.rank; }
  int size() const override { return static_cast<int>(options_.worker_ranks.size()); }

  Status all_reduce_sum(const TensorView& x, const OpContext& context) override {
    CHECK(can_sum(x.dtype)) << x.dtype;
    CHECK(x.contiguous());
    return enqueue(context, [&](cudaStream_t stream) {
      return nccl_.all_reduce(x.data, x.data, static_cast<size_t>(x.numel()), type_of(x.dtype),
                              ncclSum, comm_, stream);
    });
  }

  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const OpContext& context) override {
    CHECK(can_sum(x.dtype)) << x.dtype;
    CHECK_EQ(x.dim(0), out.dim(0) * size());
    if (size() == 1) return copy(x, out, context);
    return enqueue(context, [&](cudaStream_t stream) {
      return nccl_.reduce_scatter(x.data, out.data, static_cast<size_t>(out.numel()),
                                  type_of(x.dtype), ncclSum, comm_, stream);
    });
  }

  Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) override {
    CHECK_EQ(out.dim(0), x.dim(0) * size());
    if (size() == 1) return copy(x, out, context);
    return enqueue_and_wait(context, [&](cudaStream_t stream) {
      return nccl_.all_gather(x.data, out.data, x.bytes(), ncclInt8, comm_, stream);
    });
  }

  Status all_gather_enqueued(const TensorView& x, const TensorView& out,
                             const OpContext& context) override {
    CHECK_EQ(out.dim(0), x.dim(0) * size());
    if (size() == 1) return copy(x, out, context);
    return enqueue(context, [&](cudaStream_t stream) {
      return nccl_.all_gather(x.data, out.data, x.bytes(), ncclInt8, comm_, stream);
    });
  }

  Status broadcast(const TensorView& x, int root, const OpContext& context) override {
    return enqueue_and_wait(context, [&](cudaStream_t stream) {
      return nccl_.broadcast(x.data, x.data, x.bytes(), ncclInt8, root, comm_, stream);
    });
  }

  // Enqueued: the next operation that waits finds out whether it arrived.
  Status send(const TensorView& x, int peer, const OpContext& context) override {
    CHECK_GT(size(), 1);
    return enqueue(context, [&](cudaStream_t stream) {
      return nccl_.send(x.data, x.bytes(), ncclInt8, peer, comm_, stream);
    });
  }

  Status recv(const TensorView& x, int peer, const OpContext& context) override {
    CHECK_GT(size(), 1);
    return enqueue_and_wait(context, [&](cudaStream_t stream) {
      return nccl_.recv(x.data, x.bytes(), ncclInt8, peer, comm_, stream);
    });
  }

  Status exchange(std::span<const TensorView> to, std::span<const TensorView> from,
                  const OpContext& context) override {
    CHECK_EQ(static_cast<int>(to.size()), size());
    CHECK_EQ(static_cast<int>(from.size()), size());
    return enqueue(context, [&](cudaStream_t stream) { return call_exchange(to, from, stream); });
  }

  Status barrier(const OpContext& context) override {
    if (size() == 1) return sticky_error();
    return enqueue_and_wait(context, [&](cudaStream_t stream) {
      return nccl_.all_reduce(barrier_word_, barrier_word_, 1, ncclFloat, ncclSum, comm_, stream);
    });
  }

  bool can_record() const override { return true; }

  // The operations are in the stream already: an event behind them is what is watched.
  Status replayed(const OpContext& context) override {
    return enqueue(context, [](cudaStream_t) { return ncclSuccess; });
  }

  // An operation that was aborted left its error before the device could go on.
  Status check_enqueued(const OpContext&) override { return sticky_error(); }

  void abort(std::string_view reason) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    fail(unavailable(fmt::format("the {} group was aborted: {}", options_.name, reason)));
  }

 private:
  // An operation on the device that has not been seen done.
  struct Pending {
    cudaEvent_t event;
    int64_t deadline_ns;
    std::string what;
  };

  NcclGroup(const NcclGroupOptions& options, const Clock& clock)
      : options_(options), clock_(clock) {
    CHECK_GE(options.rank, 0);
    CHECK_LT(options.rank, static_cast<int>(options.worker_ranks.size()));
  }

  int worker_rank() const { return options_.worker_ranks[static_cast<size_t>(options_.rank)]; }

  Status connect(const CarryId& carry_id) {
    ASSIGN_OR_RETURN(nccl_, open_nccl());
    if (const cudaError_t error = cudaGetDevice(&device_); error != cudaSuccess) {
      return failed_precondition(std::string("no CUDA device: ") + cudaGetErrorString(error));
    }
    if (const cudaError_t error = cudaMalloc(&barrier_word_, sizeof(float)); error != cudaSuccess) {
      return resource_exhausted(std::string("no device memory for a group: ") +
                                cudaGetErrorString(error));
    }
    (void)cudaMemset(barrier_word_, 0, sizeof(float));
    ncclUniqueId id{};
    if (options_.rank == 0) {
      if (const ncclResult_t result = nccl_.get_unique_id(&id); result != ncclSuccess) {
        return describe(result, "making an id");
      }
    }
    TRY(carry_id(std::as_writable_bytes(std::span(id.internal))));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const int64_t now_ns = clock_.now_ns();
    const int64_t deadline_ns =
        options_.init_deadline_ns != 0 ? options_.init_deadline_ns : now_ns + kDefaultTimeoutNs;
    ncclResult_t result = nccl_.init_rank(&comm_, size(), id, options_.rank, &config);
    if (comm_ == nullptr) return describe(result, "starting");
    while (result == ncclInProgress) {
      if (clock_.now_ns() > deadline_ns) {
        return give_up(deadline_exceeded(fmt::format(
            "rank {}: not every rank of the {} group came to start NCCL within {:.0f} s",
            worker_rank(), options_.name, static_cast<double>(deadline_ns - now_ns) * 1e-9)));
      }
      std::this_thread::sleep_for(kPollInterval);
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = nccl_.async_error(comm_, &state);
      result = asked == ncclSuccess ? state : asked;
    }
    if (result != ncclSuccess) return give_up(describe(result, "starting"));
    watcher_ = std::thread([this] { watch(); });
    return {};
  }

  // Before the watcher is there: nothing is left of the communicator.
  Error give_up(Error error) {
    (void)nccl_.abort(comm_);
    comm_ = nullptr;
    return error;
  }

  Error describe(ncclResult_t result, std::string_view what) const {
    const char* last = comm_ != nullptr ? nccl_.last_error(comm_) : nullptr;
    return unavailable(fmt::format("rank {}: NCCL failed in {} ({} group): {}{}{}", worker_rank(),
                                   what, options_.name, nccl_.error_string(result),
                                   last != nullptr && *last != 0 ? ": " : "",
                                   last != nullptr ? last : ""));
  }

  Status sticky_error() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_.has_value()) return *error_;
    return {};
  }

  // With the mutex held. The first error stays.
  void fail(Error error) {
    if (error_.has_value()) return;
    error_ = std::move(error);
    if (options_.on_failure) options_.on_failure();
    if (comm_ != nullptr && !aborted_) {
      aborted_ = true;
      (void)nccl_.abort(comm_);
    }
    changed_.notify_all();
  }

  Status copy(const TensorView& x, const TensorView& out, const OpContext& context) {
    CHECK_EQ(x.bytes(), out.bytes());
    const cudaError_t error =
        cudaMemcpyAsync(out.data, x.data, x.bytes(), cudaMemcpyDeviceToDevice, stream_of(context));
    if (error != cudaSuccess) return internal_error(cudaGetErrorString(error));
    return {};
  }

  template <typename Operation>
  Status enqueue(const OpContext& context, Operation&& operation) {
    if (size() == 1) return sticky_error();
    return start(context, operation, nullptr);
  }

  template <typename Operation>
  Status enqueue_and_wait(const OpContext& context, Operation&& operation) {
    if (size() == 1) return sticky_error();
    uint64_t number = 0;
    TRY(start(context, operation, &number));
    // The rank's thread looks for itself: the watcher's interval would be felt in every step.
    for (;;) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!error_.has_value()) look();
        if (error_.has_value()) return *error_;
        if (n_done_ > number) return {};
      }
      std::this_thread::yield();
    }
  }

  template <typename Operation>
  Status start(const OpContext& context, Operation&& operation, uint64_t* number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_.has_value()) return *error_;
    const std::string what = describe_op(options_.name, context);
    const int64_t deadline_ns = definite_deadline(context, clock_.now_ns());
    const cudaStream_t stream = stream_of(context);
    ncclResult_t result = operation(stream);
    // A communicator that does not block may need a moment to take an operation in.
    while (result == ncclInProgress && clock_.now_ns() < deadline_ns) {
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = nccl_.async_error(comm_, &state);
      result = asked == ncclSuccess ? state : asked;
    }
    if (result != ncclSuccess) {
      fail(result == ncclInProgress ? late(what) : describe(result, what));
      return *error_;
    }
    // What is captured happens at a replay, and is watched then.
    if (is_capturing(stream)) {
      if (number == nullptr) return {};
      fail(internal_error(what + " waits for its result, which a captured operation has none of"));
      return *error_;
    }
    cudaEvent_t event = nullptr;
    if (free_events_.empty()) {
      if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess) {
        fail(internal_error("no CUDA event for " + what));
        return *error_;
      }
    } else {
      event = free_events_.back();
      free_events_.pop_back();
    }
    if (const cudaError_t error = cudaEventRecord(event, stream); error != cudaSuccess) {
      free_events_.push_back(event);
      fail(internal_error(what + ": " + cudaGetErrorString(error)));
      return *error_;
    }
    pending_.push_back({event, deadline_ns, what});
    if (number != nullptr) *number = n_started_;
    ++n_started_;
    changed_.notify_all();
    return {};
  }

  // One operation for NCCL: none of its sends waits for a receive behind it.
  ncclResult_t call_exchange(std::span<const TensorView> to, std::span<const TensorView> from,
                             cudaStream_t stream) {
    ncclResult_t first = nccl_.group_start();
    const auto note = [&](ncclResult_t result) {
      if (first == ncclSuccess && result != ncclInProgress) first = result;
    };
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == options_.rank) continue;
      const TensorView& out = to[static_cast<size_t>(peer)];
      const TensorView& in = from[static_cast<size_t>(peer)];
      if (out.numel() > 0) note(nccl_.send(out.data, out.bytes(), ncclInt8, peer, comm_, stream));
      if (in.numel() > 0) note(nccl_.recv(in.data, in.bytes(), ncclInt8, peer, comm_, stream));
    }
    const ncclResult_t ended = nccl_.group_end();
    return first == ncclSuccess ? ended : first;
  }

  Error late(const std::string& what) const {
    return deadline_exceeded(
        fmt::format("rank {}: {} was not done by its deadline", worker_rank(), what));
  }

  void watch() {
    (void)cudaSetDevice(device_);
    std::unique_lock<std::mutex> lock(mutex_);
    while (!closing_) {
      if (pending_.empty() || error_.has_value()) {
        changed_.wait(lock, [&] { return closing_ || (!pending_.empty() && !error_.has_value()); });
        continue;
      }
      look();
      if (pending_.empty() || error_.has_value()) continue;
      lock.unlock();
      std::this_thread::sleep_for(kPollInterval);
      lock.lock();
    }
  }

  // With the mutex held: takes away what is done, and fails what is late or broken.
  void look() {
    while (!pending_.empty()) {
      const cudaError_t state = cudaEventQuery(pending_.front().event);
      if (state == cudaErrorNotReady) break;
      if (state != cudaSuccess) {
        fail(internal_error(fmt::format("rank {}: {}: {}", worker_rank(), pending_.front().what,
                                        cudaGetErrorString(state))));
        return;
      }
      free_events_.push_back(pending_.front().event);
      pending_.pop_front();
      ++n_done_;
    }
    if (pending_.empty()) return;
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = nccl_.async_error(comm_, &state);
    if (asked != ncclSuccess || (state != ncclSuccess && state != ncclInProgress)) {
      fail(describe(asked != ncclSuccess ? asked : state, pending_.front().what));
    } else if (clock_.now_ns() > pending_.front().deadline_ns) {
      fail(late(pending_.front().what));
    }
  }

  const NcclGroupOptions options_;
  const Clock& clock_;
  NcclLibrary nccl_{};
  int device_ = 0;
  float* barrier_word_ = nullptr;  // on the device

  std::mutex mutex_;  // over all below, and every call of NCCL after the start
  std::condition_variable changed_;
  ncclComm_t comm_ = nullptr;
  bool aborted_ = false;
  bool closing_ = false;
  std::optional<Error> error_;  // the first one; the group is unusable from then on
  std::deque<Pending> pending_;
  uint64_t n_started_ = 0;
  uint64_t n_done_ = 0;
  std::vector<cudaEvent_t> free_events_;
  std::thread watcher_;
};

}  // namespace

Result<std::unique_ptr<ExchangingGroup>> make_nccl_group(const NcclGroupOptions& options,
                                                         const CarryId& carry_id,
                                                         const Clock& clock) {
  return NcclGroup::create(options, carry_id, clock);
}

}  // namespace trireme::comm
