#include "worker/weights/checkpoint_index.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/lfs_pointer.h"
#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

// Reads {"metadata": {...}, "weight_map": {tensor: file}} without a tree, so that a tensor listed
// twice is seen.
class IndexHandler {
 public:
  using json = nlohmann::json;
  bool null() { return scalar(); }
  bool boolean(bool) { return scalar(); }
  bool number_integer(json::number_integer_t) { return scalar(); }
  bool number_unsigned(json::number_unsigned_t) { return scalar(); }
  bool number_float(json::number_float_t, const std::string&) { return scalar(); }
  bool binary(json::binary_t&) { return scalar(); }
  bool string(json::string_t& value) {
    if (!in_map()) return true;
    if (!weight_map_.emplace(key_, value).second) {
      error_ = fmt::format("tensor {} is listed twice", in_quotes(key_));
      return false;
    }
    return true;
  }
  bool start_object(size_t) {
    if (in_map()) return scalar();
    if (depth_ == 1 && key_ == "weight_map") map_depth_ = 2;
    ++depth_;
    return true;
  }
  bool key(json::string_t& value) {
    key_ = value;
    return true;
  }
  bool end_object() {
    if (in_map()) map_depth_ = -1;
    --depth_;
    return true;
  }
  bool start_array(size_t) {
    if (in_map()) return scalar();
    ++depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    if (error_.empty()) error_ = fmt::format("not JSON (byte {})", position);
    return false;
  }

  const std::string& error() const { return error_; }
  const std::map<std::string, std::string>& weight_map() const { return weight_map_; }

 private:
  bool in_map() const { return map_depth_ > 0 && depth_ == map_depth_; }
  bool scalar() {
    if (!in_map()) return true;
    error_ = fmt::format("tensor {} has no file name", in_quotes(key_));
    return false;
  }

  int depth_ = 0;
  int map_depth_ = 0;
  std::string key_;
  std::map<std::string, std::string> weight_map_;
  std::string error_;
};

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

Result<std::map<std::string, std::string>> parse_index(const std::string& json) {
  IndexHandler handler;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) {
    return invalid_argument(fmt::format("{}: {}", kIndexFile, handler.error()));
  }
  if (handler.weight_map().empty()) {
    return invalid_argument(fmt::format("{} has no weight_map", kIndexFile));
  }
  for (const auto& [tensor, file] : handler.weight_map()) {
    if (!is_plain_file_name(file)) {
      return invalid_argument(fmt::format("{} puts tensor {} in {}, which is not a plain file name",
                                          kIndexFile, in_quotes(tensor), in_quotes(file)));
    }
  }
  return handler.weight_map();
}

Result<std::map<std::string, std::string>> read_index(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return not_found(fmt::format("{} cannot be read", kIndexFile));
  if (bytes > kMaxHeaderBytes) {
    return invalid_argument(
        fmt::format("{} has {} bytes; at most {} are allowed", kIndexFile, bytes, kMaxHeaderBytes));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text(bytes, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(bytes));
  if (static_cast<uint64_t>(stream.gcount()) != bytes) {
    return data_loss(fmt::format("{} is truncated", kIndexFile));
  }
  if (is_lfs_pointer(text)) return data_loss(fmt::format("{} {}", kIndexFile, kIsLfsPointer));
  return parse_index(text);
}

}  // namespace trireme::worker
