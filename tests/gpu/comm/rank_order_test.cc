// Sums in rank order on a device: the cut, the sums of threads on the emulator beside the host's,
// their recording, and beside one-shot sums.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "parallel/comm/forwarding_group.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "parallel/comm/one_shot/one_shot_group.h"
#include "parallel/comm/rank_order/rank_order_cut.h"
#include "parallel/comm/rank_order/rank_order_group.h"
#include "parallel/comm/rank_order_sum.h"
#include "tests/gpu/comm/peer_sum_wrapper.h"
#include "tests/gpu/comm/thread_exchange.h"

namespace trireme::comm {
namespace {

using kernels::Backend;
using ::testing::HasSubstr;
using testing::ThreadExchange;

TEST(RankOrderCut, SlicesAreTheChunkInOrder) {
  for (const int n_ranks : {2, 3, 4, 8, 64}) {
    for (const int64_t count : {1, 15, 16, 17, 63, 64, 1000, 4096, 100'003}) {
      int64_t at = 0;
      for (int r = 0; r < n_ranks; ++r) {
        const Slice slice = slice_of(count, n_ranks, r);
        ASSERT_EQ(slice.begin, at);
        ASSERT_GE(slice.size(), 0);
        ASSERT_LE(slice.size(), slice_of(count, n_ranks, 0).size());
        if (slice.size() > 0) {
          ASSERT_EQ(slice.begin % kSliceElements, 0);
        }
        at = slice.end;
      }
      ASSERT_EQ(at, count) << n_ranks;
    }
  }
}

TEST(RankOrderCut, AWorkspaceHoldsTheTermsOfAChunk) {
  for (const int n_ranks : {2, 3, 4, 7, 8, 64}) {
    for (const int64_t workspace : {4096, 10'000, 32 << 20}) {
      for (const int64_t bytes : {2, 4}) {
        const int64_t slot = slot_elements(workspace, n_ranks, bytes);
        ASSERT_GE(slot, kSliceElements);
        ASSERT_LE(slot * n_ranks * bytes, workspace);
        for (const bool direct : {true, false}) {
          const int64_t chunk = chunk_elements(slot, n_ranks, direct);
          const int64_t term = direct ? chunk : slice_of(chunk, n_ranks, 0).size();
          ASSERT_EQ(term, slot) << "no more, and none of it is left";
        }
      }
    }
  }
}

TEST(RankOrderCut, SmallSumsAndThoseOfTwoAreDirect) {
  EXPECT_TRUE(is_direct(int64_t{1} << 30, 2));
  EXPECT_TRUE(is_direct(kDirectBytes, 8));
  EXPECT_FALSE(is_direct(kDirectBytes + 1, 8));
}

// Not the same for any rank or element; magnitudes differ, so that an order shows.
template <typename T>
std::vector<T> terms_of(int rank, int round, int64_t n) {
  std::mt19937 random(static_cast<unsigned>(rank * 1000 + round));
  std::normal_distribution<float> normal;
  std::vector<T> out(static_cast<size_t>(n));
  for (T& v : out) {
    const float value = normal(random) * (random() % 3 == 0 ? 100.0f : 1.0f);
    if constexpr (std::is_same_v<T, float>) {
      v = value;
    } else {
      v = to_bf16(value);
    }
  }
  return out;
}

template <typename T>
std::vector<T> host_sum(int n_ranks, int round, int64_t n) {
  std::vector<std::vector<T>> terms;
  std::vector<const std::byte*> inputs;
  terms.reserve(static_cast<size_t>(n_ranks));
  inputs.reserve(static_cast<size_t>(n_ranks));
  for (int r = 0; r < n_ranks; ++r) {
    inputs.push_back(
        reinterpret_cast<const std::byte*>(terms.emplace_back(terms_of<T>(r, round, n)).data()));
  }
  std::vector<T> out(static_cast<size_t>(n));
  sum_in_rank_order(dtype_of<T>(), inputs, reinterpret_cast<std::byte*>(out.data()), n);
  return out;
}

// Memory of the device with `offset` elements before what is looked at.
template <typename T>
struct Vector {
  std::unique_ptr<kernels::Buffer> buffer;
  TensorView view;

  Vector(Backend& backend, const std::vector<T>& values, int64_t offset = 0) {
    auto made = backend.allocate((values.size() + static_cast<size_t>(offset)) * sizeof(T));
    CHECK(made.ok()) << made.error().message;
    buffer = std::move(*made);
    view = TensorView(static_cast<T*>(buffer->data()) + offset, dtype_of<T>(),
                      {static_cast<int64_t>(values.size())});
    set(backend, values);
  }
  void set(Backend& backend, const std::vector<T>& values) const {
    backend.copy_to_device(view.data, values.data(), view.bytes(), {});
    backend.synchronize({});
  }
  void expect(Backend& backend, const std::vector<T>& want, const char* what) const {
    std::vector<T> got(want.size());
    backend.copy_to_host(got.data(), view.data, view.bytes(), {});
    backend.synchronize({});
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(std::memcmp(&got[i], &want[i], sizeof(T)), 0)
          << what << ": element " << i << " of " << got.size();
    }
  }
};

using Make = std::function<std::unique_ptr<ThreadExchange>(std::unique_ptr<Group>)>;

class RankOrder : public ::testing::Test {
 protected:
  struct Start {
    int n_ranks = 2;
    int64_t workspace_bytes = 32 << 20;
    Make make = [](std::unique_ptr<Group> inner) {
      return std::make_unique<ThreadExchange>(std::move(inner));
    };
  };

  // Runs body(group, backend, exchange) on a thread per rank; `failed` where there is no group.
  void run(const Start& start, const std::function<void(Group&, Backend&, ThreadExchange&)>& body,
           const std::function<void(const Error&)>& failed = nullptr) {
    std::vector<Mesh> meshes = make_inproc_meshes(start.n_ranks, 1, clock_);
    std::vector<std::thread> threads;
    threads.reserve(meshes.size());
    for (Mesh& mesh : meshes) {
      threads.emplace_back([&] {
        auto backend = kernels::make_emulated_cuda_backend(kernels::ComputeDType::kF32);
        auto inner = start.make(std::move(mesh.tp));
        ThreadExchange& exchange = *inner;
        auto group =
            with_rank_order_sums(std::move(inner), {.backend = *backend,
                                                    .sum = kernels::emulated_term_sum,
                                                    .workspace_bytes = start.workspace_bytes});
        if (!group.ok()) {
          EXPECT_TRUE(failed) << group.error().message;
          if (failed) failed(group.error());
          return;
        }
        body(**group, *backend, exchange);
        (void)(*group)->barrier(context());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  static OpContext context() { return {.step = StepId(3), .op = "layer 1 mlp all_reduce"}; }

  template <typename T>
  static void check_sum(Group& group, Backend& backend, int64_t n, int64_t offset) {
    const Vector<T> x(backend, terms_of<T>(group.rank(), 0, n), offset);
    const Status status = group.all_reduce_sum(x.view, context());
    ASSERT_TRUE(status.ok()) << status.error().message;
    x.expect(backend, host_sum<T>(group.size(), 0, n), "all_reduce");
  }

  template <typename T>
  static void check_scatter(Group& group, Backend& backend, int64_t n) {
    const int64_t all = n * group.size();
    const Vector<T> x(backend, terms_of<T>(group.rank(), 1, all));
    const Vector<T> out(backend, std::vector<T>(static_cast<size_t>(n)));
    const Status status = group.reduce_scatter_sum(x.view, out.view, context());
    ASSERT_TRUE(status.ok()) << status.error().message;
    const std::vector<T> sums = host_sum<T>(group.size(), 1, all);
    const auto begin = sums.begin() + group.rank() * n;
    out.expect(backend, std::vector<T>(begin, begin + n), "reduce_scatter");
  }

  SystemClock clock_;
};

TEST_F(RankOrder, HasTheHostsBitsWhateverTheSize) {
  for (const int n_ranks : {1, 2, 3, 4, 8}) {
    for (const int64_t workspace_bytes : {int64_t{3000}, int64_t{1} << 20}) {
      run({.n_ranks = n_ranks, .workspace_bytes = workspace_bytes},
          [&](Group& group, Backend& backend, ThreadExchange&) {
            if (group.size() == 1) return;
            for (const int64_t n : {1, 7, 64, 1000, 16'384, 16'385, 40'003}) {
              check_sum<float>(group, backend, n, 0);
              check_sum<float>(group, backend, n, 1);
              check_sum<bf16>(group, backend, n, 0);
              check_sum<bf16>(group, backend, n, 3);
            }
            for (const int64_t n : {1, 64, 5001}) {
              check_scatter<float>(group, backend, n);
              check_scatter<bf16>(group, backend, n);
            }
          });
    }
  }
}

// What a row is summed to does not depend on where it stands, nor on the rows beside it.
TEST_F(RankOrder, ARowAloneIsTheRowInCompany) {
  constexpr int64_t kWidth = 1030;
  run({.n_ranks = 4, .workspace_bytes = 64 << 10},
      [&](Group& group, Backend& backend, ThreadExchange&) {
        const std::vector<float> mine = terms_of<float>(group.rank(), 5, kWidth);
        const Vector<float> alone(backend, mine);
        ASSERT_TRUE(group.all_reduce_sum(alone.view, context()).ok());
        const std::vector<float> sum = host_sum<float>(4, 5, kWidth);
        alone.expect(backend, sum, "alone");
        for (const int64_t n_rows : {2, 32, 97}) {
          std::vector<float> rows, sums;
          for (int64_t i = 0; i < n_rows; ++i) {
            rows.insert(rows.end(), mine.begin(), mine.end());
            sums.insert(sums.end(), sum.begin(), sum.end());
          }
          const Vector<float> together(backend, rows);
          ASSERT_TRUE(group.all_reduce_sum(together.view, context()).ok());
          together.expect(backend, sums, "together");
        }
      });
}

TEST_F(RankOrder, LargeSumsMoveLittle) {
  run({.n_ranks = 8}, [&](Group& group, Backend& backend, ThreadExchange& exchange) {
    const int64_t n = 1 << 17;
    const int64_t before = exchange.n_bytes_sent();
    const int n_before = exchange.n_exchanges();
    check_sum<float>(group, backend, n, 0);
    EXPECT_EQ(exchange.n_bytes_sent() - before, n * 4 / 8 * 2 * 7);
    EXPECT_EQ(exchange.n_exchanges() - n_before, 2);
    check_sum<float>(group, backend, kDirectBytes / 4, 0);
    EXPECT_EQ(exchange.n_exchanges() - n_before, 3) << "a small one has one meeting";
  });
}

TEST_F(RankOrder, IsRecordedAndReplayed) {
  for (const int64_t n : {1000, 40'000}) {  // directly, and by slices in chunks
    run({.n_ranks = 3, .workspace_bytes = 24 << 10},
        [&](Group& group, Backend& backend, ThreadExchange& exchange) {
          ASSERT_TRUE(group.can_record());
          const Vector<float> x(backend, std::vector<float>(static_cast<size_t>(n)));
          ASSERT_TRUE(backend.begin_recording({}).ok());
          const Status enqueued = group.all_reduce_sum(x.view, context());
          auto work = backend.end_recording({});
          ASSERT_TRUE(enqueued.ok());
          ASSERT_TRUE(work.ok());
          const int n_recorded = exchange.n_exchanges();
          for (int round = 0; round < 3; ++round) {
            x.set(backend, terms_of<float>(group.rank(), round, n));
            ASSERT_TRUE(backend.replay(**work, {}));
            ASSERT_TRUE(group.replayed(context()).ok());
            x.expect(backend, host_sum<float>(3, round, n), "replayed");
          }
          EXPECT_EQ(exchange.n_exchanges(), n_recorded) << "nobody was asked again";
        });
  }
}

// Terms of ranks 1 and 2 change places on their way.
class Swapping final : public ThreadExchange {
 public:
  using ThreadExchange::ThreadExchange;
  Status exchange(std::span<const TensorView> to, std::span<const TensorView> from,
                  const OpContext& context) override {
    std::vector<TensorView> swapped(from.begin(), from.end());
    if (from[1].numel() == from[2].numel()) std::swap(swapped[1], swapped[2]);
    return ThreadExchange::exchange(to, swapped, context);
  }
};

TEST_F(RankOrder, AnotherOrderIsFoundAtStart) {
  std::atomic<int> n_found = 0;
  run(
      {.n_ranks = 3,
       .make = [](std::unique_ptr<Group> inner) -> std::unique_ptr<ThreadExchange> {
         return std::make_unique<Swapping>(std::move(inner));
       }},
      [](Group&, Backend&, ThreadExchange&) { FAIL() << "the order is another one"; },
      [&](const Error& error) {
        EXPECT_EQ(error.code, ErrorCode::kInternal);
        EXPECT_THAT(error.message, HasSubstr("not in rank order"));
        ++n_found;
      });
  EXPECT_EQ(n_found, 3);
}

// One of very many.
class Huge final : public ThreadExchange {
 public:
  using ThreadExchange::ThreadExchange;
  int size() const override { return kernels::kMaxTerms + 1; }
};

TEST_F(RankOrder, IsForSoManyRanks) {
  std::string message;
  run(
      {.n_ranks = 1,
       .make = [](std::unique_ptr<Group> inner) -> std::unique_ptr<ThreadExchange> {
         return std::make_unique<Huge>(std::move(inner));
       }},
      [](Group&, Backend&, ThreadExchange&) { FAIL() << "a sum of 65 ranks"; },
      [&](const Error& error) { message = error.message; });
  EXPECT_THAT(message, HasSubstr("up to 64 ranks, not 65"));
}

TEST_F(RankOrder, ALostRankIsTheGroupsError) {
  std::latch seen(1);
  run({}, [&](Group& group, Backend& backend, ThreadExchange&) {
    if (group.rank() == 1) {
      seen.wait();
      return;
    }
    const Vector<float> x(backend, std::vector<float>(1000));
    OpContext late = context();
    late.deadline_ns = clock_.now_ns() + 100'000'000;
    const Status status = group.all_reduce_sum(x.view, late);
    seen.count_down();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
    EXPECT_THAT(status.error().message, HasSubstr("'layer 1 mlp all_reduce'"));
    EXPECT_FALSE(group.check_enqueued(context()).ok());
  });
}

// Its last sum is a bit off.
class OneBitOff final : public kernels::testing::PeerSumWrapper {
 public:
  using PeerSumWrapper::PeerSumWrapper;
  void add_rms_norm(const kernels::AddRmsNormArgs& args, kernels::Stream stream) override {
    inner_->add_rms_norm(args, stream);
    float& last = args.residual.as<float>()[args.residual.numel() - 1];
    last = std::nextafterf(last, 1e9f);
  }
};

Result<std::unique_ptr<Group>> one_shot_over(std::unique_ptr<Group> group, Backend& backend,
                                             const Clock& clock, OneShotMode mode, bool off) {
  const OneShotInputs inputs{
      .backend = backend,
      .clock = clock,
      .make = [off](kernels::PeerSumOptions options) -> Result<std::unique_ptr<kernels::PeerSum>> {
        options.one_process = true;
        ASSIGN_OR_RETURN(auto sum, kernels::make_emulated_peer_sum(options));
        if (off) sum = std::make_unique<OneBitOff>(std::move(sum));
        return sum;
      },
      .machine = "a",
      .mode = mode,
      .same_bits = true,
      .sizes = {16 << 10, 64 << 10}};
  return with_one_shot(std::move(group), inputs);
}

TEST_F(RankOrder, OneShotSumsHaveTheSameBits) {
  constexpr int64_t kWidth = 516;
  for (const int n_ranks : {2, 3, 4}) {
    std::vector<Mesh> meshes = make_inproc_meshes(n_ranks, 1, clock_);
    std::vector<std::thread> threads;
    threads.reserve(meshes.size());
    for (Mesh& mesh : meshes) {
      threads.emplace_back([&] {
        auto backend = kernels::make_emulated_cuda_backend(kernels::ComputeDType::kBF16);
        auto sums = with_rank_order_sums(std::make_unique<ThreadExchange>(std::move(mesh.tp)),
                                         {*backend, kernels::emulated_term_sum, 16 << 10});
        ASSERT_TRUE(sums.ok());
        auto made = one_shot_over(std::move(*sums), *backend, clock_, OneShotMode::kAlways, false);
        ASSERT_TRUE(made.ok()) << made.error().message;
        Group& group = **made;
        // Rows by themselves go one-shot, all of them together do not: a window holds 31.
        for (const int64_t n_rows : {1, 31, 40}) {
          const int64_t n = n_rows * kWidth;
          const Vector<float> delta(*backend, terms_of<float>(group.rank(), 7, n));
          const Vector<float> residual(*backend, terms_of<float>(90, 7, n));
          const Vector<float> weight(*backend, terms_of<float>(91, 7, kWidth));
          const Vector<bf16> out(*backend, std::vector<bf16>(static_cast<size_t>(n)));
          const Vector<float> residual2(*backend, terms_of<float>(90, 7, n));
          const Vector<bf16> out2(*backend, std::vector<bf16>(static_cast<size_t>(n)));
          const auto rows = [&](const auto& x) {
            return TensorView(x.view.data, x.view.dtype, {n_rows, kWidth});
          };
          const auto args = [&](const auto& r, const auto& o) {
            return kernels::AddRmsNormArgs{.residual = rows(r),
                                           .delta = rows(delta),
                                           .weight = weight.view,
                                           .eps = 1e-5f,
                                           .out = rows(o)};
          };
          const auto done = group.all_reduce_into_residual(args(residual, out), context());
          ASSERT_TRUE(done.ok());
          EXPECT_EQ(*done, n_rows <= 31);
          ASSERT_TRUE(group.all_reduce_sum(delta.view, context()).ok());
          backend->add_rms_norm(args(residual2, out2), {});
          if (!*done) continue;
          std::vector<float> want(static_cast<size_t>(n));
          std::vector<bf16> want_out(static_cast<size_t>(n));
          backend->copy_to_host(want.data(), residual2.view.data, residual2.view.bytes(), {});
          backend->copy_to_host(want_out.data(), out2.view.data, out2.view.bytes(), {});
          backend->synchronize({});
          residual.expect(*backend, want, "residual");
          out.expect(*backend, want_out, "norm");
        }
        (void)group.barrier(context());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

// A row may go either way in different batches: where the bits differ, none goes one-shot.
TEST_F(RankOrder, OneShotSumsOfOtherBitsAreNotUsed) {
  std::atomic<int> n_refused = 0;
  run({}, [&](Group& group, Backend& backend, ThreadExchange&) {
    class Borrowed final : public ForwardingGroup {
     public:
      explicit Borrowed(Group& group) : ForwardingGroup(std::unique_ptr<Group>(&group)) {}
      ~Borrowed() override { (void)inner_.release(); }
    };
    auto made = one_shot_over(std::make_unique<Borrowed>(group), backend, clock_,
                              OneShotMode::kAlways, /*off=*/true);
    ASSERT_FALSE(made.ok());
    EXPECT_THAT(made.error().message, HasSubstr("where the group's sum says"));
    ++n_refused;
  });
  EXPECT_EQ(n_refused, 2);
}

}  // namespace
}  // namespace trireme::comm
