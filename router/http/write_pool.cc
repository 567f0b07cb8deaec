#include "router/http/write_pool.h"

#include <sched.h>

#include "router/http/server.h"

namespace trireme::router {
namespace {

// Fewer are done before a helper has woken up.
constexpr size_t kMinShared = 16;
constexpr int kMaxWriters = 2;
// With fewer, a second thread takes its core from the replicas or the clients: on two it won
// nothing.
constexpr int kCoresForTwo = 4;

}  // namespace

int default_writers() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (::sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return 1;
  return CPU_COUNT(&cpus) >= kCoresForTwo ? kMaxWriters : 1;
}

WritePool::WritePool(int n_helpers) {
  for (int i = 0; i < n_helpers; ++i) helpers_.emplace_back([this] { help(); });
}

WritePool::~WritePool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void WritePool::run(std::span<PlannedWrite> writes) {
  next_.store(0, std::memory_order_relaxed);
  if (helpers_.empty() || writes.size() < kMinShared) return work(writes);
  {
    const std::lock_guard lock(mutex_);
    writes_ = writes;
    ++batch_;
  }
  arrived_.notify_all();
  work(writes);
  std::unique_lock lock(mutex_);
  writes_ = {};
  left_.wait(lock, [this] { return n_working_ == 0; });
}

void WritePool::help() {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    arrived_.wait(lock, [&] { return stopping_ || batch_ != seen; });
    if (stopping_) return;
    seen = batch_;
    const std::span<PlannedWrite> writes = writes_;
    if (writes.empty()) continue;
    ++n_working_;
    lock.unlock();
    work(writes);
    lock.lock();
    if (--n_working_ == 0) left_.notify_one();
  }
}

void WritePool::work(std::span<PlannedWrite> writes) {
  while (true) {
    const size_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= writes.size()) return;
    PlannedWrite& write = writes[i];
    write.result = send_now(write.fd, write.bytes.data(), write.bytes.size());
  }
}

}  // namespace trireme::router
