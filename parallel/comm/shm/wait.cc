#include "parallel/comm/shm/wait.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace trireme::comm {
namespace {

// The kernel wants a plain word; a lock-free atomic of the same size is one.
uint32_t* futex_word(std::atomic<uint32_t>& value) { return reinterpret_cast<uint32_t*>(&value); }

}  // namespace

void SharedWord::store_and_wake(uint32_t new_value) {
  value.store(new_value, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0) wake();
}

void SharedWord::wake() {
  syscall(SYS_futex, futex_word(value), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void SharedWord::sleep(uint32_t seen, int64_t timeout_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  const timespec timeout{timeout_ns / kSecond, timeout_ns % kSecond};
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  syscall(SYS_futex, futex_word(value), FUTEX_WAIT, seen, &timeout, nullptr, 0);
  sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

}  // namespace trireme::comm
