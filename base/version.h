// The release of these binaries: `--version`, GET /version and the bench lines.
#pragma once

namespace trireme {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace trireme
