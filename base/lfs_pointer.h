// What stands in a git checkout for a large file that was never fetched: a few lines of text under
// the file's name, the usual reason why "the weights are broken".
//
// Source: the git-lfs pointer specification, version 1.
#pragma once

#include <string_view>

namespace trireme {

// Of a file's first bytes.
inline bool is_lfs_pointer(std::string_view bytes) {
  return bytes.starts_with("version https://git-lfs.github.com/spec/");
}

// Follows the file's name in an error.
inline constexpr std::string_view kIsLfsPointer =
    "is a git-lfs pointer, not the file itself; fetch it with `git lfs pull`";

}  // namespace trireme
