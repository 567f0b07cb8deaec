#include "parallel/wire/wake_fd.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/check.h"
#include "base/clock.h"

namespace trireme::wire {

WakeFd::WakeFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  CHECK(fd_ >= 0) << "eventfd: " << std::strerror(errno);
}

WakeFd::~WakeFd() { ::close(fd_); }

void WakeFd::signal() {
  const uint64_t one = 1;
  // A full counter is readable already; nothing else can fail here.
  [[maybe_unused]] const ssize_t n = ::write(fd_, &one, sizeof(one));
}

void WakeFd::clear() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(fd_, &count, sizeof(count));
}

int64_t monotonic_ns() { return SystemClock().now_ns(); }

void wait_readable(std::initializer_list<int> fds, int64_t timeout_ns) {
  std::array<pollfd, 4> items{};
  CHECK(fds.size() <= items.size());
  nfds_t n = 0;
  for (const int fd : fds) items[n++] = {fd, POLLIN, 0};
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  // Interrupted or not: callers look at their sockets again and compute the rest of their timeout
  // anew.
  ::ppoll(items.data(), n, timeout_ns < 0 ? nullptr : &timeout, nullptr);
}

}  // namespace trireme::wire
