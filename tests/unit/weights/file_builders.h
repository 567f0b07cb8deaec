// Small checkpoint files, made in memory and written to a folder that goes away with the test.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "parallel/plan/quantization_spec.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  std::string operator/(const std::string& file) const { return (path_ / file).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

void write_file(const std::string& path, const std::string& bytes);
std::string read_whole_file(const std::string& path);

// The little-endian bytes of plain numbers.
template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// A tensor of a safetensors file.
struct FileTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
std::string safetensors_bytes(const std::vector<FileTensor>& tensors);
// The tensors of a safetensors file on disk, to be broken.
std::vector<FileTensor> read_safetensors(const std::string& path);

// Builds a GGUF file. Offsets are laid out and aligned unless a tensor sets its own.
class GgufBuilder {
 public:
  GgufBuilder& u32(const std::string& key, uint32_t value);
  GgufBuilder& f32(const std::string& key, float value);
  GgufBuilder& flag(const std::string& key, bool value);
  GgufBuilder& text(const std::string& key, const std::string& value);
  GgufBuilder& texts(const std::string& key, const std::vector<std::string>& values);
  GgufBuilder& f32s(const std::string& key, const std::vector<float>& values);
  GgufBuilder& i32s(const std::string& key, const std::vector<int32_t>& values);
  // Any value: its type's number and its bytes.
  GgufBuilder& raw(const std::string& key, uint32_t type, const std::string& bytes);
  // `shape` is slowest first, [out, in]; `type` the format's number.
  GgufBuilder& tensor(const std::string& name, const std::vector<int64_t>& shape, uint32_t type,
                      const std::string& bytes);
  GgufBuilder& f32_tensor(const std::string& name, const std::vector<int64_t>& shape,
                          const std::vector<float>& values);
  std::string bytes() const;

  uint32_t version = 3;
  uint64_t alignment = 32;  // of the layout; the key is the caller's to write
  int64_t claimed_tensors = -1;
  int64_t claimed_keys = -1;
  std::vector<std::pair<size_t, uint64_t>> forced_offsets;  // tensor index, offset

 private:
  struct Entry {
    std::string name;
    std::vector<int64_t> shape;
    uint32_t type;
    std::string bytes;
  };
  std::string metadata_;
  uint64_t n_keys_ = 0;
  std::vector<Entry> tensors_;
};

std::string u64_bytes(uint64_t value);
std::string u32_bytes(uint32_t value);

// A whole tensor of a source as f32, whatever its type. Aborts when the source cannot read it.
std::vector<float> read_all(WeightSource& source, const std::string& name);
// Rows x columns of it.
std::vector<float> read_slice(WeightSource& source, const std::string& name, plan::Range rows,
                              plan::Range columns);
// The shape of a tensor of the source's inventory, more than two dimensions as [rows, last].
std::pair<int64_t, int64_t> matrix_shape(WeightSource& source, const std::string& name);

// Random slices of every tensor equal the same part of the whole.
void expect_slices_agree(WeightSource& source);

}  // namespace trireme::worker
