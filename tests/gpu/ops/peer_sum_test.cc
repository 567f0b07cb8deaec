// Sums over peers' memory: ranks that are threads of one process, on the emulator everywhere and
// on one GPU where there is one. The ranks' windows, streams and launches are their own.
#include "kernels/peer_sum.h"

#include <gtest/gtest.h>

#include <barrier>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "tests/gpu/ops/device_fixture.h"

namespace trireme::kernels::testing {
namespace {

// A GPU takes launches in by a few queues; ranks that shared one would wait for each other in it.
#if defined(TRIREME_CUDA_EMULATED)
constexpr int kRankCounts[] = {1, 2, 4, 8};
#else
constexpr int kRankCounts[] = {1, 2, 4};
#endif

// A matrix of a rank's own, whose rows are `pitch` apart and begin `offset` elements behind an
// allocation.
struct Matrix {
  std::unique_ptr<Buffer> buffer;
  TensorView view;

  static Matrix make(Backend& backend, DType dtype, int64_t n_rows, int64_t width, int64_t pitch,
                     int64_t offset) {
    auto buffer = backend.allocate(static_cast<size_t>(n_rows * pitch + offset) * size_of(dtype));
    CHECK(buffer.ok()) << buffer.error().message;
    Matrix matrix{std::move(*buffer), {}};
    matrix.view = TensorView(
        static_cast<char*>(matrix.buffer->data()) + static_cast<size_t>(offset) * size_of(dtype),
        dtype, {n_rows, width});
    matrix.view.row_stride = pitch;
    return matrix;
  }
};

void upload(Backend& backend, const TensorView& to, const std::vector<float>& rows) {
  for (int64_t i = 0; i < to.dim(0); ++i) {
    const TensorView row = to.rows(i, i + 1);
    backend.copy_to_device(row.data, rows.data() + i * to.dim(1),
                           static_cast<size_t>(to.dim(1)) * sizeof(float), {});
  }
  backend.synchronize({});
}

// The rows' bytes, one after the other.
std::vector<std::byte> download(Backend& backend, const TensorView& from) {
  const size_t bytes = static_cast<size_t>(from.dim(1)) * size_of(from.dtype);
  std::vector<std::byte> host(static_cast<size_t>(from.dim(0)) * bytes);
  for (int64_t i = 0; i < from.dim(0); ++i) {
    backend.copy_to_host(host.data() + static_cast<size_t>(i) * bytes, from.rows(i, i + 1).data,
                         bytes, {});
  }
  backend.synchronize({});
  return host;
}

// Not the same for any rank, call or element; magnitudes differ, so that the order of a sum shows.
std::vector<float> values(int rank, int call, int64_t n) {
  std::mt19937 random(static_cast<unsigned>(rank * 1000 + call));
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) v = normal(random) * (random() % 3 == 0 ? 100.0f : 1.0f);
  return out;
}

struct Shape {
  int64_t n_rows = 0;
  int64_t width = 0;
  int64_t pitch = 0;
  int64_t offset = 0;
  DType out = DType::kBF16;
  bool norm = true;
};

class PeerSums : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (make_device_backend(ComputeDType::kF32, &why) == nullptr) GTEST_SKIP() << why;
  }

  // Runs body(rank, backend, sum, barrier) on a thread for each rank, connected. The device is
  // shared: each rank's kernels may take a part of it alone.
  template <typename Body>
  static void run_ranks(int n_ranks, int64_t max_bytes, Body&& body) {
    std::barrier<> barrier(n_ranks);
    std::vector<PeerOffer> offers(static_cast<size_t>(n_ranks));
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(n_ranks));
    for (int rank = 0; rank < n_ranks; ++rank) {
      threads.emplace_back([&, rank] {
        std::string why;
        auto backend = make_device_backend(ComputeDType::kF32, &why);
        auto sum = make_device_peer_sum({.rank = rank,
                                         .n_ranks = n_ranks,
                                         .max_bytes = max_bytes,
                                         .one_process = true,
                                         .max_blocks = 16});
        CHECK(sum.ok()) << sum.error().message;
        offers[static_cast<size_t>(rank)] = (*sum)->offer();
        barrier.arrive_and_wait();
        const Status connected = (*sum)->connect(offers);
        CHECK(connected.ok()) << connected.error().message;
        (*sum)->set_patience_ns(20'000'000'000);
        barrier.arrive_and_wait();
        body(rank, *backend, **sum, barrier);
        barrier.arrive_and_wait();  // windows stay until all are done with them
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // One call against the sum on the host in rank order and the device's own add_rms_norm, bit for
  // bit.
  static void check(int rank, int n_ranks, int call, const Shape& s, Backend& backend, PeerSum& sum,
                    std::barrier<>& barrier) {
    const int64_t n = s.n_rows * s.width;
    const auto make = [&](DType dtype) {
      return Matrix::make(backend, dtype, s.n_rows, s.width, s.pitch, s.offset);
    };
    const Matrix delta = make(DType::kF32);
    const Matrix total = make(DType::kF32);
    const Matrix residual = make(DType::kF32);
    const Matrix expected_residual = make(DType::kF32);
    const Matrix out = make(s.out);
    const Matrix expected = make(s.out);
    Matrix weight = Matrix::make(backend, DType::kF32, 1, s.width, s.width, 0);
    const TensorView weights(weight.view.data, DType::kF32, {s.width});
    upload(backend, weight.view, values(50, call, s.width));
    upload(backend, delta.view, values(rank, call, n));
    const std::vector<float> before = values(60, call, n);
    upload(backend, residual.view, before);
    upload(backend, expected_residual.view, before);
    std::vector<float> sums = values(0, call, n);
    for (int r = 1; r < n_ranks; ++r) {
      const std::vector<float> term = values(r, call, n);
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += term[i];
    }
    upload(backend, total.view, sums);
    const float scale = call % 2 == 0 ? 1.0f : 0.22f;
    if (s.norm) {
      backend.add_rms_norm({.residual = expected_residual.view,
                            .delta = total.view,
                            .weight = weights,
                            .eps = 1e-5f,
                            .out = expected.view,
                            .delta_scale = scale},
                           {});
    } else {
      backend.add({.x = total.view, .y = expected_residual.view, .scale = scale}, {});
    }
    backend.synchronize({});
    barrier.arrive_and_wait();  // no rank's kernel waits while another allocates

    AddRmsNormArgs args{.residual = residual.view, .delta = delta.view, .delta_scale = scale};
    if (s.norm) {
      args.weight = weights;
      args.eps = 1e-5f;
      args.out = out.view;
    }
    ASSERT_TRUE(sum.takes(args));
    sum.add_rms_norm(args, {});
    backend.synchronize({});
    EXPECT_FALSE(sum.gave_up());
    EXPECT_EQ(download(backend, residual.view), download(backend, expected_residual.view))
        << "rank " << rank << " of " << n_ranks << ", call " << call << ": residual of " << s.n_rows
        << " x " << s.width;
    EXPECT_EQ(download(backend, out.view), download(backend, expected.view))
        << "rank " << rank << " of " << n_ranks << ", call " << call << ": norm of " << s.n_rows
        << " x " << s.width;
    barrier.arrive_and_wait();
  }
};

// Widths that vectors fit and do not fit, one block and several to a row, more rows than blocks,
// rows with gaps, an odd address.
TEST_F(PeerSums, AreTheSumInRankOrderAndTheNormBitForBit) {
  const std::vector<Shape> shapes = {
      {1, 1, 1},
      {1, 7, 7, 0, DType::kF32},
      {3, 130, 130},
      {1, 4096, 4096},
      {1, 8192, 8192, 0, DType::kF32},
      {2, 4100, 4104, 0},
      {1, 4099, 4099, 0, DType::kF32},
      {5, 1024, 1028, 1},
      {37, 96, 96},
      {2, 4096, 4096, 0, DType::kBF16, false},
      {20, 33, 40, 3, DType::kF32, false},
  };
  for (const int n_ranks : kRankCounts) {
    run_ranks(n_ranks, 64 << 10,
              [&](int rank, Backend& backend, PeerSum& sum, std::barrier<>& barrier) {
                for (size_t i = 0; i < shapes.size(); ++i) {
                  check(rank, n_ranks, static_cast<int>(i), shapes[i], backend, sum, barrier);
                }
              });
  }
}

// Calls behind each other without a word from the host, of sizes that change: a window's two turns
// and the flags' numbers go on. Ranks do not run in step.
TEST_F(PeerSums, ManyInARow) {
  constexpr int kCalls = 60;
  constexpr int64_t kMaxWidth = 2500;
  const auto width_of = [](int call) { return call % 3 == 0 ? kMaxWidth : int64_t{64} + call; };
  run_ranks(3, kMaxWidth * 4,
            [&](int rank, Backend& backend, PeerSum& sum, std::barrier<>& barrier) {
              std::vector<Matrix> deltas;
              std::vector<Matrix> residuals;
              for (int call = 0; call < kCalls; ++call) {
                const int64_t width = width_of(call);
                deltas.push_back(Matrix::make(backend, DType::kF32, 1, width, width, 0));
                residuals.push_back(Matrix::make(backend, DType::kF32, 1, width, width, 0));
                upload(backend, deltas.back().view, values(rank, call, width));
              }
              barrier.arrive_and_wait();
              for (int call = 0; call < kCalls; ++call) {
                if ((call + rank) % 7 == 0)
                  std::this_thread::sleep_for(std::chrono::milliseconds(1));
                const auto i = static_cast<size_t>(call);
                sum.add_rms_norm({.residual = residuals[i].view, .delta = deltas[i].view}, {});
              }
              backend.synchronize({});
              EXPECT_FALSE(sum.gave_up());
              for (int call = 0; call < kCalls; ++call) {
                std::vector<float> expected = values(0, call, width_of(call));
                for (int r = 1; r < 3; ++r) {
                  const std::vector<float> term = values(r, call, width_of(call));
                  for (size_t i = 0; i < expected.size(); ++i) expected[i] += term[i];
                }
                const std::vector<std::byte> got =
                    download(backend, residuals[static_cast<size_t>(call)].view);
                ASSERT_EQ(0, std::memcmp(got.data(), expected.data(), got.size()))
                    << "rank " << rank << ", call " << call;
              }
            });
}

// A recording knows no call's number: replays find it on the device.
TEST_F(PeerSums, AreReplayed) {
  constexpr int64_t kWidth = 300;
  run_ranks(2, kWidth * 4, [&](int rank, Backend& backend, PeerSum& sum, std::barrier<>& barrier) {
    const Matrix delta = Matrix::make(backend, DType::kF32, 1, kWidth, kWidth, 0);
    const Matrix residual = Matrix::make(backend, DType::kF32, 1, kWidth, kWidth, 0);
    ASSERT_TRUE(backend.begin_recording({}).ok());
    // Two calls in one recording: each must have a turn of its own.
    for (int i = 0; i < 2; ++i) {
      sum.add_rms_norm({.residual = residual.view, .delta = delta.view}, {});
    }
    auto work = backend.end_recording({});
    ASSERT_TRUE(work.ok());
    std::vector<float> expected(kWidth, 0.0f);
    for (int round = 0; round < 5; ++round) {
      upload(backend, delta.view, values(rank, round, kWidth));
      barrier.arrive_and_wait();
      ASSERT_TRUE(backend.replay(**work, {}));
      // Work that is not recorded may stand between replays.
      if (round == 2) sum.add_rms_norm({.residual = residual.view, .delta = delta.view}, {});
      backend.synchronize({});
      const std::vector<float> a = values(0, round, kWidth);
      const std::vector<float> b = values(1, round, kWidth);
      for (int i = 0; i < (round == 2 ? 3 : 2); ++i) {
        for (size_t j = 0; j < expected.size(); ++j) expected[j] += a[j] + b[j];
      }
      const std::vector<std::byte> got = download(backend, residual.view);
      ASSERT_EQ(0, std::memcmp(got.data(), expected.data(), got.size())) << "round " << round;
      barrier.arrive_and_wait();
    }
  });
}

// One rank calls, the other never does: the host's word ends the wait.
TEST_F(PeerSums, AnAbortEndsAWaitForARankThatNeverComes) {
  run_ranks(2, 4096, [&](int rank, Backend& backend, PeerSum& sum, std::barrier<>&) {
    if (rank == 1) return;
    const Matrix delta = Matrix::make(backend, DType::kF32, 1, 100, 100, 0);
    const Matrix residual = Matrix::make(backend, DType::kF32, 1, 100, 100, 0);
    std::thread watch([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      sum.abort();
    });
    const auto begin = std::chrono::steady_clock::now();
    sum.add_rms_norm({.residual = residual.view, .delta = delta.view}, {});
    sum.add_rms_norm({.residual = residual.view, .delta = delta.view}, {});
    backend.synchronize({});
    watch.join();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    EXPECT_TRUE(sum.gave_up());
  });
}

TEST_F(PeerSums, PatienceEndsAWaitWithoutTheHost) {
  run_ranks(2, 4096, [&](int rank, Backend& backend, PeerSum& sum, std::barrier<>&) {
    if (rank == 0) return;
    sum.set_patience_ns(30'000'000);
    const Matrix delta = Matrix::make(backend, DType::kF32, 1, 100, 100, 0);
    const Matrix residual = Matrix::make(backend, DType::kF32, 1, 100, 100, 0);
    // The first gives up, and what is behind it does not wait again.
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 200; ++i) {
      sum.add_rms_norm({.residual = residual.view, .delta = delta.view}, {});
    }
    backend.synchronize({});
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    EXPECT_TRUE(sum.gave_up());
  });
}

TEST_F(PeerSums, RefuseWhatTheyAreNotFor) {
  EXPECT_FALSE(make_device_peer_sum({.n_ranks = kMaxPeers + 1, .max_bytes = 16}).ok());
  auto one = make_device_peer_sum({.n_ranks = 2, .max_bytes = 4000, .one_process = true});
  ASSERT_TRUE(one.ok());
  auto other =
      make_device_peer_sum({.rank = 1, .n_ranks = 2, .max_bytes = 8000, .one_process = true});
  ASSERT_TRUE(other.ok());
  EXPECT_FALSE((*one)->connect(std::vector<PeerOffer>{(*one)->offer(), (*other)->offer()}).ok());
  float x = 0;
  const auto takes = [&](DType dtype, int64_t rows, int64_t width) {
    return (*one)->takes({.residual = TensorView(&x, DType::kF32, {rows, width}),
                          .delta = TensorView(&x, dtype, {rows, width})});
  };
  EXPECT_TRUE(takes(DType::kF32, 10, 100));
  EXPECT_FALSE(takes(DType::kF32, 10, 101));
  EXPECT_FALSE(takes(DType::kF32, 0, 100));
  EXPECT_FALSE(takes(DType::kBF16, 1, 100));
}

}  // namespace
}  // namespace trireme::kernels::testing
