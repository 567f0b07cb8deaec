// Groups whose small sums go over the ranks' memory: the choice, the agreement at start, and the
// sums, with threads on the emulator over groups of one process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "parallel/comm/one_shot/one_shot_group.h"
#include "tests/gpu/comm/peer_sum_wrapper.h"

namespace trireme::comm {
namespace {

using kernels::PeerOffer;
using kernels::PeerSum;
using kernels::PeerSumOptions;
using kernels::testing::PeerSumWrapper;
using ::testing::HasSubstr;

TEST(OneShotChoice, ASizeGoesTheWayOfTheNextLargerOne) {
  const OneShotChoice choice =
      OneShotChoice::measured({{16384, 5, 15}, {65536, 7, 16}, {262144, 30, 20}, {1 << 20, 9, 99}});
  EXPECT_TRUE(choice.takes(1));
  EXPECT_TRUE(choice.takes(16384));
  EXPECT_TRUE(choice.takes(16385));
  EXPECT_TRUE(choice.takes(65536));
  EXPECT_FALSE(choice.takes(65537));
  EXPECT_FALSE(choice.takes(262144));
  EXPECT_TRUE(choice.takes(262145));
  EXPECT_FALSE(choice.takes((1 << 20) + 1));
  EXPECT_THAT(choice.to_string(), HasSubstr("64 KiB one-shot (7.0 us against 16.0)"));
  EXPECT_THAT(choice.to_string(), HasSubstr("256 KiB NCCL (20.0 us against 30.0)"));
}

TEST(OneShotChoice, EqualTimesAreNccls) {
  EXPECT_FALSE(OneShotChoice::measured({{16384, 5, 5}}).takes(1));
}

TEST(OneShotChoice, AlwaysIsWhatAWindowHolds) {
  const OneShotChoice choice = OneShotChoice::always(1 << 20);
  EXPECT_TRUE(choice.takes(1 << 20));
  EXPECT_FALSE(choice.takes((1 << 20) + 1));
  EXPECT_EQ(choice.to_string(), "one-shot up to 1024 KiB");
}

TEST(OneShotMode, IsNamedAsInTheConfiguration) {
  EXPECT_EQ(one_shot_mode("auto"), OneShotMode::kAuto);
  EXPECT_EQ(one_shot_mode("nccl"), OneShotMode::kNever);
  EXPECT_EQ(one_shot_mode("one_shot"), OneShotMode::kAlways);
}

class NoPeer final : public PeerSumWrapper {
 public:
  using PeerSumWrapper::PeerSumWrapper;
  Status connect(std::span<const PeerOffer>) override {
    return failed_precondition("the GPU at 0000:41:00.0 cannot be reached");
  }
};

// Its results are wrong by a little.
class Wrong final : public PeerSumWrapper {
 public:
  using PeerSumWrapper::PeerSumWrapper;
  void add_rms_norm(const kernels::AddRmsNormArgs& args, kernels::Stream stream) override {
    inner_->add_rms_norm(args, stream);
    args.residual.as<float>()[args.residual.numel() - 1] += 0.01f;
  }
};

// Its peers never hear of it.
class Mute final : public PeerSumWrapper {
 public:
  using PeerSumWrapper::PeerSumWrapper;
  void set_patience_ns(int64_t) override { inner_->set_patience_ns(50'000'000); }
  void add_rms_norm(const kernels::AddRmsNormArgs&, kernels::Stream) override {}
};
class Impatient final : public PeerSumWrapper {
 public:
  using PeerSumWrapper::PeerSumWrapper;
  void set_patience_ns(int64_t) override { inner_->set_patience_ns(50'000'000); }
};

// A sum of one rank: what a test does to it.
using Wrap = std::function<std::unique_ptr<PeerSum>(int rank, std::unique_ptr<PeerSum>)>;

struct Start {
  int n_ranks = 2;
  OneShotMode mode = OneShotMode::kAlways;
  Wrap wrap;
  std::string machine_of_last = "a";
  std::vector<int64_t> sizes = {16 << 10, 64 << 10};
};

class OneShot : public ::testing::Test {
 protected:
  // Runs body(group, backend) on a thread per rank; `failed` where there is no group.
  void run(const Start& start, const std::function<void(Group&, kernels::Backend&)>& body,
           const std::function<void(const Error&)>& failed = nullptr) {
    std::vector<Mesh> meshes = make_inproc_meshes(start.n_ranks, 1, clock_);
    std::vector<std::thread> threads;
    threads.reserve(meshes.size());
    for (Mesh& mesh : meshes) {
      threads.emplace_back([&] {
        const int rank = mesh.tp_rank();
        auto backend = kernels::make_emulated_cuda_backend(kernels::ComputeDType::kF32);
        const OneShotInputs inputs{
            .backend = *backend,
            .clock = clock_,
            .make = [&](PeerSumOptions options) -> Result<std::unique_ptr<PeerSum>> {
              options.one_process = true;
              ASSIGN_OR_RETURN(auto sum, kernels::make_emulated_peer_sum(options));
              return start.wrap ? start.wrap(rank, std::move(sum)) : std::move(sum);
            },
            .machine = rank == start.n_ranks - 1 ? start.machine_of_last : "a",
            .mode = start.mode,
            .stop = stops_[static_cast<size_t>(rank)],
            .sizes = start.sizes};
        auto group = with_one_shot(std::move(mesh.tp), inputs);
        if (!group.ok()) {
          if (failed) failed(group.error());
          EXPECT_TRUE(failed) << group.error().message;
          return;
        }
        EXPECT_EQ((*group)->rank(), rank);
        EXPECT_EQ((*group)->size(), start.n_ranks);
        body(**group, *backend);
        (void)(*group)->barrier({.step = StepId(9), .op = "end"});
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  static OpContext context() { return {.step = StepId(3), .op = "layer 1 mlp all_reduce"}; }

  // A row of `width` with delta = rank + 1; the answer of the group, and the residual sum.
  static Result<bool> sum(Group& group, kernels::Backend& backend, int64_t width,
                          float* first = nullptr) {
    ASSIGN_OR_RETURN(const auto delta, backend.allocate(static_cast<size_t>(width) * 4));
    ASSIGN_OR_RETURN(const auto residual, backend.allocate(static_cast<size_t>(width) * 4));
    auto* values = static_cast<float*>(delta->data());
    for (int64_t i = 0; i < width; ++i) values[i] = static_cast<float>(group.rank() + 1);
    ASSIGN_OR_RETURN(const bool done,
                     group.all_reduce_into_residual(
                         {.residual = TensorView(residual->data(), DType::kF32, {1, width}),
                          .delta = TensorView(delta->data(), DType::kF32, {1, width})},
                         context()));
    if (first != nullptr) *first = *static_cast<const float*>(residual->data());
    return done;
  }

  SystemClock clock_;
  std::vector<std::shared_ptr<OneShotStop>> stops_ = std::vector<std::shared_ptr<OneShotStop>>(8);
};

TEST_F(OneShot, SumsWhatAWindowHoldsAndNoMore) {
  for (const int n_ranks : {2, 3, 8}) {
    run({.n_ranks = n_ranks}, [&](Group& group, kernels::Backend& backend) {
      float first = 0;
      const auto done = sum(group, backend, 1000, &first);
      ASSERT_TRUE(done.ok());
      EXPECT_TRUE(*done);
      EXPECT_TRUE(group.check_enqueued(context()).ok());
      EXPECT_EQ(first, static_cast<float>(n_ranks * (n_ranks + 1)) / 2);
      const auto too_much = sum(group, backend, (16 << 10) + 1, &first);
      ASSERT_TRUE(too_much.ok());
      EXPECT_FALSE(*too_much);
      EXPECT_EQ(first, 0) << "nothing is done";
    });
  }
}

TEST_F(OneShot, MeasuresAndChoosesAlikeOnAllRanks) {
  std::vector<int> answers(3, -1);
  run({.n_ranks = 3, .mode = OneShotMode::kAuto, .sizes = {16 << 10}},
      [&](Group& group, kernels::Backend& backend) {
        int bits = 0;
        for (const int64_t width : {100, 4096, 5000}) {
          const auto done = sum(group, backend, width);
          ASSERT_TRUE(done.ok());
          bits = bits * 2 + (*done ? 1 : 0);
        }
        answers[static_cast<size_t>(group.rank())] = bits;
      });
  EXPECT_GE(answers[0], 0);
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
  EXPECT_EQ(answers[0] % 2, 0) << "beyond the largest size";
}

TEST_F(OneShot, NeverIsTheGroupItself) {
  run({.mode = OneShotMode::kNever,
       .wrap = [](int, std::unique_ptr<PeerSum>) -> std::unique_ptr<PeerSum> {
         ADD_FAILURE() << "asked for a sum";
         return nullptr;
       }},
      [&](Group& group, kernels::Backend& backend) {
        const auto done = sum(group, backend, 100);
        ASSERT_TRUE(done.ok());
        EXPECT_FALSE(*done);
      });
}

// What one rank finds, all act on: by themselves where nothing is forced, else with the reason.
TEST_F(OneShot, OneRanksReasonIsEveryRanks) {
  struct Case {
    const char* reason;
    Wrap wrap;
    std::string machine = "a";
  };
  const std::vector<Case> cases = {
      {"rank 1: the GPU at 0000:41:00.0 cannot be reached",
       [](int rank, std::unique_ptr<PeerSum> sum) -> std::unique_ptr<PeerSum> {
         if (rank != 1) return sum;
         return std::make_unique<NoPeer>(std::move(sum));
       }},
      {"rank 0: element 4095 of 1 x 4096 is",
       [](int rank, std::unique_ptr<PeerSum> sum) -> std::unique_ptr<PeerSum> {
         if (rank != 0) return sum;
         return std::make_unique<Wrong>(std::move(sum));
       }},
      {"rank 0: a rank's flag did not arrive",
       [](int rank, std::unique_ptr<PeerSum> sum) -> std::unique_ptr<PeerSum> {
         if (rank == 1) return std::make_unique<Mute>(std::move(sum));
         return std::make_unique<Impatient>(std::move(sum));
       }},
      {"its ranks are on several machines", nullptr, "b"},
  };
  for (const Case& c : cases) {
    std::atomic<int> n_refused = 0;
    run(
        {.wrap = c.wrap, .machine_of_last = c.machine},
        [&](Group&, kernels::Backend&) { ADD_FAILURE() << c.reason; },
        [&](const Error& error) {
          ++n_refused;
          EXPECT_EQ(error.code, ErrorCode::kFailedPrecondition);
          EXPECT_THAT(error.message, HasSubstr("`replicas.all_reduce` is one_shot"));
          EXPECT_THAT(error.message, HasSubstr(c.reason));
        });
    EXPECT_EQ(n_refused, 2);
    run({.mode = OneShotMode::kAuto, .wrap = c.wrap, .machine_of_last = c.machine},
        [&](Group& group, kernels::Backend& backend) {
          const auto done = sum(group, backend, 100);
          ASSERT_TRUE(done.ok());
          EXPECT_FALSE(*done) << c.reason;
        });
  }
}

// A rank that is lost: the inner group's failure stops the kernel that waits, and no later
// operation hands out what it left.
TEST_F(OneShot, AFailureOfTheGroupEndsAWait) {
  for (auto& stop : stops_) stop = std::make_shared<OneShotStop>(nullptr);
  run({}, [&](Group& group, kernels::Backend& backend) {
    if (group.rank() == 1) return;
    std::thread watcher([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      abort_sums(*stops_[0]);
    });
    const auto begin = std::chrono::steady_clock::now();
    (void)sum(group, backend, 1000);
    watcher.join();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    EXPECT_FALSE(group.check_enqueued(context()).ok());
    const auto later = sum(group, backend, 1000);
    ASSERT_FALSE(later.ok());
    EXPECT_THAT(later.error().message, HasSubstr("step 3, 'layer 1 mlp all_reduce'"));
    EXPECT_FALSE(group.barrier(context()).ok());
  });
  EXPECT_EQ(stops_[0]->load(), nullptr) << "who is gone is not stopped";
}

}  // namespace
}  // namespace trireme::comm
