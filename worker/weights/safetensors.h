// One safetensors file, mapped read-only and checked before anything in it is believed.
//
// Format: u64 little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, then
// the tensors' bytes, which tile the rest of the file without holes or overlaps. Every size is
// computed with overflow checks; a duplicate name, a shape that does not match its bytes, an offset
// outside the file are errors that name the tensor. Not thread-safe; several processes may map one
// file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "kernels/dtype.h"
#include "parallel/plan/parallel_plan.h"

namespace trireme::worker {

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr size_t kMaxTensorRank = 8;

struct StoredTensor {
  std::string name;
  std::string stored_dtype;    // as the header says, e.g. "BF16", "BOOL"
  std::optional<DType> dtype;  // absent: a type that no weight of ours may have
  int64_t element_bytes = 0;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data section
  uint64_t end = 0;
};

// The tensors of a header in the order of their bytes, which fill exactly `data_bytes`. Pure: the
// fuzz target's door. invalid_argument names the tensor.
Result<std::vector<StoredTensor>> parse_safetensors_header(std::string_view header_json,
                                                           uint64_t data_bytes);

// `name` in quotes, shortened where it is long, for an error's sentence.
std::string in_quotes(std::string_view name);

class SafetensorsFile {
 public:
  // not_found, data_loss (shorter than its header says) or invalid_argument; messages name the file
  // without its folder.
  static Result<std::unique_ptr<SafetensorsFile>> open(const std::string& path);

  const std::string& name() const { return file_->name(); }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }

  // The tensor's bytes, densely row-major. data_loss when the file has shrunk since it was opened:
  // a read behind its end would be a SIGBUS.
  Result<const char*> data(const StoredTensor& tensor) const;
  // Copies rows x columns densely to `out`. A tensor of more than two dimensions is seen as a
  // matrix of all but the last by the last, one of one dimension as a single column.
  Status read(const StoredTensor& tensor, plan::Range rows, plan::Range columns, void* out) const;

 private:
  explicit SafetensorsFile(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {}

  std::unique_ptr<MappedFile> file_;
  uint64_t data_start_ = 0;
  std::vector<StoredTensor> tensors_;
};

}  // namespace trireme::worker
