// ChildProcess: starts a program and tells how it ended. For supervisors; one thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace trireme::launch {

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH when it has no slash
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  int parent_death_signal =
      0;  // what the child gets when the calling thread's process ends; 0: nothing
  bool capture_stdout = false;  // through stdout_fd(), non-blocking
};

class ChildProcess {
 public:
  // The child leads a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone.
  static Result<std::unique_ptr<ChildProcess>> spawn(const SpawnOptions& options);
  // Kills the child's process group with SIGKILL if it still runs, and reaps it.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_; }          // readable once the child has ended
  int stdout_fd() const { return stdout_fd_; }  // -1 unless captured

  // The wait status once the child has ended, nullopt before. Never blocks.
  std::optional<int> poll_exit();
  void signal(int signal_number);
  void signal_group(int signal_number);

 private:
  ChildProcess() = default;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int stdout_fd_ = -1;
  std::optional<int> status_;
};

// "exit code 3" or "killed by SIGKILL".
std::string describe_exit(int wait_status);
// The exit code, or -1 when a signal ended it.
int exit_code_of(int wait_status);

}  // namespace trireme::launch
