// Dates as strftime writes them in the C locale.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::text::jinja {

// `seconds` since 1970 in the time zone to show; no zone is applied. Unknown conversions are
// copied.
std::string format_time(std::string_view format, int64_t seconds);

}  // namespace trireme::text::jinja
