// For `trireme bench router`: the router's process, its CPU time and memory, and the cores it has.
#pragma once

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/result.h"

namespace trireme::cli {

// Who runs where: the router on the last core (from 4 cores on the last two) or on as many as it is
// given, the load generator on the others. Where none is left, it shares the router's first one. A
// machine of one core has no choice.
class Cores {
 public:
  explicit Cores(int n_router)  // 0: as said above
      : n_(static_cast<int>(std::thread::hardware_concurrency())) {
    n_router_ = n_ < 2 ? 0 : n_router > 0 ? std::min(n_router, n_) : n_ >= 4 ? 2 : 1;
  }
  void use_for_load() const { use(0, std::max(1, n_ - n_router_)); }
  void use_for_router() const { use(n_ - n_router_, n_); }
  std::string text() const {
    if (n_router_ == 0) return "shared";
    if (n_router_ == n_) return fmt::format("router {}, load 1 of them", n_);
    return fmt::format("router {}, load {}", n_router_, n_ - n_router_);
  }

 private:
  // Of the calling thread, and of what it starts. Where it is not allowed all cores are shared.
  void use(int begin, int end) const {
    if (n_router_ == 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int core = begin; core < end; ++core) CPU_SET(core, &set);
    (void)::sched_setaffinity(0, sizeof(set), &set);
  }

  int n_, n_router_;
};

class RouterProcess {
 public:
  ~RouterProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    ::kill(pid_, SIGTERM);  // at once
    ::waitpid(pid_, nullptr, 0);
  }

  Status start(const std::string& config_path, const Cores& cores) {
    std::error_code error;
    const std::string binary =
        std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string() +
        "/trireme-router";
    if (!std::filesystem::exists(binary, error))
      return not_found("there is no trireme-router beside this program");
    pid_ = ::fork();
    if (pid_ < 0) return internal_error("cannot start a process");
    if (pid_ == 0) {
      cores.use_for_router();
      ::execl(binary.c_str(), binary.c_str(), config_path.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    return {};
  }

  bool alive() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }

  struct Schedule {
    int64_t cpu_ns = 0;     // on a processor
    int64_t waited_ns = 0;  // runnable, and no processor was free
  };

  // So far, over all threads.
  Schedule schedule() const {
    Schedule total;
    std::error_code error;
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_), error)) {
      Schedule thread;
      std::ifstream(task.path() / "schedstat") >> thread.cpu_ns >> thread.waited_ns;
      total.cpu_ns += thread.cpu_ns;
      total.waited_ns += thread.waited_ns;
    }
    return total;
  }

  double resident_mb() const {
    std::ifstream file(fmt::format("/proc/{}/status", pid_));
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("VmRSS:")) return std::atof(line.c_str() + 6) / 1024;
    }
    return 0;
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace trireme::cli
