// WritePool: the writes of one event batch, done by several threads at once. For router/http alone.
//
// A token for each of a hundred streams is a hundred system calls of some five microseconds, and
// the last stream waits for all of them: with two threads half as long. run() hands the writes to
// whoever comes first, takes part itself and returns when all are done, so nothing outlives it and
// its caller owns everything before and after. A helper that wakes up late finds nothing to do.
// run() belongs to one thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "router/http/transport.h"

namespace trireme::router {

// One write to a plain socket. The sockets of a batch differ.
struct PlannedWrite {
  int fd = -1;
  std::string_view bytes;
  IoResult result;
};

class WritePool {
 public:
  explicit WritePool(int n_helpers);  // threads besides the caller of run()
  ~WritePool();
  WritePool(const WritePool&) = delete;
  WritePool& operator=(const WritePool&) = delete;

  // Does all writes as Transport::write_now would, in any order, and fills in their results.
  void run(std::span<PlannedWrite> writes);

 private:
  void help();
  void work(std::span<PlannedWrite> writes);

  std::mutex mutex_;
  std::condition_variable arrived_, left_;
  std::span<PlannedWrite> writes_;  // of the batch that helpers may join; empty: none
  uint64_t batch_ = 0;
  int n_working_ = 0;  // helpers inside work()
  bool stopping_ = false;
  std::atomic<size_t> next_{0};  // of writes_
  std::vector<std::thread> helpers_;
};

}  // namespace trireme::router
