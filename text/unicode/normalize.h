// Unicode normalization forms that remember where every character came from.
//
// The tables are those of the reference tokenizer library (about Unicode 12): younger compatibility
// characters pass through. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace trireme::text {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// One character of the result. `change` says how it relates to the source characters, read left to
// right: 0 replaces the next one, a positive value was inserted after the previous one, -n replaces
// the next one and removes n more.
struct NormalChar {
  char32_t value;
  int change;
};

// Source: Unicode Standard Annex 15. Invalid bytes count as U+FFFD.
std::vector<NormalChar> normalize(std::string_view text, NormalForm form);

// True when `normalize` would change nothing, decided cheaply; false may be a false alarm.
bool surely_normal(std::string_view text, NormalForm form);

}  // namespace trireme::text
