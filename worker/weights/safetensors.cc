#include "worker/weights/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace trireme::worker {
namespace {

Result<uint64_t> regular_file_bytes(int fd, const std::string& name) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return invalid_argument(fmt::format("{} is not a regular file", name));
  }
  return static_cast<uint64_t>(info.st_size);
}

uint64_t read_u64_le(const char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | static_cast<uint8_t>(bytes[i]);
  return value;
}

}  // namespace

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::open(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return not_found(
        fmt::format("{} cannot be opened: {}", name, std::generic_category().message(errno)));
  }
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(name, fd));
  ASSIGN_OR_RETURN(file->file_bytes_, regular_file_bytes(fd, name));
  if (file->file_bytes_ < 8) {
    return data_loss(fmt::format("{} is truncated: {} bytes, less than its header's length field",
                                 name, file->file_bytes_));
  }
  void* map = ::mmap(nullptr, file->file_bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) return resource_exhausted(fmt::format("{} cannot be mapped", name));
  file->map_ = static_cast<const char*>(map);

  const uint64_t header_bytes = read_u64_le(file->map_);
  if (header_bytes > kMaxHeaderBytes) {
    return invalid_argument(fmt::format("{} claims a header of {} bytes; at most {} are allowed",
                                        name, header_bytes, kMaxHeaderBytes));
  }
  if (header_bytes > file->file_bytes_ - 8) {
    return data_loss(fmt::format("{} is truncated: a header of {} bytes in a file of {}", name,
                                 header_bytes, file->file_bytes_));
  }
  file->data_start_ = 8 + header_bytes;
  auto tensors = parse_safetensors_header({file->map_ + 8, header_bytes},
                                          file->file_bytes_ - file->data_start_);
  if (!tensors.ok()) {
    return Error{tensors.error().code, fmt::format("{}: {}", name, tensors.error().message)};
  }
  file->tensors_ = std::move(*tensors);
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (map_ != nullptr) ::munmap(const_cast<char*>(map_), file_bytes_);
  if (fd_ >= 0) ::close(fd_);
}

Status SafetensorsFile::read(const StoredTensor& tensor, plan::Range rows, plan::Range columns,
                             void* out) const {
  CHECK_LE(1u, tensor.shape.size());
  CHECK_LE(tensor.shape.size(), 2u);
  const int64_t width = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
  CHECK_LE(0, rows.begin);
  CHECK_LE(rows.begin, rows.end);
  CHECK_LE(rows.end, tensor.shape[0]);
  CHECK_LE(0, columns.begin);
  CHECK_LE(columns.begin, columns.end);
  CHECK_LE(columns.end, width);
  ASSIGN_OR_RETURN(const uint64_t bytes_now, regular_file_bytes(fd_, name_));
  if (bytes_now < data_start_ + tensor.end) {
    return data_loss(fmt::format("{} has shrunk to {} bytes while tensor {} was being read", name_,
                                 bytes_now, in_quotes(tensor.name)));
  }
  const char* data = map_ + data_start_ + tensor.begin;
  const auto row_bytes = static_cast<size_t>(columns.size() * tensor.element_bytes);
  if (columns.size() == width) {
    std::memcpy(out, data + rows.begin * width * tensor.element_bytes,
                static_cast<size_t>(rows.size()) * row_bytes);
    return {};
  }
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    std::memcpy(static_cast<char*>(out) + static_cast<size_t>(row - rows.begin) * row_bytes,
                data + (row * width + columns.begin) * tensor.element_bytes, row_bytes);
  }
  return {};
}

}  // namespace trireme::worker
