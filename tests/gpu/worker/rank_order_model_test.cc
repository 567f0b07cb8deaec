// Batch invariance with tensor parallelism, on the emulator: the ranks' sums go one-shot over their
// memory, or through exchanges in rank order where a window is too small or the layers have no such
// sums, as on GPUs. A request's tokens and logits are the same bits alone and in company, whole and
// in chunks, and whichever way its rows were summed.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "parallel/comm/one_shot/one_shot_group.h"
#include "parallel/comm/rank_order/rank_order_group.h"
#include "tests/gpu/comm/peer_sum_wrapper.h"
#include "tests/gpu/comm/thread_exchange.h"
#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"

namespace trireme::worker {
namespace {

struct Counts {
  std::atomic<int> one_shot = 0;
  std::atomic<int> exchanges = 0;
};

class CountingSum final : public kernels::testing::PeerSumWrapper {
 public:
  CountingSum(std::unique_ptr<kernels::PeerSum> inner, Counts& counts)
      : PeerSumWrapper(std::move(inner)), counts_(counts) {}
  void add_rms_norm(const kernels::AddRmsNormArgs& args, kernels::Stream stream) override {
    ++counts_.one_shot;
    inner_->add_rms_norm(args, stream);
  }

 private:
  Counts& counts_;
};

class CountingExchange final : public comm::testing::ThreadExchange {
 public:
  CountingExchange(std::unique_ptr<comm::Group> inner, Counts& counts)
      : ThreadExchange(std::move(inner)), counts_(counts) {}
  Status exchange(std::span<const TensorView> to, std::span<const TensorView> from,
                  const comm::OpContext& context) override {
    ++counts_.exchanges;
    return ThreadExchange::exchange(to, from, context);
  }

 private:
  Counts& counts_;
};

struct Case {
  const char* model;
  int tp = 2;
  int n_requests = 8;
  int n_longest = 70;        // tokens; a window holds 64 rows
  bool has_one_shot = true;  // its layers' sums are of that kind
};

class RankOrderModel : public testing::TestWithParam<Case> {
 protected:
  // How a replica's ranks sum: as the groups on hosts do, or on the device with or without one-shot
  // sums.
  enum class Way : uint8_t { kHost, kExchange, kOneShot };

  std::unique_ptr<TestReplica> replica(Way way) {
    ReplicaOptions options{.model_dir = golden_dir(GetParam().model),
                           .tp = GetParam().tp,
                           .make_backend = make_batch_invariant_device,
                           .compute = kernels::ComputeDType::kBF16,
                           .n_blocks = 512};
    if (way != Way::kHost) {
      options.wrap_tp = [this, way](std::unique_ptr<comm::Group> tp, kernels::Backend& backend) {
        return wrap(way, std::move(tp), backend);
      };
    }
    return std::make_unique<TestReplica>(options);
  }

  std::unique_ptr<comm::Group> wrap(Way way, std::unique_ptr<comm::Group> tp,
                                    kernels::Backend& backend) {
    auto sums = comm::with_rank_order_sums(
        std::make_unique<CountingExchange>(std::move(tp), counts_),
        {.backend = backend, .sum = kernels::emulated_term_sum, .workspace_bytes = 40 << 10});
    CHECK(sums.ok()) << sums.error().message;
    if (way == Way::kExchange) return std::move(*sums);
    auto group = comm::with_one_shot(
        std::move(*sums),
        {.backend = backend,
         .clock = clock_,
         .make = [this](kernels::PeerSumOptions o) -> Result<std::unique_ptr<kernels::PeerSum>> {
           o.one_process = true;
           ASSIGN_OR_RETURN(auto sum, kernels::make_emulated_peer_sum(o));
           return std::unique_ptr<kernels::PeerSum>(
               std::make_unique<CountingSum>(std::move(sum), counts_));
         },
         .machine = "a",
         .mode = comm::OneShotMode::kAlways,
         .same_bits = true,
         .sizes = {16 << 10}});
    CHECK(group.ok()) << group.error().message;
    return std::move(*group);
  }

  static TestSequence request(int n_prompt, uint64_t seed) {
    TestSequence sequence;
    sequence.prompt = make_prompt(n_prompt, seed, 512);
    sequence.sampling = greedy_sampling();
    sequence.n_new = 3;
    return sequence;
  }

  static void expect_same(const Generated& a, const Generated& b) {
    EXPECT_EQ(a.tokens, b.tokens);
    ASSERT_EQ(a.logits.size(), b.logits.size());
    for (size_t i = 0; i < a.logits.size(); ++i) {
      ASSERT_EQ(
          std::memcmp(a.logits[i].data(), b.logits[i].data(), a.logits[i].size() * sizeof(float)),
          0)
          << "row " << i;
    }
  }

  SystemClock clock_;
  Counts counts_;
};

TEST_P(RankOrderModel, ARequestDoesNotDependOnItsBatchNorOnTheWay) {
  std::vector<TestSequence> all;
  const auto n_requests = static_cast<size_t>(GetParam().n_requests);
  for (size_t i = 0; i < n_requests; ++i) {
    all.push_back(request(3 + static_cast<int>(i * 7 % 11), i));
  }
  const TestSequence longest = request(GetParam().n_longest, 77);
  const TestSequence beside = request(GetParam().n_longest, 78);
  std::vector<Generated> together;  // on the host's sums
  Generated whole;
  {
    const auto host = replica(Way::kHost);
    together = generate(*host, all);
    whole = generate(*host, {longest})[0];
  }
  for (const Way way : {Way::kExchange, Way::kOneShot}) {
    SCOPED_TRACE(way == Way::kOneShot ? "one-shot" : "exchanges");
    counts_.one_shot = counts_.exchanges = 0;
    const auto device = replica(way);
    const int one_shot_at_start = counts_.one_shot, exchanges_at_start = counts_.exchanges;
    const auto here = generate(*device, all);
    for (size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i));
      expect_same(here[i], together[i]);
    }
    EXPECT_GT(counts_.exchanges, exchanges_at_start) << "many rows, and the embedding";
    const bool uses_one_shot = way == Way::kOneShot && GetParam().has_one_shot;
    EXPECT_EQ(counts_.one_shot > one_shot_at_start, uses_one_shot);
    EXPECT_GT(device->n_graphs(), 0) << "sums are recorded";
    for (const size_t i : {size_t{0}, n_requests - 1}) {
      SCOPED_TRACE("request " + std::to_string(i) + " alone");
      expect_same(generate(*device, {all[i]})[0], together[i]);
    }
    for (const int chunk : {1 << 20, 33}) {
      SCOPED_TRACE("chunks of " + std::to_string(chunk));
      expect_same(generate(*device, {longest, beside}, chunk)[0], whole);
    }
  }
}

// Plain pre-norm layers, many requests, and a prefill that is summed by slices; experts; norms
// behind the blocks; a norm over a cut projection, whose sum of squares is a sum over ranks too.
INSTANTIATE_TEST_SUITE_P(Models, RankOrderModel,
                         testing::Values(Case{"llama3", 2, 32}, Case{"llama3", 4, 3, 140},
                                         Case{"mixtral", 2, 4}, Case{"gemma2", 4, 4, 30, false},
                                         Case{"olmo2", 2, 4, 30, false}),
                         [](const testing::TestParamInfo<Case>& test) {
                           return std::string(test.param.model) + "_tp" +
                                  std::to_string(test.param.tp);
                         });

}  // namespace
}  // namespace trireme::worker
