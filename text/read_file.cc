#include "text/read_file.h"

#include <fmt/format.h>

#include <fstream>

#include "base/lfs_pointer.h"

namespace trireme::text {

Result<std::string> read_file(const std::filesystem::path& path, size_t max_bytes) {
  const std::string name = path.filename().string();
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return not_found(fmt::format("{} is not a file", name));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return not_found(fmt::format("{} cannot be read", name));
  if (size > max_bytes) {
    return invalid_argument(
        fmt::format("{} has {} bytes, more than the limit of {}", name, size, max_bytes));
  }
  std::ifstream file(path, std::ios::binary);
  std::string bytes(static_cast<size_t>(size), '\0');
  if (!file || !file.read(bytes.data(), static_cast<std::streamsize>(size))) {
    return data_loss(fmt::format("{} could not be read to its end", name));
  }
  if (is_lfs_pointer(bytes)) return data_loss(fmt::format("{} {}", name, kIsLfsPointer));
  return bytes;
}

}  // namespace trireme::text
