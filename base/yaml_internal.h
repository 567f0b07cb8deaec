// What the parts of base/yaml share. Internal to yaml*.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::yaml {

// A value as a message shows it: not longer than a line.
std::string clipped(std::string_view text);

// The shortest of "2s", "1500ms", "7ns" and of "8MiB", "64KiB", "100" that says it exactly.
std::string format_duration(int64_t ns);
std::string format_size(int64_t bytes);

}  // namespace trireme::yaml
