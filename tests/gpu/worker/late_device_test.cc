// A device that does its work as late as it can, on the emulator: when the host waits for it. A
// host that reads too early, or gives memory away too soon, gets other tokens than from one in
// time.
#include <gtest/gtest.h>

#include <thread>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/steps_ahead.h"

namespace trireme::worker {
namespace {

std::unique_ptr<kernels::Backend> make_late_device(kernels::ComputeDType dtype) {
  kernels::make_emulated_device_late();
  return make_device(dtype);
}

ReplicaOptions on(std::unique_ptr<kernels::Backend> (*make)(kernels::ComputeDType),
                  bool steps_ahead) {
  return {.model_dir = golden_dir("llama"),
          .make_backend = make,
          .compute = kernels::ComputeDType::kBF16,
          .steps_ahead = steps_ahead};
}

std::vector<AheadRequest> requests() {
  std::vector<AheadRequest> requests(4);
  requests[0].sampling = greedy_sampling();
  requests[1].sampling = drawn(0.8f, 7);
  requests[2].sampling = drawn(0.7f, 8);
  requests[2].sampling.top_p = 0.5f;
  requests[3].sampling = greedy_sampling();
  requests[3].first_step = 3;
  requests[3].prompt_steps = 2;
  requests[1].release_step = 6;
  return requests;
}

TEST(LateDevice, GivesWhatOneInTimeGives) {
  TestReplica in_time(on(make_device, false));
  const AheadOutputs want = run_one_by_one(in_time, requests());
  for (const bool steps_ahead : {false, true}) {
    TestReplica late(on(make_late_device, steps_ahead));
    EXPECT_EQ(run_ahead(late, requests()), want) << steps_ahead;
    EXPECT_EQ(late.n_ahead() > 0, steps_ahead);
    EXPECT_GT(late.n_graphs(), 0);
  }
}

// The logits of a flat distribution are needed when others have taken their place.
TEST(LateDevice, KeepsLogitsThatMayBeNeeded) {
  std::vector<AheadRequest> flat = requests();
  flat[2].sampling = drawn(50, 8);
  flat[2].sampling.top_p = 0.97f;
  TestReplica in_time(on(make_device, false));
  TestReplica late(on(make_late_device, true));
  EXPECT_EQ(run_ahead(late, flat), run_one_by_one(in_time, flat));
  EXPECT_GT(late.n_redone(), 0) << "most of what is kept is not among the candidates";
}

// Rules and probabilities are read on the host.
TEST(LateDevice, IsWaitedForByTheSampler) {
  std::vector<AheadRequest> read = requests();
  read[0].sampling.presence_penalty = 0.5f;
  read[1].sampling.n_logprobs = 3;
  TestReplica in_time(on(make_device, false));
  TestReplica late(on(make_late_device, true));
  EXPECT_EQ(run_ahead(late, read), run_one_by_one(in_time, read));
}

// Small copies are on their way in pinned memory, which is used again when they are done.
TEST(LateDevice, HasReadWhatIsWrittenOver) {
  std::thread([] {
    const auto device = make_late_device(kernels::ComputeDType::kF32);
    constexpr size_t kBytes = 3000;
    std::vector<std::unique_ptr<kernels::Buffer>> buffers;
    for (int i = 0; i < 40; ++i) {
      auto buffer = device->allocate(kBytes);
      ASSERT_TRUE(buffer.ok());
      buffers.push_back(std::move(*buffer));
    }
    for (size_t i = 0; i < buffers.size(); ++i) {
      const std::vector<char> bytes(kBytes, static_cast<char>(i));
      device->copy_to_device(buffers[i]->data(), bytes.data(), kBytes, {});
    }
    for (size_t i = 0; i < buffers.size(); ++i) {
      std::vector<char> bytes(kBytes);
      device->copy_to_host(bytes.data(), buffers[i]->data(), kBytes, {});
      EXPECT_EQ(bytes, std::vector<char>(kBytes, static_cast<char>(i))) << i;
    }
  }).join();
}

}  // namespace
}  // namespace trireme::worker
