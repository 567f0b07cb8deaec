#include "base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace trireme {
namespace {

Result<uint64_t> regular_file_bytes(int fd, const std::string& name) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return invalid_argument(fmt::format("{} is not a regular file", name));
  }
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  // O_NONBLOCK: a pipe of that name is refused below instead of waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return not_found(
        fmt::format("{} cannot be opened: {}", name, std::generic_category().message(errno)));
  }
  std::unique_ptr<MappedFile> file(new MappedFile(name, fd));
  ASSIGN_OR_RETURN(file->size_, regular_file_bytes(fd, name));
  if (file->size_ == 0) return file;  // nothing to map
  void* map = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) return resource_exhausted(fmt::format("{} cannot be mapped", name));
  file->map_ = static_cast<const char*>(map);
  return file;
}

MappedFile::~MappedFile() {
  if (map_ != nullptr) ::munmap(const_cast<char*>(map_), size_);
  if (fd_ >= 0) ::close(fd_);
}

Status MappedFile::check_still_there(uint64_t end, std::string_view what) const {
  ASSIGN_OR_RETURN(const uint64_t bytes_now, regular_file_bytes(fd_, name_));
  if (bytes_now >= end) return {};
  return data_loss(
      fmt::format("{} has shrunk to {} bytes while {} was being read", name_, bytes_now, what));
}

}  // namespace trireme
