// Stop strings in a stream of text, found across piece boundaries.
//
// Text goes out as soon as it cannot be the beginning of a stop string; no more than the longest
// stop string less one byte is ever held. The match that ends first wins; of those, the one that
// began first. Linear time (Aho-Corasick). One object per stream, not thread-safe.
//
// Source: Aho and Corasick, CACM 18(6), 1975.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trireme::text {

struct StopLimits {
  size_t max_strings = 64;
  size_t max_bytes_each = 1024;
};

class StopMatcher {
 public:
  struct Out {
    std::string emit;      // goes to the client now
    bool stopped = false;  // a stop string is complete; nothing may be pushed any more
    int which = -1;        // its index among the stop strings
  };

  // Without stop strings everything passes. An empty stop string, too many or too long ones are
  // errors.
  static Result<StopMatcher> create(std::vector<std::string> stops, bool include_stop_str = false,
                                    const StopLimits& limits = {});

  Out push(std::string_view text);
  // The stream ended otherwise: what was held back goes out.
  std::string flush();
  size_t held_bytes() const { return held_.size(); }

 private:
  // A trie as first child and next sibling: 20 bytes per byte of stop string, as the strings come
  // from requests.
  struct Node {
    int32_t child = -1;
    int32_t sibling = -1;
    int32_t fall = 0;   // the longest proper suffix that is a node
    int32_t stop = -1;  // longest stop string that ends here
    uint16_t depth = 0;
    unsigned char byte = 0;
  };
  StopMatcher() = default;
  void build();
  int32_t child(int32_t node, unsigned char byte) const;
  int32_t step(int32_t node, unsigned char byte) const;

  std::vector<std::string> stops_;
  bool include_stop_str_ = false;
  std::vector<Node> nodes_;
  int32_t state_ = 0;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace trireme::text
