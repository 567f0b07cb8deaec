#include "parallel/launch/run_dir.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace trireme::launch {
namespace {

namespace fs = std::filesystem;

Status make_private_dir(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return failed_precondition("cannot make the folder " + path + ": " + error.message() +
                               "; state_dir (serve --state-dir) names another");
  }
  if (chmod(path.c_str(), 0700) != 0) {
    return failed_precondition("the folder " + path + " belongs to somebody else");
  }
  return {};
}

void remove_ended_runs(const std::string& runs) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(runs, error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH) {
      std::error_code ignored;
      fs::remove_all(entry.path(), ignored);
    }
  }
}

}  // namespace

// The one place that reads the environment for a folder.
std::string default_state_dir() {
  if (const char* xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && *xdg == '/') {
    return std::string(xdg) + "/trireme";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return std::string(home) + "/.local/state/trireme";
  }
  return "/tmp/trireme-" + std::to_string(geteuid());
}

Result<std::unique_ptr<RunDir>> RunDir::create(const std::string& state_dir) {
  auto run = std::unique_ptr<RunDir>(new RunDir());
  run->state_dir_ = fs::absolute(state_dir.empty() ? default_state_dir() : state_dir).string();
  TRY(make_private_dir(run->state_dir_));
  const std::string runs = run->state_dir_ + "/run";
  TRY(make_private_dir(runs));
  remove_ended_runs(runs);
  run->path_ = runs + "/" + std::to_string(getpid());
  TRY(make_private_dir(run->path_));
  return run;
}

RunDir::~RunDir() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

}  // namespace trireme::launch
