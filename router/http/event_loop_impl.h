// What EventLoop hides: for the .cc files of router/http alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <list>

#include "router/http/event_loop.h"

namespace trireme::router {

struct EventLoop::Impl {
  // One thread runs the context, but post() comes from any: the hint 1 keeps asio's locks.
  boost::asio::io_context io{1};
  std::list<boost::asio::posix::stream_descriptor> watched;
  std::list<boost::asio::signal_set> signals;
};

}  // namespace trireme::router
