// Checkpoint: the safetensors files of a model folder as they are stored, with access to raw bytes.
//
// What quantised sources are built on. All headers are read and checked when it is opened. Used by
// one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "worker/weights/safetensors.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

// A stored tensor and the file that holds it. Valid as long as the checkpoint.
struct RawTensor {
  const SafetensorsFile* file = nullptr;
  const StoredTensor* stored = nullptr;

  const std::string& name() const { return stored->name; }
  const std::vector<int64_t>& shape() const { return stored->shape; }
  const std::string& type() const { return stored->stored_dtype; }
  // The bytes, densely row-major; data_loss when the file has shrunk since it was opened.
  Result<const uint8_t*> data() const;
};

class Checkpoint final : public WeightSource {
 public:
  // The errors of open_checkpoint.
  static Result<std::unique_ptr<Checkpoint>> open(const std::string& model_dir);

  const std::map<std::string, RawTensor, std::less<>>& tensors() const { return tensors_; }
  // Null when there is none.
  const RawTensor* find(std::string_view name) const;

  std::optional<std::vector<SourceTensor>> inventory() const override;
  DType dtype(const std::string& name) const override;
  Status read(const plan::TensorSlice& slice, void* out) override;
  Result<KvScalesByLayer> kv_scales() const override;

 private:
  Status add_file(const std::string& path);
  Status check_index(const std::map<std::string, std::string>& weight_map) const;

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, RawTensor, std::less<>> tensors_;
};

}  // namespace trireme::worker
