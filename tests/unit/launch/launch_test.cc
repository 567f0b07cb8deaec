// Child processes, run folders and the parent watch, with real processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "parallel/launch/child_process.h"
#include "parallel/launch/model_fingerprint.h"
#include "parallel/launch/process_guard.h"
#include "parallel/launch/run_dir.h"

namespace trireme::launch {
namespace {

namespace fs = std::filesystem;

int wait_for_exit(ChildProcess& child) {
  pollfd fd{child.pidfd(), POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 60'000), 1);
  const auto status = child.poll_exit();
  EXPECT_TRUE(status.has_value());
  return status.value_or(-1);
}

TEST(ChildProcess, TellsExitCodeAndSignal) {
  auto child = ChildProcess::spawn({.argv = {"sh", "-c", "exit 3"}});
  ASSERT_TRUE(child.ok()) << child.error().message;
  const int status = wait_for_exit(**child);
  EXPECT_EQ(describe_exit(status), "exit code 3");
  EXPECT_EQ(exit_code_of(status), 3);

  auto killed = ChildProcess::spawn({.argv = {"sleep", "60"}});
  ASSERT_TRUE(killed.ok());
  (*killed)->signal(SIGKILL);
  EXPECT_EQ(describe_exit(wait_for_exit(**killed)), "killed by SIGKILL");
}

TEST(ChildProcess, AMissingProgramIsAnError) {
  auto child = ChildProcess::spawn({.argv = {"/no/such/program"}});
  ASSERT_FALSE(child.ok());
  EXPECT_EQ(child.error().code, ErrorCode::kNotFound);
  EXPECT_NE(child.error().message.find("/no/such/program"), std::string::npos);
}

TEST(ChildProcess, CapturesStdoutAndPassesEnvironment) {
  auto child = ChildProcess::spawn({.argv = {"sh", "-c", "echo $WORD"},
                                    .environment = {{"WORD", "oars"}},
                                    .capture_stdout = true});
  ASSERT_TRUE(child.ok());
  wait_for_exit(**child);
  char buffer[64] = {};
  EXPECT_EQ(read((*child)->stdout_fd(), buffer, sizeof(buffer)), 5);
  EXPECT_STREQ(buffer, "oars\n");
}

// Every process of the group holds the pipe's write end, so its end is the end of them all. A
// check by kill(-group, 0) would also count what the kernel has yet to reap.
TEST(ChildProcess, DestructorEndsTheWholeGroup) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  {
    auto child = ChildProcess::spawn({.argv = {"sh", "-c", "sleep 60 & wait"}});
    close(fds[1]);
    ASSERT_TRUE(child.ok());
    pollfd open_end{fds[0], POLLIN, 0};
    EXPECT_EQ(poll(&open_end, 1, 50), 0) << "the group ended by itself";
  }
  pollfd fd{fds[0], POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 60'000), 1) << "a process of the group is still there";
  EXPECT_NE(fd.revents & POLLHUP, 0);
  close(fds[0]);
}

TEST(ParentWatch, FiresWhenTheParentIsKilled) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    if (fork() == 0) {  // the watcher: writes one byte when its parent has ended
      ParentWatch watch([&] {
        if (write(fds[1], "x", 1) != 1) _exit(1);
        _exit(0);
      });
      if (write(fds[1], "r", 1) != 1) _exit(1);
      pause();
    }
    pause();
  }
  char byte = 0;
  ASSERT_EQ(read(fds[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'r');
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  pollfd fd{fds[0], POLLIN, 0};
  ASSERT_EQ(poll(&fd, 1, 60'000), 1) << "the watcher did not notice";
  EXPECT_EQ(read(fds[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(RunDir, IsPrivateAndGoesAway) {
  const std::string state =
      fs::temp_directory_path() / ("trireme-launch-test-" + std::to_string(getpid()));
  std::string path;
  {
    auto run = RunDir::create(state);
    ASSERT_TRUE(run.ok()) << run.error().message;
    path = (*run)->path();
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    // A folder of a run that has ended is removed by the next one; its process id is past the
    // kernel's maximum.
    fs::create_directories(state + "/run/4194999");
    auto second = RunDir::create(state);
    EXPECT_FALSE(fs::exists(state + "/run/4194999"));
  }
  EXPECT_FALSE(fs::exists(path));
  fs::remove_all(state);
}

TEST(RunDir, AnImpossibleFolderIsAnError) {
  auto run = RunDir::create("/proc/trireme");
  ASSERT_FALSE(run.ok());
  EXPECT_NE(run.error().message.find("/proc/trireme"), std::string::npos);
}

// Of a GGUF model the fingerprint is that of its files, whichever way the path names them.
TEST(Fingerprint, OfAGgufFolderAndItsFile) {
  const fs::path folder = fs::path(testing::TempDir()) / "fingerprint_gguf";
  fs::create_directories(folder);
  const std::string golden = std::string(TRIREME_SOURCE_DIR) + "/tests/golden/formats/gguf/";
  const std::string file = (folder / "m.gguf").string();
  fs::copy_file(golden + "llama_q2_k/model.gguf", file, fs::copy_options::overwrite_existing);
  const auto print = [](const std::string& path) {
    const auto made = model_fingerprint({.model_dir = path, .plan = "tp 1 x pp 1"});
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.ok() ? *made : std::string();
  };
  const std::string first = print(folder.string());
  EXPECT_EQ(first.size(), 32u);
  EXPECT_EQ(first, print(file));
  fs::copy_file(golden + "grok1_q8_0/model.gguf", file, fs::copy_options::overwrite_existing);
  EXPECT_NE(first, print(folder.string()));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace trireme::launch
