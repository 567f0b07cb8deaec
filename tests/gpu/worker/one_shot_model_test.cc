// Models whose tensor-parallel sums go over the ranks' memory, on the emulator: the same bits as
// with the group's own sums, which are in rank order too.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "parallel/comm/forwarding_group.h"
#include "parallel/comm/one_shot/one_shot_group.h"
#include "tests/gpu/comm/peer_sum_wrapper.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/host_exchange.h"
#include "worker/stage_link.h"
#include "worker/stub_group.h"

namespace trireme::worker {
namespace {

// How often a sum of any rank was followed by a norm, and how often not.
struct Counts {
  std::atomic<int> with_norm = 0;
  std::atomic<int> without = 0;
};

class Counting final : public kernels::testing::PeerSumWrapper {
 public:
  Counting(std::unique_ptr<kernels::PeerSum> inner, Counts& counts)
      : PeerSumWrapper(std::move(inner)), counts_(counts) {}
  void add_rms_norm(const kernels::AddRmsNormArgs& args, kernels::Stream stream) override {
    ++(args.weight.defined() ? counts_.with_norm : counts_.without);
    inner_->add_rms_norm(args, stream);
  }

 private:
  Counts& counts_;
};

class OneShotModel : public testing::TestWithParam<const char*> {};

TEST_P(OneShotModel, HasTheSameBits) {
  const Golden golden = load_golden(GetParam());
  Counts counts;
  SystemClock clock;
  const auto wrap = [&](std::unique_ptr<comm::Group> tp, kernels::Backend& backend) {
    auto group = comm::with_one_shot(
        std::move(tp),
        {.backend = backend,
         .clock = clock,
         .make = [&](kernels::PeerSumOptions options) -> Result<std::unique_ptr<kernels::PeerSum>> {
           options.one_process = true;
           ASSIGN_OR_RETURN(auto sum, kernels::make_emulated_peer_sum(options));
           return std::unique_ptr<kernels::PeerSum>(
               std::make_unique<Counting>(std::move(sum), counts));
         },
         .machine = "a",
         .mode = comm::OneShotMode::kAlways,
         .sizes = {64 << 10}});
    CHECK(group.ok()) << group.error().message;
    return std::move(*group);
  };
  int n_layers = 0;
  const auto logits = [&](bool one_shot) {
    ReplicaOptions options{
        .model_dir = golden.dir,
        .tp = 2,
        .make_backend =
            [](kernels::ComputeDType dtype) { return kernels::make_emulated_cuda_backend(dtype); },
        .compute = kernels::ComputeDType::kBF16};
    if (one_shot) options.wrap_tp = wrap;
    TestReplica replica(options);
    n_layers = replica.spec().n_layers();
    counts.with_norm = counts.without = 0;  // of what is tried at start
    std::vector<TestSequence> sequences;
    for (size_t i = 0; i < 2; ++i) {
      TestSequence sequence;
      sequence.prompt = golden.prompts[i].ids;
      sequence.sampling = greedy_sampling();
      sequence.n_new = 2;
      sequences.push_back(sequence);
    }
    return generate(replica, sequences);
  };
  const std::vector<Generated> expected = logits(false);
  EXPECT_EQ(counts.with_norm + counts.without, 0);
  const std::vector<Generated> actual = logits(true);
  EXPECT_GT(counts.without, 0);
  EXPECT_EQ(counts.with_norm, (2 * n_layers - 1) * counts.without)
      << "every sum of a step but the last has a norm behind it";
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].tokens, expected[i].tokens);
    EXPECT_EQ(actual[i].logits, expected[i].logits);
  }
}

// A device's group in which a sum was given up.
class FailedGroup final : public comm::ForwardingGroup {
 public:
  FailedGroup() : ForwardingGroup(std::make_unique<StubGroup>(0, 2)) {}
  Status check_enqueued(const comm::OpContext& context) override {
    return unavailable("given up before " + std::string(context.op));
  }
};

TEST(HostExchange, TellsNothingOfASumThatWasGivenUp) {
  SystemClock clock;
  const auto backend = kernels::make_emulated_cuda_backend(kernels::ComputeDType::kF32);
  FailedGroup device;
  StubGroup host(0, 2);
  HostExchange exchange(*backend, device, &host);
  StepContext context;
  context.backend = backend.get();
  context.clock = &clock;
  std::vector<std::byte> all;
  const Status told = exchange.all_gather({std::byte{1}}, all, "sampling all_gather", context);
  ASSERT_FALSE(told.ok());
  EXPECT_EQ(told.error().message, "given up before sampling all_gather");
}

TEST(StageLink, SendsNothingOfASumThatWasGivenUp) {
  SystemClock clock;
  const auto backend = kernels::make_emulated_cuda_backend(kernels::ComputeDType::kF32);
  comm::Mesh mesh;
  mesh.tp = std::make_unique<FailedGroup>();
  mesh.pp = std::make_unique<StubGroup>(0, 2);  // has no neighbour to send to
  auto link = StageLink::create(*backend, mesh, {.between_machines = {false}});
  ASSERT_TRUE(link.ok());
  StepContext context;
  context.backend = backend.get();
  context.clock = &clock;
  float x = 0;
  const Status sent = link->send({}, TensorView(&x, DType::kF32, {1, 1}), context);
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().message, "given up before hidden states send");
}

INSTANTIATE_TEST_SUITE_P(Models, OneShotModel,
                         testing::Values("llama3", "granite", "mixtral", "deepseek_v2"));

}  // namespace
}  // namespace trireme::worker
