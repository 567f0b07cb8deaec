// EventLoop: the one thread on which a router's state lives. Sockets, timers, signals and the
// wire's fd wake it.
//
// Boost.Asio stays behind it. All members but post() and stop() belong to the thread that calls
// run() (or to nobody before run()). Callbacks run one at a time, on that thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace trireme::router {

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void run();                             // returns after stop()
  void stop();                            // thread-safe
  void post(std::function<void()> task);  // thread-safe; runs `task` on the loop's thread, in order

  // Calls `ready` each time `fd` turns readable. The fd stays the caller's and must outlive the
  // loop.
  void watch_readable(int fd, std::function<void()> ready);
  void watch_signals(const std::vector<int>& signals, std::function<void(int)> on_signal);

  // Runs `task` once, `delay_ns` from now; a second call replaces the first.
  class Timer {
   public:
    explicit Timer(EventLoop& loop);
    ~Timer();
    void after_ns(int64_t delay_ns, std::function<void()> task);
    void cancel();

   private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
  };

  struct Impl;
  Impl& impl() { return *impl_; }  // for router/http alone (event_loop_impl.h)

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::router
