#include "parallel/launch/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trireme::launch {
namespace {

// After fork: only async-signal-safe calls until exec.
[[noreturn]] void run_child(const SpawnOptions& options, char* const* argv, char* const* env,
                            int stdout_pipe, int error_pipe, pid_t parent) {
  setsid();
  if (options.parent_death_signal != 0) {
    prctl(PR_SET_PDEATHSIG, options.parent_death_signal);
    if (getppid() != parent) _exit(127);  // the parent ended before the signal was armed
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (stdout_pipe >= 0) dup2(stdout_pipe, STDOUT_FILENO);
  const int null_fd = open("/dev/null", O_RDONLY);
  if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
  execvpe(argv[0], argv, env);
  const int error = errno;
  if (write(error_pipe, &error, sizeof(error)) < 0) _exit(126);
  _exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (std::string& text : strings) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::spawn(const SpawnOptions& options) {
  std::vector<std::string> argv_strings = options.argv;
  std::vector<std::string> env_strings;
  for (char** entry = environ; *entry != nullptr; ++entry) env_strings.emplace_back(*entry);
  for (const auto& [name, value] : options.environment) env_strings.push_back(name + "=" + value);
  const std::vector<char*> argv = pointers(argv_strings);
  const std::vector<char*> env = pointers(env_strings);

  int stdout_pipe[2] = {-1, -1};
  int error_pipe[2] = {-1, -1};
  if (pipe2(error_pipe, O_CLOEXEC) != 0 ||
      (options.capture_stdout && pipe2(stdout_pipe, O_CLOEXEC) != 0)) {
    return internal_error(std::string("cannot make a pipe: ") + strerror(errno));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) run_child(options, argv.data(), env.data(), stdout_pipe[1], error_pipe[1], parent);
  close(error_pipe[1]);
  if (stdout_pipe[1] >= 0) close(stdout_pipe[1]);
  if (pid < 0) return internal_error(std::string("cannot fork: ") + strerror(errno));

  int exec_error = 0;
  const ssize_t n = read(error_pipe[0], &exec_error, sizeof(exec_error));
  close(error_pipe[0]);
  if (n == sizeof(exec_error)) {
    waitpid(pid, nullptr, 0);
    if (stdout_pipe[0] >= 0) close(stdout_pipe[0]);
    return not_found("cannot start " + options.argv[0] + ": " + strerror(exec_error));
  }
  auto child = std::unique_ptr<ChildProcess>(new ChildProcess());
  child->pid_ = pid;
  child->pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  child->stdout_fd_ = stdout_pipe[0];
  if (child->stdout_fd_ >= 0) fcntl(child->stdout_fd_, F_SETFL, O_NONBLOCK);
  return child;
}

ChildProcess::~ChildProcess() {
  if (!poll_exit()) {
    signal_group(SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
  }
  if (pidfd_ >= 0) close(pidfd_);
  if (stdout_fd_ >= 0) close(stdout_fd_);
}

std::optional<int> ChildProcess::poll_exit() {
  if (!status_) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  }
  return status_;
}

void ChildProcess::signal(int signal_number) {
  if (!poll_exit()) kill(pid_, signal_number);
}

void ChildProcess::signal_group(int signal_number) {
  if (!poll_exit()) kill(-pid_, signal_number);
}

std::string describe_exit(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const char* name = sigabbrev_np(WTERMSIG(wait_status));
    return std::string("killed by SIG") + (name != nullptr ? name : "?");
  }
  return "exit code " + std::to_string(WEXITSTATUS(wait_status));
}

int exit_code_of(int wait_status) { return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1; }

}  // namespace trireme::launch
