#include "router/http/event_loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "router/http/event_loop_impl.h"

namespace trireme::router {
namespace {

void wait_readable(boost::asio::posix::stream_descriptor& descriptor,
                   const std::shared_ptr<std::function<void()>>& ready) {
  descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                        [&descriptor, ready](const boost::system::error_code& ec) {
                          if (ec) return;
                          (*ready)();
                          wait_readable(descriptor, ready);
                        });
}

void wait_signal(boost::asio::signal_set& set, const std::shared_ptr<std::function<void(int)>>& f) {
  set.async_wait([&set, f](const boost::system::error_code& ec, int signal) {
    if (ec) return;
    (*f)(signal);
    wait_signal(set, f);
  });
}

}  // namespace

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}

EventLoop::~EventLoop() {
  // The descriptors were lent: give them back open.
  for (auto& descriptor : impl_->watched) descriptor.release();
}

void EventLoop::run() {
  auto guard = boost::asio::make_work_guard(impl_->io);
  impl_->io.run();
}

void EventLoop::stop() { impl_->io.stop(); }

void EventLoop::post(std::function<void()> task) { boost::asio::post(impl_->io, std::move(task)); }

void EventLoop::watch_readable(int fd, std::function<void()> ready) {
  impl_->watched.emplace_back(impl_->io, fd);
  wait_readable(impl_->watched.back(), std::make_shared<std::function<void()>>(std::move(ready)));
}

void EventLoop::watch_signals(const std::vector<int>& signals, std::function<void(int)> on_signal) {
  impl_->signals.emplace_back(impl_->io);
  for (const int signal : signals) impl_->signals.back().add(signal);
  wait_signal(impl_->signals.back(),
              std::make_shared<std::function<void(int)>>(std::move(on_signal)));
}

struct EventLoop::Timer::Impl {
  explicit Impl(boost::asio::io_context& io) : timer(io) {}
  boost::asio::steady_timer timer;
  uint64_t generation = 0;  // an expiry that was already queued when it was replaced does not count
};

EventLoop::Timer::Timer(EventLoop& loop) : impl_(std::make_shared<Impl>(loop.impl().io)) {}

EventLoop::Timer::~Timer() { cancel(); }

void EventLoop::Timer::after_ns(int64_t delay_ns, std::function<void()> task) {
  const uint64_t generation = ++impl_->generation;
  impl_->timer.expires_after(std::chrono::nanoseconds(delay_ns));
  impl_->timer.async_wait(
      [impl = impl_, generation, task = std::move(task)](const boost::system::error_code& ec) {
        if (!ec && impl->generation == generation) task();
      });
}

void EventLoop::Timer::cancel() {
  ++impl_->generation;
  impl_->timer.cancel();
}

}  // namespace trireme::router
