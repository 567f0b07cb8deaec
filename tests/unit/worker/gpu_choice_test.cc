// Ranks that tell each other of their machines' GPUs, over groups of one process.
#include "worker/gpu_choice.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/clock.h"
#include "parallel/comm/inproc/inproc_world.h"

namespace trireme::worker {
namespace {

using Gpus = std::vector<kernels::cuda::GpuDescription>;

struct Told {
  std::string host;
  Result<Gpus> gpus;
};

// Every rank's answer.
std::vector<Result<int>> choose_all(const std::vector<Told>& told, int tp, int pp) {
  const SystemClock clock;
  std::vector<comm::Mesh> meshes = comm::make_inproc_meshes(tp, pp, clock);
  std::vector<Result<int>> chosen(told.size(), Result<int>(-1));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < told.size(); ++i) {
    threads.emplace_back(
        [&, i] { chosen[i] = choose_gpu(told[i].host, 0, told[i].gpus, meshes[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return chosen;
}

TEST(GpuChoice, TheRanksOfAMachineShareItsGpus) {
  const Gpus two = {{"NVIDIA H200", 1}, {"NVIDIA H200", 1}};
  const auto chosen = choose_all({{"a", two}, {"a", two}, {"b", two}, {"b", two}}, 2, 2);
  const std::vector<int> expected = {0, 1, 0, 1};
  for (size_t i = 0; i < chosen.size(); ++i) {
    ASSERT_TRUE(chosen[i].ok()) << chosen[i].error().message;
    EXPECT_EQ(*chosen[i], expected[i]);
  }
}

TEST(GpuChoice, OneRanksMachineWithoutADriverEndsThemAllWithItsName) {
  const Gpus one = {{"NVIDIA H200", 1}};
  const auto chosen = choose_all(
      {{"a", one}, {"b", failed_precondition("this machine has no NVIDIA driver")}}, 1, 2);
  for (const auto& answer : chosen) {
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().message, "rank 1 on b: this machine has no NVIDIA driver");
  }
}

TEST(GpuChoice, MixedGpusInAGroupEndAllRanks) {
  const auto chosen = choose_all(
      {{"a", Gpus{{"NVIDIA H200", 1}}}, {"b", Gpus{{"NVIDIA A100-SXM4-80GB", 1}}}}, 2, 1);
  for (const auto& answer : chosen) {
    ASSERT_FALSE(answer.ok());
    EXPECT_NE(answer.error().message.find("NVIDIA A100-SXM4-80GB"), std::string::npos);
  }
}

TEST(GpuChoice, NamesLongerThanARecordAreCut) {
  const auto chosen =
      choose_all({{std::string(1000, 'h'), Gpus{{std::string(500, 'g'), 1}}}}, 1, 1);
  ASSERT_TRUE(chosen[0].ok()) << chosen[0].error().message;
  EXPECT_EQ(*chosen[0], 0);
}

}  // namespace
}  // namespace trireme::worker
