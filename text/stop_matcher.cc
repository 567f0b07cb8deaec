#include "text/stop_matcher.h"

#include <fmt/format.h>

namespace trireme::text {

Result<StopMatcher> StopMatcher::create(std::vector<std::string> stops, bool include_stop_str,
                                        const StopLimits& limits) {
  if (stops.size() > limits.max_strings) {
    return invalid_argument(fmt::format("{} stop strings are more than the limit of {}",
                                        stops.size(), limits.max_strings));
  }
  CHECK(limits.max_bytes_each <= UINT16_MAX);
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) return invalid_argument(fmt::format("stop string {} is empty", i));
    if (stops[i].size() > limits.max_bytes_each) {
      return invalid_argument(fmt::format("stop string {} has {} bytes, more than the limit of {}",
                                          i, stops[i].size(), limits.max_bytes_each));
    }
  }
  StopMatcher matcher;
  matcher.stops_ = std::move(stops);
  matcher.include_stop_str_ = include_stop_str;
  matcher.build();
  return matcher;
}

int32_t StopMatcher::child(int32_t node, unsigned char byte) const {
  int32_t found = nodes_[static_cast<size_t>(node)].child;
  while (found >= 0 && nodes_[static_cast<size_t>(found)].byte != byte) {
    found = nodes_[static_cast<size_t>(found)].sibling;
  }
  return found;
}

// The longest suffix of what was read, `byte` included, that may begin a stop string.
int32_t StopMatcher::step(int32_t node, unsigned char byte) const {
  while (true) {
    if (const int32_t next = child(node, byte); next >= 0) return next;
    if (node == 0) return 0;
    node = nodes_[static_cast<size_t>(node)].fall;
  }
}

void StopMatcher::build() {
  if (stops_.empty()) return;
  nodes_.emplace_back();
  for (size_t i = 0; i < stops_.size(); ++i) {
    int32_t node = 0;
    for (const char c : stops_[i]) {
      const auto byte = static_cast<unsigned char>(c);
      int32_t next = child(node, byte);
      if (next < 0) {
        next = static_cast<int32_t>(nodes_.size());
        Node added;
        added.sibling = nodes_[static_cast<size_t>(node)].child;
        added.depth = static_cast<uint16_t>(nodes_[static_cast<size_t>(node)].depth + 1);
        added.byte = byte;
        nodes_[static_cast<size_t>(node)].child = next;
        nodes_.push_back(added);
      }
      node = next;
    }
    Node& end = nodes_[static_cast<size_t>(node)];
    if (end.stop < 0) end.stop = static_cast<int32_t>(i);
  }
  // Breadth first: a node falls back to where its parent's fallback leads with the same byte.
  std::vector<int32_t> queue = {0};
  for (size_t head = 0; head < queue.size(); ++head) {
    const int32_t parent = queue[head];
    for (int32_t n = nodes_[static_cast<size_t>(parent)].child; n >= 0;
         n = nodes_[static_cast<size_t>(n)].sibling) {
      Node& node = nodes_[static_cast<size_t>(n)];
      node.fall = parent == 0 ? 0 : step(nodes_[static_cast<size_t>(parent)].fall, node.byte);
      if (node.stop < 0) node.stop = nodes_[static_cast<size_t>(node.fall)].stop;
      queue.push_back(n);
    }
  }
}

StopMatcher::Out StopMatcher::push(std::string_view text) {
  Out out;
  if (stopped_) return out;
  if (nodes_.empty()) {
    out.emit = text;
    return out;
  }
  held_ += text;
  const size_t old = held_.size() - text.size();
  for (size_t i = old; i < held_.size(); ++i) {
    state_ = step(state_, static_cast<unsigned char>(held_[i]));
    const int32_t stop = nodes_[static_cast<size_t>(state_)].stop;
    if (stop < 0) continue;
    const size_t end = i + 1;
    out.stopped = stopped_ = true;
    out.which = stop;
    out.emit =
        held_.substr(0, include_stop_str_ ? end : end - stops_[static_cast<size_t>(stop)].size());
    held_.clear();
    return out;
  }
  // The state's depth is the longest tail that may still become a stop string. A tail that begins
  // inside a character cannot happen, as stop strings are whole characters; bytes before it are
  // final.
  const auto keep = static_cast<size_t>(nodes_[static_cast<size_t>(state_)].depth);
  out.emit = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopMatcher::flush() {
  state_ = 0;
  return std::exchange(held_, {});
}

}  // namespace trireme::text
