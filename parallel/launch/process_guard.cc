#include "parallel/launch/process_guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "base/log.h"

namespace trireme::launch {

struct ParentWatch::Impl {
  int stop_fd = -1;
  std::thread thread;
};

ParentWatch::ParentWatch(std::function<void()> on_parent_exit) : impl_(std::make_unique<Impl>()) {
  const pid_t parent = getppid();
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, parent, 0));
  impl_->stop_fd = eventfd(0, EFD_CLOEXEC);
  impl_->thread =
      std::thread([pidfd, parent, stop_fd = impl_->stop_fd, on_exit = std::move(on_parent_exit)] {
        // Without a pidfd (an old kernel, or a parent that is already gone) the parent's id is
        // asked twice a second.
        const int timeout_ms = pidfd < 0 ? 500 : -1;
        while (true) {
          pollfd fds[2] = {{stop_fd, POLLIN, 0}, {pidfd, POLLIN, 0}};
          poll(fds, pidfd < 0 ? 1 : 2, timeout_ms);
          if (fds[0].revents != 0) break;
          if (getppid() != parent || (pidfd >= 0 && fds[1].revents != 0)) {
            on_exit();
            break;
          }
        }
        if (pidfd >= 0) close(pidfd);
      });
}

ParentWatch::~ParentWatch() {
  const uint64_t one = 1;
  if (write(impl_->stop_fd, &one, sizeof(one)) < 0) {
    // An eventfd write of 1 cannot fail; the thread would only end later.
  }
  impl_->thread.join();
  close(impl_->stop_fd);
}

int exit_code_for(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kDataLoss:
    case ErrorCode::kUnimplemented:
      return kExitBadConfig;
    default:
      return 1;
  }
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

void end_process_group(std::string_view reason, int exit_code) {
  log::error("ending this process: {}", reason);
  if (getpgrp() == getpid()) {
    // Others of the group first; this process must still reach its own exit code.
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
  }
  _exit(exit_code);
}

}  // namespace trireme::launch
