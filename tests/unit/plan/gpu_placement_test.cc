// Ranks on GPUs: one each, in order, behind other replicas'; what cannot be says so with numbers.
#include "parallel/plan/gpu_placement.h"

#include <gtest/gtest.h>

namespace trireme::plan {
namespace {

using Gpus = std::vector<kernels::cuda::GpuDescription>;

Gpus h200s(int n) { return Gpus(static_cast<size_t>(n), {"NVIDIA H200", 150'754'820'096}); }

std::vector<RankMachine> ranks(std::initializer_list<std::pair<std::string, int>> hosts,
                               const Gpus& gpus, int n_taken = 0) {
  std::vector<RankMachine> machines;
  for (const auto& [host, n] : hosts) {
    for (int i = 0; i < n; ++i) machines.push_back({host, gpus, n_taken});
  }
  return machines;
}

TEST(GpuPlacement, RanksTakeTheGpusOfTheirMachineInOrder) {
  const auto two_nodes = place_on_gpus(ranks({{"a", 2}, {"b", 2}}, h200s(2)), 2);
  ASSERT_TRUE(two_nodes.ok()) << two_nodes.error().message;
  EXPECT_EQ(*two_nodes, (std::vector<int>{0, 1, 0, 1}));
  // A rank's place on its machine counts, not its number.
  const auto turns = place_on_gpus(
      {{"a", h200s(2), 0}, {"b", h200s(2), 0}, {"a", h200s(2), 0}, {"b", h200s(2), 0}}, 1);
  ASSERT_TRUE(turns.ok());
  EXPECT_EQ(*turns, (std::vector<int>{0, 0, 1, 1}));
}

TEST(GpuPlacement, BehindThoseOfEarlierReplicas) {
  const auto second = place_on_gpus(ranks({{"a", 4}}, h200s(8), 4), 4);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(*second, (std::vector<int>{4, 5, 6, 7}));
}

TEST(GpuPlacement, TooFewGpusAreAnErrorWithTheNumbers) {
  const auto four = place_on_gpus(ranks({{"node-a", 4}}, h200s(2)), 4);
  ASSERT_FALSE(four.ok());
  EXPECT_EQ(four.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(four.error().message,
            "node-a has 2 GPUs, but 4 ranks of this replica are to run there, each on a GPU of its "
            "own");
  const auto one = place_on_gpus(ranks({{"node-a", 1}}, h200s(1), 1), 1);
  ASSERT_FALSE(one.ok());
  EXPECT_EQ(one.error().message,
            "node-a has 1 GPU, but 1 rank of this replica is to run there beside 1 rank of earlier "
            "replicas, each on a GPU of its own");
  EXPECT_FALSE(place_on_gpus(ranks({{"a", 2}, {"b", 1}}, h200s(1)), 1).ok());
}

TEST(GpuPlacement, AGroupWantsGpusOfOneModel) {
  Gpus mixed = h200s(2);
  mixed.push_back({"NVIDIA H100", 85'000'000'000});
  mixed.push_back({"NVIDIA H100", 85'000'000'000});
  EXPECT_TRUE(place_on_gpus(ranks({{"a", 4}}, mixed), 2).ok()) << "stages may differ";
  const auto group = place_on_gpus(ranks({{"a", 4}}, mixed), 4);
  ASSERT_FALSE(group.ok());
  EXPECT_EQ(group.error().message,
            "ranks 0 and 2 share each layer, but have a NVIDIA H200 and a NVIDIA H100: a "
            "tensor-parallel group wants GPUs of one model");
}

TEST(GpuPlacement, OneMachineHoldsAllReplicasOrSaysWhatIsMissing) {
  EXPECT_TRUE(check_gpus_of_one_machine(h200s(8), 2, 2, 2).ok());
  const Status third = check_gpus_of_one_machine(h200s(8), 2, 2, 3);
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().message,
            "this machine has 8 GPUs, but 4 ranks of this replica are to run there beside 8 ranks "
            "of earlier replicas, each on a GPU of its own");
}

}  // namespace
}  // namespace trireme::plan
