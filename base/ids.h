// Strong integer ids: a block id is not a sequence id, and neither is a count.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>

namespace trireme {

template <typename Tag, typename Rep>
class StrongId {
 public:
  using rep = Rep;
  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  friend constexpr auto operator<=>(StrongId, StrongId) = default;  // NOLINT(modernize-use-nullptr)
  friend std::ostream& operator<<(std::ostream& os, StrongId id) { return os << +id.value_; }

 private:
  Rep value_ = 0;
};

// A sequence that a replica computes; unique within one epoch of one replica, never reused in it.
using SequenceId = StrongId<struct SequenceTag, uint64_t>;
// A KV block of a replica's pool: the same id on every rank, 0 <= id < n_blocks.
using BlockId = StrongId<struct BlockTag, int32_t>;
// A step of a replica: 1, 2, 3, ... within one epoch.
using StepId = StrongId<struct StepTag, uint64_t>;

}  // namespace trireme

template <typename Tag, typename Rep>
struct std::hash<trireme::StrongId<Tag, Rep>> {
  size_t operator()(trireme::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value());
  }
};
