// An eventfd that wakes a poll() from another thread, and poll() with a timeout in ns. Internal to
// this folder.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace trireme::wire {

class WakeFd {
 public:
  WakeFd();
  ~WakeFd();
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;
  int fd() const { return fd_; }
  void signal();  // thread-safe
  void clear();

 private:
  int fd_;
};

int64_t monotonic_ns();

// Waits until one of the descriptors is readable or timeout_ns passed (negative: for ever).
void wait_readable(std::initializer_list<int> fds, int64_t timeout_ns);

}  // namespace trireme::wire
