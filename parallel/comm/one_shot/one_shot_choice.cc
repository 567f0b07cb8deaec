#include "parallel/comm/one_shot/one_shot_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace trireme::comm {

OneShotMode one_shot_mode(std::string_view name) {
  if (name == "nccl") return OneShotMode::kNever;
  if (name == "one_shot") return OneShotMode::kAlways;
  CHECK_EQ(name, "auto");
  return OneShotMode::kAuto;
}

OneShotChoice OneShotChoice::measured(std::vector<SizeTiming> timings) {
  OneShotChoice choice;
  choice.timings_ = std::move(timings);
  CHECK(std::ranges::is_sorted(choice.timings_, {}, &SizeTiming::bytes));
  return choice;
}

OneShotChoice OneShotChoice::always(int64_t max_bytes) {
  OneShotChoice choice;
  choice.max_bytes_ = max_bytes;
  return choice;
}

bool OneShotChoice::takes(int64_t bytes) const {
  const auto found = std::ranges::lower_bound(timings_, bytes, {}, &SizeTiming::bytes);
  if (found == timings_.end()) return bytes <= max_bytes_;
  return found->one_shot_us < found->ordinary_us;
}

std::string OneShotChoice::to_string() const {
  if (timings_.empty()) return fmt::format("one-shot up to {} KiB", max_bytes_ >> 10);
  std::string text;
  for (const SizeTiming& timing : timings_) {
    text += fmt::format("{}{} KiB {} ({:.1f} us against {:.1f})", text.empty() ? "" : ", ",
                        timing.bytes >> 10, takes(timing.bytes) ? "one-shot" : "NCCL",
                        std::min(timing.one_shot_us, timing.ordinary_us),
                        std::max(timing.one_shot_us, timing.ordinary_us));
  }
  return text + "; above, NCCL";
}

}  // namespace trireme::comm
