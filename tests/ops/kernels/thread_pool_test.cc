#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <thread>
#include <vector>

namespace trireme::kernels::cpu {
namespace {

double process_cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TEST(ThreadPool, RunsEveryThreadOnceAndWaitsForAll) {
  for (const int n_threads : {1, 2, 5}) {
    ThreadPool pool(n_threads);
    ASSERT_EQ(pool.n_threads(), n_threads);
    for (int round = 0; round < 300; ++round) {
      std::vector<int> calls(static_cast<size_t>(n_threads), 0);
      pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      for (const int n : calls) ASSERT_EQ(n, 1) << "round " << round;
    }
  }
}

TEST(ThreadPool, SplitsARangeWithoutGapsOrOverlaps) {
  ThreadPool pool(4);
  for (const int64_t n : {0, 1, 3, 4, 5, 97}) {
    for (const bool worth_it : {false, true}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
      pool.split(n, worth_it, [&](int64_t begin, int64_t end, int thread) {
        EXPECT_LT(begin, end);
        EXPECT_TRUE(worth_it || thread == 0);
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      for (const auto& count : visits) ASSERT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, SleepsWhenIdleAndWakesAgain) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  pool.run([&](int) { ++calls; });
  // Threads spin for a moment before they sleep, which comes later on a busy machine.
  double idle_cpu_seconds = 1;
  for (int i = 0; i < 100 && idle_cpu_seconds >= 0.02; ++i) {
    const double before = process_cpu_seconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    idle_cpu_seconds = process_cpu_seconds() - before;
  }
  EXPECT_LT(idle_cpu_seconds, 0.02);
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls.load(), 6);
}

}  // namespace
}  // namespace trireme::kernels::cpu
