#include "base/clock.h"

#include <ctime>

namespace trireme {
namespace {

int64_t read_clock_ns(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

int64_t SystemClock::now_ns() const { return read_clock_ns(CLOCK_MONOTONIC); }
int64_t SystemClock::unix_ns() const { return read_clock_ns(CLOCK_REALTIME); }

}  // namespace trireme
