// Sizes in words, as the planner's errors and tables print them. Stateless.
#pragma once

#include <cstdint>
#include <string>

namespace trireme::plan {

// Decimal units, three or four digits: "811.7 GB", "410.8 kB", "12 B".
std::string format_bytes(int64_t bytes);
// Digits in groups: "405,853,388,800".
std::string format_grouped(int64_t value);

}  // namespace trireme::plan
