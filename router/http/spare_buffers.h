// SpareBuffers: written out and empty, for the next stream's events. For router/http alone.
//
// The last used comes first, so that events go through memory that is in the cache already instead
// of each stream's own. Bounded; belongs to the loop's thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trireme::router {

class SpareBuffers {
 public:
  std::string take() {
    std::string buffer;
    if (spare_.empty()) {
      buffer.reserve(kEventBytes);
    } else {
      buffer = std::move(spare_.back());
      spare_.pop_back();
    }
    return buffer;
  }
  void give_back(std::string buffer) {
    if (buffer.capacity() > kMaxBytes || spare_.size() >= kMaxBuffers) return;
    buffer.clear();
    spare_.push_back(std::move(buffer));
  }

 private:
  static constexpr size_t kMaxBuffers = 256;
  static constexpr size_t kMaxBytes = 4096;   // of one
  static constexpr size_t kEventBytes = 512;  // room for one event of a usual token

  std::vector<std::string> spare_;
};

}  // namespace trireme::router
