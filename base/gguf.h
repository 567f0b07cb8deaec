// The GGUF container: typed metadata and named tensors in one file or in numbered parts.
//
// Reads versions 2 and 3, little-endian; knows nothing of models (parallel/plan/gguf_config.h) or
// of what the bytes of a tensor mean beyond their number (kernels/quant). Everything a header
// claims is bounded and checked with overflow checks before it is believed: counts against the
// bytes that are left, offsets against the file, tensors against each other. Immutable after open,
// and thread-safe.
//
// Layout: magic, version, counts; metadata (key, type, value); per tensor its name, sizes (fastest
// first), type and offset; then the data, each tensor aligned to `general.alignment` (default 32).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"

namespace trireme {

// How a tensor is stored. The numbers are the format's own.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
  kMXFP4 = 39,
};

// A row of a tensor is a whole number of blocks.
struct GgufTypeInfo {
  GgufType type;
  std::string_view name;  // "Q4_K"
  int64_t block_elements;
  int64_t block_bytes;
};

// Null for a type that this build does not read.
const GgufTypeInfo* gguf_type_info(uint32_t type);

struct GgufTensor {
  std::string name;            // "blk.0.attn_q.weight"
  std::vector<int64_t> shape;  // slowest first, as everywhere in this code: [out, in]
  const GgufTypeInfo* type = nullptr;
  size_t part = 0;     // which file
  uint64_t begin = 0;  // bytes from the start of that file
  uint64_t bytes = 0;

  int64_t row_bytes() const { return shape.back() / type->block_elements * type->block_bytes; }
};

// A list of one type. Numbers of all widths are kept as the widest of their kind.
using GgufArray = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;
using GgufValue = std::variant<int64_t, double, bool, std::string, GgufArray>;
using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

// One file's header, understood.
struct GgufPart {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // `part` is 0; `begin` counts from the start of the file
};

// Pure: the fuzz target's door. `bytes` is the whole file. data_loss where it ends too early,
// invalid_argument or unimplemented with the key or tensor otherwise.
Result<GgufPart> parse_gguf(std::string_view bytes);

class Gguf {
 public:
  // A file, or any part of a file that is split as NAME-00001-of-00003.gguf: all parts are opened.
  static Result<std::shared_ptr<const Gguf>> open(const std::string& path);

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;
  // The stored bytes; data_loss when the file has shrunk since it was opened.
  Result<const char*> data(const GgufTensor& tensor) const;

  const GgufMetadata& metadata() const { return metadata_; }
  // Every part, in order.
  const std::vector<std::unique_ptr<MappedFile>>& files() const { return files_; }
  bool has(std::string_view key) const { return metadata_.find(key) != metadata_.end(); }
  // Typed reads; errors name the key. An integer or number must lie in [low, high].
  Result<int64_t> integer(std::string_view key, int64_t low, int64_t high) const;
  Result<int64_t> integer_or(std::string_view key, int64_t low, int64_t high,
                             int64_t fallback) const;
  Result<double> number(std::string_view key, double low, double high) const;
  Result<double> number_or(std::string_view key, double low, double high, double fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string> string(std::string_view key) const;
  Result<std::string> string_or(std::string_view key, const std::string& fallback) const;
  // Absent: null. A value of another type: an error.
  Result<const std::vector<std::string>*> strings(std::string_view key) const;
  Result<const std::vector<int64_t>*> integers(std::string_view key) const;
  Result<const std::vector<double>*> numbers(std::string_view key) const;

 private:
  Gguf() = default;
  Status add_part(const std::string& path, size_t index, size_t n_parts);
  const GgufValue* find(std::string_view key) const;
  template <typename T>
  Result<const std::vector<T>*> array(std::string_view key, const char* of) const;

  std::vector<std::unique_ptr<MappedFile>> files_;
  GgufMetadata metadata_;  // of the first part
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

// The GGUF file that a model path means: the path itself when it ends in .gguf, else the one in a
// folder that has no safetensors (of a split one, the first part). Nullopt: not GGUF.
// invalid_argument lists the files of a folder with several.
Result<std::optional<std::string>> find_gguf(const std::string& path);

}  // namespace trireme
