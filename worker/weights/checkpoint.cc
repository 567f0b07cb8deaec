#include "worker/weights/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/gguf.h"
#include "worker/weights/checkpoint_index.h"
#include "worker/weights/gguf_source.h"
#include "worker/weights/quantized_checkpoint.h"

namespace trireme::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr size_t kMaxShardFiles = 4096;

// Serialisations that run code when they are opened, or that nothing here reads. They are named in
// an error so that nobody wonders, and never opened.
constexpr std::array<std::string_view, 8> kNeverOpened = {".bin", ".pt", ".pth",     ".ckpt",
                                                          ".pkl", ".h5", ".msgpack", ".onnx"};

// Says what the folder holds instead.
Error no_checkpoint(const fs::path& dir) {
  std::error_code error;
  std::string never_opened;
  std::string other;  // the first by name
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const std::string extension = it->path().extension().string();
    if (extension == ".safetensors" && (other.empty() || name < other)) other = name;
    if (std::find(kNeverOpened.begin(), kNeverOpened.end(), extension) != kNeverOpened.end()) {
      never_opened = name;
    }
  }
  std::string message = fmt::format("the model folder has neither {} nor {} nor a GGUF file",
                                    kSingleFile, kIndexFile);
  if (other.find("-of-") != std::string::npos) {
    message += fmt::format("; {} is a part of many, and only the index says which there are",
                           in_quotes(other));
  } else if (!other.empty()) {
    message += fmt::format("; {} is of another layout", in_quotes(other));
  } else if (!never_opened.empty()) {
    message += fmt::format("; {} is of a kind that is never opened, convert it to safetensors",
                           in_quotes(never_opened));
  }
  return not_found(std::move(message));
}

}  // namespace

Result<const uint8_t*> RawTensor::data() const {
  ASSIGN_OR_RETURN(const char* bytes, file->data(*stored));
  return reinterpret_cast<const uint8_t*>(bytes);
}

Status Checkpoint::add_file(const std::string& path) {
  ASSIGN_OR_RETURN(auto file, SafetensorsFile::open(path));
  for (const StoredTensor& tensor : file->tensors()) {
    const auto [at, is_new] = tensors_.emplace(tensor.name, RawTensor{file.get(), &tensor});
    if (!is_new) {
      return invalid_argument(fmt::format("tensor {} is in both {} and {}", in_quotes(tensor.name),
                                          at->second.file->name(), file->name()));
    }
  }
  files_.push_back(std::move(file));
  return {};
}

// The index and the files must agree on where every tensor is.
Status Checkpoint::check_index(const std::map<std::string, std::string>& weight_map) const {
  for (const auto& [tensor, file] : weight_map) {
    const RawTensor* raw = find(tensor);
    if (raw == nullptr || raw->file->name() != file) {
      return invalid_argument(fmt::format("{} puts tensor {} in {}, which does not hold it",
                                          kIndexFile, in_quotes(tensor), in_quotes(file)));
    }
  }
  for (const auto& [tensor, raw] : tensors_) {
    if (!weight_map.contains(tensor)) {
      return invalid_argument(fmt::format("{} holds tensor {}, which {} does not list",
                                          raw.file->name(), in_quotes(tensor), kIndexFile));
    }
  }
  return {};
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string& model_dir) {
  auto checkpoint = std::make_unique<Checkpoint>();
  const fs::path dir(model_dir);
  std::error_code error;
  if (fs::exists(dir / kSingleFile, error)) {
    TRY(checkpoint->add_file((dir / kSingleFile).string()));
    return checkpoint;
  }
  if (!fs::exists(dir / kIndexFile, error)) return no_checkpoint(dir);
  ASSIGN_OR_RETURN(const auto weight_map, read_index((dir / kIndexFile).string()));
  std::map<std::string, std::string> first_tensor_of;  // file -> a tensor that needs it
  for (const auto& [tensor, file] : weight_map) first_tensor_of.emplace(file, tensor);
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
  return checkpoint;
}

const RawTensor* Checkpoint::find(std::string_view name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

std::optional<std::vector<SourceTensor>> Checkpoint::inventory() const {
  std::vector<SourceTensor> list;
  list.reserve(tensors_.size());
  for (const auto& [name, raw] : tensors_) {
    if (find_kv_scale(name).has_value()) continue;
    list.push_back({name, raw.shape(), raw.stored->dtype, raw.type()});
  }
  return list;
}

DType Checkpoint::dtype(const std::string& name) const {
  const RawTensor* raw = find(name);
  CHECK(raw != nullptr) << name;
  CHECK(raw->stored->dtype.has_value()) << name;
  return *raw->stored->dtype;
}

Status Checkpoint::read(const plan::TensorSlice& slice, void* out) {
  const RawTensor* raw = find(slice.name);
  CHECK(raw != nullptr) << slice.name;
  return raw->file->read(*raw->stored, slice.rows, slice.columns, out);
}

Status WeightSource::read_low_bit(const plan::TensorSlice& slice, const LowBitRows&) {
  CHECK(false) << slice.name << " has no low-bit form";
  return {};
}

Result<std::unique_ptr<WeightSource>> open_checkpoint(const std::string& model_path,
                                                      const plan::QuantizationSpec& quantization) {
  ASSIGN_OR_RETURN(const std::optional<std::string> gguf, find_gguf(model_path));
  if (gguf.has_value()) return open_gguf_source(*gguf);
  ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::open(model_path));
  if (quantization.enabled()) {
    return open_quantized_checkpoint(std::move(checkpoint), quantization);
  }
  return std::unique_ptr<WeightSource>(std::move(checkpoint));
}

}  // namespace trireme::worker
