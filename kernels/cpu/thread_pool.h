// ThreadPool: a fixed set of threads that run one function together, the caller among them.
//
// One thread drives the pool; `run` returns when every thread has finished. Between calls the
// workers spin for some microseconds, because the next op of a model follows at once, and then
// sleep: an idle pool costs nothing. A pool of one thread has no workers and calls the function
// directly.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace trireme::kernels::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);  // >= 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls function(thread) once for each thread in [0, n_threads). It must not throw and must not
  // call run.
  template <typename Function>
  void run(Function&& function) {
    if (workers_.empty()) {
      function(0);
      return;
    }
    using Plain = std::remove_reference_t<Function>;
    run_task({[](void* context, int thread) { (*static_cast<Plain*>(context))(thread); },
              const_cast<void*>(static_cast<const void*>(&function))});
  }

  // Splits [0, n) into one contiguous range for each thread: function(begin, end, thread), not
  // called for empty ranges. Stays on the calling thread when n < 2 or when `worth_it` is false.
  template <typename Function>
  void split(int64_t n, bool worth_it, Function&& function) {
    if (n <= 0) return;
    if (n == 1 || !worth_it || workers_.empty()) {
      function(int64_t{0}, n, 0);
      return;
    }
    run([&](int thread) {
      const int64_t begin = n * thread / n_threads();
      const int64_t end = n * (thread + 1) / n_threads();
      if (begin < end) function(begin, end, thread);
    });
  }

 private:
  struct Task {
    void (*function)(void* context, int thread) = nullptr;
    void* context = nullptr;
  };

  void run_task(Task task);
  void work(int thread);

  Task task_;  // published by generation_
  std::atomic<uint32_t> generation_{0};
  std::atomic<int32_t> n_running_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

// Cores that this process may run on, at least 1.
int available_cores();

}  // namespace trireme::kernels::cpu
