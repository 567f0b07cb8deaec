// What a cluster file leaves open: the share of the machine that a container has, the served name.
#include "parallel/launch/resolve_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "parallel/launch/cgroup_limits.h"

namespace trireme::launch {
namespace {

namespace fs = std::filesystem;

class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() : mount_(fs::path(::testing::TempDir()) / "trireme_cgroup_test") {
    fs::remove_all(mount_);
  }
  ~CgroupTest() override { fs::remove_all(mount_); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((mount_ / file).parent_path());
    std::ofstream(mount_ / file) << text;
  }
  CgroupLimits read(const std::string& membership) const {
    return read_cgroup_limits(membership, mount_.string());
  }

  fs::path mount_;
};

TEST_F(CgroupTest, TheTightestLimitOnTheWayUpCounts) {
  write("memory.max", "max\n");
  write("pod/memory.max", "1000000\n");
  write("pod/cpu.max", "150000 100000\n");
  write("pod/box/memory.max", "max\n");
  write("pod/box/cpu.max", "max 100000\n");
  const CgroupLimits inner = read("0::/pod/box\n");
  EXPECT_EQ(inner.memory_bytes, 1'000'000);
  EXPECT_EQ(inner.cores, 1.5);
  write("pod/box/memory.max", "4096\n");
  EXPECT_EQ(read("0::/pod/box\n").memory_bytes, 4096);
  const CgroupLimits root = read("0::/\n");
  EXPECT_FALSE(root.memory_bytes) << "\"max\" is no limit";
  EXPECT_FALSE(root.cores);
}

TEST_F(CgroupTest, TheFirstVersionHasAHierarchyForEachController) {
  write("memory/box/memory.limit_in_bytes", "2147483648\n");
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
  write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  write("cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  write("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  const std::string membership = "9:name=systemd:/\n4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n";
  EXPECT_EQ(read(membership).memory_bytes, int64_t{1} << 31);
  EXPECT_EQ(read(membership).cores, 4.0);
  EXPECT_EQ(read("4:memory:/not/ours\n").memory_bytes, std::nullopt) << "only the root is there";
}

TEST_F(CgroupTest, NonsenseSetsNoLimit) {
  write("memory.max", "much\n");
  write("cpu.max", "100000\n");
  write("pod/memory.max", "-5\n");
  write("pod/cpu.max", "100000 0\n");
  for (const char* membership :
       {"", "x\n", "::\n", "0::/pod\n", "0::\n", "0::/../..\n", "1:memory\n"}) {
    const CgroupLimits limits = read(membership);
    EXPECT_FALSE(limits.memory_bytes) << membership;
    EXPECT_FALSE(limits.cores) << membership;
  }
}

TEST(ResolveConfig, MemoryStaysWithinTheControlGroup) {
  ClusterConfig config;
  config.model.path = "/models/m";
  config.replicas.count = 1;
  ASSERT_TRUE(resolve_config(config).ok());
  EXPECT_GT(config.replicas.memory_gib, 0);
  EXPECT_GE(config.replicas.threads_per_rank, 1);
  if (const auto limit = own_cgroup_limits().memory_bytes) {
    EXPECT_LE(config.replicas.memory_gib * 1024 * 1024 * 1024, static_cast<double>(*limit) + 1);
  }
}

TEST(ResolveConfig, AModelIsNamedAfterItsFolder) {
  const auto name_of = [](const std::string& path) {
    ClusterConfig config;
    config.model.path = path;
    return resolve_config(config).ok() ? config.model.served_name : "";
  };
  EXPECT_EQ(name_of("/models/llama"), "llama");
  EXPECT_EQ(name_of("/models/llama/"), "llama");
  EXPECT_EQ(name_of("/models/llama/."), "llama");
  EXPECT_EQ(name_of("/models/x/../llama"), "llama");
  EXPECT_EQ(name_of("/models/llama.gguf"), "llama.gguf");
  EXPECT_EQ(name_of("."), fs::current_path().filename().string());
  const std::string cache = "/c/hub/models--Qwen--Qwen3-8B/snapshots/b968826d9c46";
  EXPECT_EQ(name_of(cache), "Qwen/Qwen3-8B") << "a download cache's folder is named by a hash";
  EXPECT_EQ(name_of(cache + "/"), "Qwen/Qwen3-8B");
  EXPECT_EQ(name_of(cache + "/q4.gguf"), "q4.gguf");
  EXPECT_EQ(name_of("/c/snapshots/b968"), "b968");
  EXPECT_EQ(name_of(""), "");
}

}  // namespace
}  // namespace trireme::launch
