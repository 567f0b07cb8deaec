// Reads a whole file of a model folder, bounded.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace trireme::text {

// Errors name the file, not its folder: they may reach a client.
Result<std::string> read_file(const std::filesystem::path& path, size_t max_bytes);

}  // namespace trireme::text
