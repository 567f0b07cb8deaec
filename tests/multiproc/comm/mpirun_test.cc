// Meshes of real processes under the real mpirun: results, failures, and that nothing is left
// running.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

extern char** environ;

namespace trireme::comm {
namespace {

using Timer = std::chrono::steady_clock;
constexpr auto kJobLimit = std::chrono::seconds(120);

// Processes whose environment holds `token`: those of one job of this test, wherever they are in
// the process tree.
std::vector<pid_t> processes_with(const std::string& token) {
  std::vector<pid_t> found;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || pid == getpid()) continue;
    std::ifstream file("/proc/" + std::string(entry->d_name) + "/environ", std::ios::binary);
    std::stringstream environment;
    environment << file.rdbuf();
    if (environment.str().find(token) != std::string::npos) found.push_back(pid);
  }
  closedir(proc);
  return found;
}

struct Outcome {
  int exit_code = -1;  // of mpirun; -1: it had to be killed
  std::string output;
  bool left_processes = false;
};

// Runs mpirun with `arguments` and waits for it and for all that it started.
class Job {
 public:
  explicit Job(const std::vector<std::string>& arguments)
      : token_("TRIREME_TEST_JOB=" + std::to_string(getpid()) + "." +
               std::to_string(Timer::now().time_since_epoch().count())) {
    int pipe_ends[2];
    EXPECT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
    read_end_ = pipe_ends[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
    std::vector<std::string> words = arguments;
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.push_back(*variable);
    }
    environment.push_back(token_.data());
    environment.push_back(nullptr);
    EXPECT_EQ(posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environment.data()), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_ends[1]);
  }

  Outcome wait() {
    Outcome outcome;
    const auto end = Timer::now() + kJobLimit;
    bool open = true;
    while (open && Timer::now() < end) {
      pollfd readable{read_end_, POLLIN, 0};
      if (poll(&readable, 1, 100) <= 0) continue;
      char buffer[4096];
      const ssize_t n = read(read_end_, buffer, sizeof(buffer));
      if (n > 0) outcome.output.append(buffer, static_cast<size_t>(n));
      open = n > 0;
    }
    close(read_end_);
    if (open) kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    if (!open && WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
    // Ranks may take a moment to follow their mpirun.
    const auto last_look = Timer::now() + std::chrono::seconds(30);
    std::vector<pid_t> left = processes_with(token_);
    while (!left.empty() && Timer::now() < last_look) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      left = processes_with(token_);
    }
    outcome.left_processes = !left.empty();
    for (const pid_t pid : left) kill(pid, SIGKILL);
    return outcome;
  }

 private:
  std::string token_;
  pid_t pid_ = 0;
  int read_end_ = -1;
};

Outcome run_mesh(const std::string& scenario, int tp, int pp, const std::string& path,
                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {TRIREME_MPIRUN, "--oversubscribe", "--allow-run-as-root",
                                        "-np", std::to_string(tp * pp)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  for (const std::string& word : {std::string(TRIREME_BIN_DIR "/comm_mesh_ranks"), scenario,
                                  std::to_string(tp), std::to_string(pp), path}) {
    arguments.push_back(word);
  }
  return Job(arguments).wait();
}

void expect_good(const Outcome& outcome) {
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_FALSE(outcome.left_processes);
}

struct Shape {
  int tp;
  int pp;
  const char* path;
};
class MpirunMesh : public ::testing::TestWithParam<Shape> {};

TEST_P(MpirunMesh, EveryOperationOfEveryGroupIsRight) {
  const Shape shape = GetParam();
  expect_good(run_mesh("cases", shape.tp, shape.pp, shape.path));
}

INSTANTIATE_TEST_SUITE_P(Shapes, MpirunMesh,
                         ::testing::Values(Shape{2, 1, "shm"}, Shape{4, 1, "shm"},
                                           Shape{1, 2, "shm"}, Shape{1, 4, "shm"},
                                           Shape{2, 2, "shm"}, Shape{2, 1, "network"},
                                           Shape{3, 1, "network"}, Shape{2, 2, "network"}),
                         [](const auto& shape) {
                           return "tp" + std::to_string(shape.param.tp) + "pp" +
                                  std::to_string(shape.param.pp) + shape.param.path;
                         });

class MpirunPath : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Paths, MpirunPath, ::testing::Values("shm", "network"),
                         [](const auto& path) { return std::string(path.param); });

TEST_P(MpirunPath, ManyShortOperationsStayInStep) {
  expect_good(run_mesh("many", 2, 2, GetParam()));
}
TEST_P(MpirunPath, AbortEndsEveryRanksOperation) {
  expect_good(run_mesh("abort", 2, 2, GetParam()));
}
TEST_P(MpirunPath, ALateRankIsNamedByTheOthers) { expect_good(run_mesh("late", 3, 1, GetParam())); }
TEST_P(MpirunPath, AStoppedRankIsNamedByTheOthers) {
  expect_good(run_mesh("stop", 2, 2, GetParam()));
}
TEST_P(MpirunPath, WaitingCostsNextToNothing) { expect_good(run_mesh("idle", 2, 1, GetParam())); }

TEST_P(MpirunPath, AKilledRankEndsTheJobAndLeavesNothing) {
  const auto begin = Timer::now();
  const Outcome outcome = run_mesh("kill", 2, 2, GetParam());
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_NE(outcome.exit_code, -1) << outcome.output;
  EXPECT_LT(Timer::now() - begin, std::chrono::seconds(60));
  EXPECT_FALSE(outcome.left_processes);
}

TEST(MpirunMesh, AJobOfAnotherSizeIsRefusedWithBothNumbers) {
  const Outcome outcome = Job({TRIREME_MPIRUN, "--oversubscribe", "--allow-run-as-root", "-np", "3",
                               TRIREME_BIN_DIR "/comm_mesh_ranks", "cases", "2", "2", "shm"})
                              .wait();
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_NE(outcome.output.find("needs 4 workers, but the job has 3"), std::string::npos)
      << outcome.output;
  EXPECT_FALSE(outcome.left_processes);
}

}  // namespace
}  // namespace trireme::comm
