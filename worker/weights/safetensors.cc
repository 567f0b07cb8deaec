#include "worker/weights/safetensors.h"

#include <fmt/format.h>

#include <cstring>

#include "base/lfs_pointer.h"

namespace trireme::worker {
namespace {

uint64_t read_u64_le(const char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | static_cast<uint8_t>(bytes[i]);
  return value;
}

}  // namespace

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::open(const std::string& path) {
  ASSIGN_OR_RETURN(auto mapped, MappedFile::open(path));
  const std::string_view bytes = mapped->bytes();
  const std::string name = mapped->name();
  if (is_lfs_pointer(bytes)) return data_loss(fmt::format("{} {}", name, kIsLfsPointer));
  if (bytes.size() < 8) {
    return data_loss(fmt::format("{} is truncated: {} bytes, less than its header's length field",
                                 name, bytes.size()));
  }
  const uint64_t header_bytes = read_u64_le(bytes.data());
  if (header_bytes > kMaxHeaderBytes) {
    return invalid_argument(
        fmt::format("{} is no safetensors file: it claims a header of {} bytes; at most {} are "
                    "allowed",
                    name, header_bytes, kMaxHeaderBytes));
  }
  if (header_bytes > bytes.size() - 8) {
    return data_loss(fmt::format("{} is truncated: a header of {} bytes in a file of {}", name,
                                 header_bytes, bytes.size()));
  }
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(std::move(mapped)));
  file->data_start_ = 8 + header_bytes;
  auto tensors =
      parse_safetensors_header(bytes.substr(8, header_bytes), bytes.size() - file->data_start_);
  if (!tensors.ok()) {
    return Error{tensors.error().code, fmt::format("{}: {}", name, tensors.error().message)};
  }
  file->tensors_ = std::move(*tensors);
  return file;
}

Result<const char*> SafetensorsFile::data(const StoredTensor& tensor) const {
  TRY(file_->check_still_there(data_start_ + tensor.end, "tensor " + in_quotes(tensor.name)));
  return file_->bytes().data() + data_start_ + tensor.begin;
}

Status SafetensorsFile::read(const StoredTensor& tensor, plan::Range rows, plan::Range columns,
                             void* out) const {
  const std::vector<int64_t>& shape = tensor.shape;
  int64_t n_rows = shape.empty() ? 1 : shape[0];
  const int64_t width = shape.size() >= 2 ? shape.back() : 1;
  for (size_t i = 1; i + 1 < shape.size(); ++i) n_rows *= shape[i];
  CHECK_LE(0, rows.begin);
  CHECK_LE(rows.begin, rows.end);
  CHECK_LE(rows.end, n_rows);
  CHECK_LE(0, columns.begin);
  CHECK_LE(columns.begin, columns.end);
  CHECK_LE(columns.end, width);
  ASSIGN_OR_RETURN(const char* bytes, data(tensor));
  const auto row_bytes = static_cast<size_t>(columns.size() * tensor.element_bytes);
  if (columns.size() == width) {
    std::memcpy(out, bytes + rows.begin * width * tensor.element_bytes,
                static_cast<size_t>(rows.size()) * row_bytes);
    return {};
  }
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    std::memcpy(static_cast<char*>(out) + static_cast<size_t>(row - rows.begin) * row_bytes,
                bytes + (row * width + columns.begin) * tensor.element_bytes, row_bytes);
  }
  return {};
}

}  // namespace trireme::worker
