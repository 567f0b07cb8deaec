// WorkPool: a few threads for what would hold up the loop: long prompts to parse, render and
// tokenize.
//
// Tasks run in order of arrival on any of the threads; each posts its result back by itself. The
// destructor finishes what was started and drops the rest.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace trireme::router {

class WorkPool {
 public:
  explicit WorkPool(int n_threads);
  ~WorkPool();
  void run(std::function<void()> task);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace trireme::router
