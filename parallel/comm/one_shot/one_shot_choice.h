// Which sums of a group go the one-shot way (one_shot_group.h): a table of measured sizes. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::comm {

enum class OneShotMode : uint8_t {
  kAuto,    // where it was measured to be faster
  kNever,   //
  kAlways,  // whatever a window holds
};
// "auto", "one_shot", and "nccl" for never: `replicas.all_reduce`.
OneShotMode one_shot_mode(std::string_view name);

// What a sum into the residual stream and its norm took, on the slowest rank.
struct SizeTiming {
  int64_t bytes = 0;  // of the delta
  float one_shot_us = 0;
  float ordinary_us = 0;  // an all_reduce, then add_rms_norm
};

class OneShotChoice {
 public:
  // Timings by rising size. Without them, whatever a window of max_bytes holds is taken.
  static OneShotChoice measured(std::vector<SizeTiming> timings);
  static OneShotChoice always(int64_t max_bytes);

  // A size goes the way of the next larger measured one, and beyond the largest never one-shot.
  bool takes(int64_t bytes) const;
  // For the log: "16 KiB one-shot (6.1 us against 14.2), 64 KiB NCCL (...); above, NCCL".
  std::string to_string() const;

 private:
  std::vector<SizeTiming> timings_;
  int64_t max_bytes_ = 0;
};

}  // namespace trireme::comm
