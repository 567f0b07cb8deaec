#include "parallel/wire/curve_keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace trireme::wire {
namespace {

namespace fs = std::filesystem;

class CurveKeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trireme-keys-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    state_dir_ = name;
  }
  void TearDown() override { fs::remove_all(state_dir_); }

  fs::path file(const char* name) const { return state_dir_ / "curve" / name; }
  static int mode(const fs::path& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? static_cast<int>(info.st_mode & 0777) : -1;
  }

  fs::path state_dir_;
};

TEST_F(CurveKeysTest, TheFirstStartMakesKeysAndTheSecondFindsThem) {
  const auto first = load_or_create_keys(state_dir_.string());
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->server.public_key.size(), 40u);
  EXPECT_EQ(first->client.server_key, first->server.public_key);
  EXPECT_EQ(first->server.allowed_clients, std::vector<std::string>{first->client.public_key});
  EXPECT_NE(first->client.public_key, first->server.public_key);
  EXPECT_EQ(mode(state_dir_ / "curve"), 0700);
  for (const char* name : {"router.key", "replica.key", "allowed_replicas"}) {
    EXPECT_EQ(mode(file(name)), 0600) << name;
  }
  const auto second = load_or_create_keys(state_dir_.string());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->server.secret_key, first->server.secret_key);
  EXPECT_EQ(second->client.secret_key, first->client.secret_key);
}

TEST_F(CurveKeysTest, ProcessesThatStartAtOnceEndWithTheSameKeys) {
  constexpr int kProcesses = 8;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto keys = load_or_create_keys(state_dir_.string());
      if (!keys.ok()) ::_exit(1);
      std::ofstream out(state_dir_ / ("seen." + std::to_string(i)));
      out << keys->server.secret_key << keys->client.secret_key
          << keys->server.allowed_clients.at(0);
      out.close();
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  std::set<std::string> seen;
  for (int i = 0; i < kProcesses; ++i) {
    std::ifstream in(state_dir_ / ("seen." + std::to_string(i)));
    std::string text;
    in >> text;
    EXPECT_EQ(text.size(), 120u);
    seen.insert(text);
  }
  EXPECT_EQ(seen.size(), 1u);
}

TEST_F(CurveKeysTest, FilesThatOthersCanReadAreRefused) {
  ASSERT_TRUE(load_or_create_keys(state_dir_.string()).ok());
  for (const char* name : {"router.key", "replica.key", "allowed_replicas"}) {
    ASSERT_EQ(::chmod(file(name).c_str(), 0640), 0);
    const auto keys = load_or_create_keys(state_dir_.string());
    ASSERT_FALSE(keys.ok()) << name;
    EXPECT_EQ(keys.error().code, ErrorCode::kPermissionDenied);
    EXPECT_NE(keys.error().message.find("mode 640"), std::string::npos) << keys.error().message;
    ASSERT_EQ(::chmod(file(name).c_str(), 0600), 0);
  }
  ASSERT_EQ(::chmod((state_dir_ / "curve").c_str(), 0755), 0);
  EXPECT_EQ(load_or_create_keys(state_dir_.string()).error().code, ErrorCode::kPermissionDenied);
}

TEST_F(CurveKeysTest, DamagedFilesAreNamed) {
  const auto good = load_or_create_keys(state_dir_.string());
  ASSERT_TRUE(good.ok());
  const auto overwrite = [&](const char* name, const std::string& text) {
    std::ofstream(file(name), std::ios::trunc) << text;
  };
  overwrite("replica.key", "public abc\n");
  auto keys = load_or_create_keys(state_dir_.string());
  ASSERT_FALSE(keys.ok());
  EXPECT_EQ(keys.error().code, ErrorCode::kDataLoss);
  EXPECT_NE(keys.error().message.find("replica.key"), std::string::npos);
  // Two good halves of different pairs.
  overwrite("replica.key",
            "public " + good->server.public_key + "\nsecret " + good->client.secret_key + "\n");
  EXPECT_EQ(load_or_create_keys(state_dir_.string()).error().code, ErrorCode::kDataLoss);
  overwrite("replica.key",
            "public " + good->client.public_key + "\nsecret " + good->client.secret_key + "\n");
  overwrite("allowed_replicas", "# mine\nallow " + good->client.public_key + "\nlet-in x\n");
  keys = load_or_create_keys(state_dir_.string());
  ASSERT_FALSE(keys.ok());
  EXPECT_NE(keys.error().message.find("line 3"), std::string::npos) << keys.error().message;
}

TEST_F(CurveKeysTest, TheAllowListIsTheOwnersToEdit) {
  const auto good = load_or_create_keys(state_dir_.string());
  ASSERT_TRUE(good.ok());
  const auto other = make_curve_pair();
  ASSERT_TRUE(other.ok());
  std::ofstream(file("allowed_replicas"), std::ios::app)
      << "\n# the second rack\nallow " << other->public_key << " rack two\n";
  const auto keys = load_or_create_keys(state_dir_.string());
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  EXPECT_EQ(keys->server.allowed_clients,
            (std::vector<std::string>{good->client.public_key, other->public_key}));
}

TEST_F(CurveKeysTest, NoFolderIsASentence) {
  EXPECT_FALSE(load_or_create_keys("").ok());
  std::ofstream(state_dir_ / "file") << "x";
  const auto keys = load_or_create_keys((state_dir_ / "file").string());
  ASSERT_FALSE(keys.ok());
  EXPECT_EQ(keys.error().code, ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace trireme::wire
