// NCCL groups of one, two and four ranks, processes that share one GPU.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace trireme::comm {
namespace {

class NcclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Asked in a process of its own: this one forks, and must not have touched the driver before.
    const pid_t child = fork();
    if (child == 0) {
      _exit(kernels::make_cuda_backend({.compute_dtype = kernels::ComputeDType::kF32}).ok() ? 0
                                                                                            : 1);
    }
    int state = 0;
    waitpid(child, &state, 0);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
      GTEST_SKIP() << "no GPU that this build runs on";
  }

  static void run(const std::string& scenario, int size) {
    const std::string id_file = ::testing::TempDir() + "trireme_nccl_" + std::to_string(getpid()) +
                                "_" + scenario + "_" + std::to_string(size);
    std::filesystem::remove(id_file);
    std::vector<pid_t> children;
    for (int rank = 0; rank < size; ++rank) {
      const pid_t child = fork();
      if (child == 0) {
        setenv("NCCL_HOSTID", ("trireme-test-" + std::to_string(rank)).c_str(), 1);
        setenv("NCCL_SOCKET_IFNAME", "lo", 1);
        setenv("NCCL_IB_DISABLE", "1", 1);
        const std::string binary = std::string(TRIREME_BIN_DIR) + "/nccl_ranks";
        execl(binary.c_str(), binary.c_str(), scenario.c_str(), std::to_string(rank).c_str(),
              std::to_string(size).c_str(), id_file.c_str(), static_cast<char*>(nullptr));
        _exit(127);
      }
      children.push_back(child);
    }
    for (size_t rank = 0; rank < children.size(); ++rank) {
      int state = 0;
      ASSERT_EQ(waitpid(children[rank], &state, 0), children[rank]);
      EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0)
          << scenario << ": rank " << rank << " of " << size << " ended with " << state;
    }
    std::filesystem::remove(id_file);
  }
};

TEST_F(NcclTest, OneRank) { run("collectives", 1); }
TEST_F(NcclTest, TwoRanks) { run("collectives", 2); }
TEST_F(NcclTest, FourRanks) { run("collectives", 4); }
TEST_F(NcclTest, RecordedSums) { run("recorded", 2); }
TEST_F(NcclTest, ALostRankIsAnErrorAtTheDeadline) { run("lost", 2); }
TEST_F(NcclTest, OneShotSumsOfTwoRanks) { run("one_shot", 2); }
TEST_F(NcclTest, OneShotSumsOfFourRanks) { run("one_shot", 4); }
TEST_F(NcclTest, SumsInRankOrderOfTwoRanks) { run("rank_order", 2); }
TEST_F(NcclTest, SumsInRankOrderOfFourRanks) { run("rank_order", 4); }
TEST_F(NcclTest, ALostRankEndsAOneShotSumAtTheDeadline) { run("one_shot_lost", 2); }

}  // namespace
}  // namespace trireme::comm
