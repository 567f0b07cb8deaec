#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "worker/weights/safetensors.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxShardFiles = 4096;

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

Result<std::map<std::string, std::string>> read_index(const fs::path& path) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
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
  IndexHandler handler;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &handler)) {
    return invalid_argument(fmt::format("{}: {}", kIndexFile, handler.error()));
  }
  if (handler.weight_map().empty()) {
    return invalid_argument(fmt::format("{} has no weight_map", kIndexFile));
  }
  return handler.weight_map();
}

class Checkpoint final : public WeightSource {
 public:
  Status add_file(const std::string& path) {
    ASSIGN_OR_RETURN(auto file, SafetensorsFile::open(path));
    for (const StoredTensor& tensor : file->tensors()) {
      const auto [at, is_new] = tensors_.emplace(tensor.name, Location{file.get(), &tensor});
      if (!is_new) {
        return invalid_argument(fmt::format("tensor {} is in both {} and {}",
                                            in_quotes(tensor.name), at->second.file->name(),
                                            file->name()));
      }
    }
    files_.push_back(std::move(file));
    return {};
  }

  // The index and the files must agree on where every tensor is.
  Status check_index(const std::map<std::string, std::string>& weight_map) const {
    for (const auto& [tensor, file] : weight_map) {
      const auto at = tensors_.find(tensor);
      if (at == tensors_.end() || at->second.file->name() != file) {
        return invalid_argument(fmt::format("{} puts tensor {} in {}, which does not hold it",
                                            kIndexFile, in_quotes(tensor), in_quotes(file)));
      }
    }
    for (const auto& [tensor, location] : tensors_) {
      if (!weight_map.contains(tensor)) {
        return invalid_argument(fmt::format("{} holds tensor {}, which {} does not list",
                                            location.file->name(), in_quotes(tensor), kIndexFile));
      }
    }
    return {};
  }

  std::optional<std::vector<SourceTensor>> inventory() const override {
    std::vector<SourceTensor> list;
    list.reserve(tensors_.size());
    for (const auto& [name, location] : tensors_) {
      const StoredTensor& stored = *location.tensor;
      list.push_back({name, stored.shape, stored.dtype, stored.stored_dtype});
    }
    return list;
  }

  DType dtype(const std::string& name) const override {
    const auto at = tensors_.find(name);
    CHECK(at != tensors_.end()) << name;
    CHECK(at->second.tensor->dtype.has_value()) << name;
    return *at->second.tensor->dtype;
  }

  Status read(const plan::TensorSlice& slice, void* out) override {
    const auto at = tensors_.find(slice.name);
    CHECK(at != tensors_.end()) << slice.name;
    return at->second.file->read(*at->second.tensor, slice.rows, slice.columns, out);
  }

 private:
  struct Location {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Location> tensors_;
};

}  // namespace

Result<std::unique_ptr<WeightSource>> open_checkpoint(const std::string& model_dir) {
  auto checkpoint = std::make_unique<Checkpoint>();
  const fs::path dir(model_dir);
  std::error_code error;
  if (fs::exists(dir / kSingleFile, error)) {
    TRY(checkpoint->add_file((dir / kSingleFile).string()));
    return std::unique_ptr<WeightSource>(std::move(checkpoint));
  }
  if (!fs::exists(dir / kIndexFile, error)) {
    return not_found(
        fmt::format("the model folder has neither {} nor {}", kSingleFile, kIndexFile));
  }
  ASSIGN_OR_RETURN(const auto weight_map, read_index(dir / kIndexFile));
  std::map<std::string, std::string> first_tensor_of;  // file -> a tensor that needs it
  for (const auto& [tensor, file] : weight_map) {
    if (!is_plain_file_name(file)) {
      return invalid_argument(fmt::format("{} puts tensor {} in {}, which is not a plain file name",
                                          kIndexFile, in_quotes(tensor), in_quotes(file)));
    }
    first_tensor_of.emplace(file, tensor);
  }
  if (first_tensor_of.size() > kMaxShardFiles) {
    return invalid_argument(fmt::format("{} names {} files; at most {} are allowed", kIndexFile,
                                        first_tensor_of.size(), kMaxShardFiles));
  }
  for (const auto& [file, tensor] : first_tensor_of) {
    if (!fs::exists(dir / file, error)) {
      return not_found(fmt::format("shard {} is missing; {} puts tensor {} in it", in_quotes(file),
                                   kIndexFile, in_quotes(tensor)));
    }
    TRY(checkpoint->add_file((dir / file).string()));
  }
  TRY(checkpoint->check_index(weight_map));
  return std::unique_ptr<WeightSource>(std::move(checkpoint));
}

}  // namespace trireme::worker
