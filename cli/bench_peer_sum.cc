#include "cli/bench_peer_sum.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/backend.h"
#include "kernels/peer_sum.h"

namespace trireme::cli {
namespace {

using kernels::PeerOffer;
using kernels::PeerSum;

constexpr int64_t kMostRows = 64;
constexpr int64_t kMostWidth = 16384;
constexpr int kCalls = 200;
// All ranks' blocks must be on the GPU at once.
constexpr int kBlocksPerRank = 16;

// What a rank sums and where it leaves it.
struct Operands {
  std::vector<std::unique_ptr<kernels::Buffer>> buffers;
  TensorView residual, delta, weight, out;

  static Result<Operands> make(kernels::Backend& backend) {
    Operands operands;
    const auto tensor = [&](TensorView& view, DType dtype,
                            std::initializer_list<int64_t> shape) -> Status {
      view = TensorView(nullptr, dtype, shape);
      ASSIGN_OR_RETURN(auto buffer, backend.allocate(view.bytes()));
      view.data = buffer->data();
      operands.buffers.push_back(std::move(buffer));
      return {};
    };
    TRY(tensor(operands.residual, DType::kF32, {kMostRows * kMostWidth}));
    TRY(tensor(operands.delta, DType::kF32, {kMostRows * kMostWidth}));
    TRY(tensor(operands.weight, DType::kF32, {kMostWidth}));
    TRY(tensor(operands.out, DType::kBF16, {kMostRows * kMostWidth}));
    return operands;
  }

  kernels::AddRmsNormArgs rows(int64_t n_rows, int64_t width) const {
    return {.residual = TensorView(residual.data, DType::kF32, {n_rows, width}),
            .delta = TensorView(delta.data, DType::kF32, {n_rows, width}),
            .weight = TensorView(weight.data, DType::kF32, {width}),
            .eps = 1e-5f,
            .out = TensorView(out.data, DType::kBF16, {n_rows, width})};
  }
};

struct Rank {
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<PeerSum> sum;
  Operands operands;
};

// Nothing is made on the device any more once the first rank waits for another.
Result<std::vector<Rank>> make_ranks(int n_ranks) {
  std::vector<Rank> ranks;
  std::vector<PeerOffer> offers;
  for (int r = 0; r < n_ranks; ++r) {
    Rank rank;
    ASSIGN_OR_RETURN(rank.backend, kernels::make_cuda_backend({}));
    ASSIGN_OR_RETURN(rank.sum, kernels::make_cuda_peer_sum({.rank = r,
                                                            .n_ranks = n_ranks,
                                                            .max_bytes = kMostRows * kMostWidth * 4,
                                                            .one_process = true,
                                                            .max_blocks = kBlocksPerRank}));
    rank.sum->set_patience_ns(10'000'000'000);
    ASSIGN_OR_RETURN(rank.operands, Operands::make(*rank.backend));
    offers.push_back(rank.sum->offer());
    ranks.push_back(std::move(rank));
  }
  for (Rank& rank : ranks) TRY(rank.sum->connect(offers));
  return ranks;
}

// The median of the rounds, in seconds per call, as the first rank sees it.
double time_of(std::vector<Rank>& ranks, int64_t n_rows, int64_t width, int n_rounds) {
  std::vector<double> seconds;
  std::barrier<> barrier(static_cast<std::ptrdiff_t>(ranks.size()));
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks.size(); ++r) {
    threads.emplace_back([&, r] {
      Rank& rank = ranks[r];
      for (int round = 0; round <= n_rounds; ++round) {
        barrier.arrive_and_wait();
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < kCalls; ++i) {
          rank.sum->add_rms_norm(rank.operands.rows(n_rows, width), {});
        }
        rank.backend->synchronize({});
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
        if (r == 0 && round > 0) seconds.push_back(taken.count() / kCalls);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::nth_element(seconds.begin(), seconds.begin() + n_rounds / 2, seconds.end());
  return seconds[static_cast<size_t>(n_rounds / 2)];
}

}  // namespace

Status bench_peer_sums(int n_rounds, const std::function<void(const PeerSumTime&)>& tell) {
  for (const int n_ranks : {2, 4}) {
    ASSIGN_OR_RETURN(std::vector<Rank> ranks, make_ranks(n_ranks));
    for (const int64_t width : {int64_t{8192}, kMostWidth}) {
      for (const int64_t n_rows : {int64_t{1}, int64_t{4}, int64_t{16}, kMostRows}) {
        const double seconds = time_of(ranks, n_rows, width, n_rounds);
        for (const Rank& rank : ranks) {
          if (rank.sum->gave_up()) return unavailable("the ranks did not meet on the GPU");
        }
        // Of each rank: its delta read twice and written to the others' inboxes, its inboxes read,
        // the residual read, written and read by the norm, the result written in half the bytes.
        const double passes = 2 + 2 * (n_ranks - 1) + 3 + 0.5;
        tell({.n_ranks = n_ranks,
              .n_rows = n_rows,
              .width = width,
              .seconds = seconds,
              .bytes = passes * n_ranks * static_cast<double>(n_rows * width * 4)});
      }
    }
  }
  return {};
}

}  // namespace trireme::cli
