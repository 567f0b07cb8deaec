#include "tests/unit/weights/file_builders.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

#include "base/check.h"
#include "worker/weights/safetensors.h"

namespace trireme::worker {

namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "trireme_weights_XXXXXX").string();
  CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}
TempDir::~TempDir() { fs::remove_all(path_); }

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read_whole_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  CHECK(stream.good()) << path;
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string u64_bytes(uint64_t value) { return bytes_of(std::vector<uint64_t>{value}); }
std::string u32_bytes(uint32_t value) { return bytes_of(std::vector<uint32_t>{value}); }

std::string safetensors_bytes(const std::vector<FileTensor>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::string data;
  for (const FileTensor& tensor : tensors) {
    header += fmt::format(",\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          tensor.name, tensor.dtype, fmt::join(tensor.shape, ","), data.size(),
                          data.size() + tensor.bytes.size());
    data += tensor.bytes;
  }
  header += "}";
  return u64_bytes(header.size()) + header + data;
}

std::vector<FileTensor> read_safetensors(const std::string& path) {
  auto file = SafetensorsFile::open(path);
  CHECK(file.ok()) << file.error().message;
  std::vector<FileTensor> tensors;
  for (const StoredTensor& stored : (*file)->tensors()) {
    const auto data = (*file)->data(stored);
    CHECK(data.ok());
    tensors.push_back({stored.name, stored.stored_dtype, stored.shape,
                       std::string(*data, stored.end - stored.begin)});
  }
  return tensors;
}

namespace {

std::string gguf_text(const std::string& value) { return u64_bytes(value.size()) + value; }

}  // namespace

GgufBuilder& GgufBuilder::raw(const std::string& key, uint32_t type, const std::string& bytes) {
  metadata_ += gguf_text(key) + u32_bytes(type) + bytes;
  ++n_keys_;
  return *this;
}
GgufBuilder& GgufBuilder::u32(const std::string& key, uint32_t value) {
  return raw(key, 4, u32_bytes(value));
}
GgufBuilder& GgufBuilder::f32(const std::string& key, float value) {
  return raw(key, 6, bytes_of(std::vector<float>{value}));
}
GgufBuilder& GgufBuilder::flag(const std::string& key, bool value) {
  return raw(key, 7, std::string(1, value ? '\1' : '\0'));
}
GgufBuilder& GgufBuilder::text(const std::string& key, const std::string& value) {
  return raw(key, 8, gguf_text(value));
}
GgufBuilder& GgufBuilder::texts(const std::string& key, const std::vector<std::string>& values) {
  std::string bytes = u32_bytes(8) + u64_bytes(values.size());
  for (const std::string& value : values) bytes += gguf_text(value);
  return raw(key, 9, bytes);
}
GgufBuilder& GgufBuilder::f32s(const std::string& key, const std::vector<float>& values) {
  return raw(key, 9, u32_bytes(6) + u64_bytes(values.size()) + bytes_of(values));
}
GgufBuilder& GgufBuilder::i32s(const std::string& key, const std::vector<int32_t>& values) {
  return raw(key, 9, u32_bytes(5) + u64_bytes(values.size()) + bytes_of(values));
}
GgufBuilder& GgufBuilder::tensor(const std::string& name, const std::vector<int64_t>& shape,
                                 uint32_t type, const std::string& bytes) {
  tensors_.push_back({name, shape, type, bytes});
  return *this;
}
GgufBuilder& GgufBuilder::f32_tensor(const std::string& name, const std::vector<int64_t>& shape,
                                     const std::vector<float>& values) {
  return tensor(name, shape, 0, bytes_of(values));
}

std::string GgufBuilder::bytes() const {
  const auto pad = [this](std::string& bytes) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  };
  const uint64_t n_tensors =
      claimed_tensors < 0 ? tensors_.size() : static_cast<uint64_t>(claimed_tensors);
  const uint64_t n_keys = claimed_keys < 0 ? n_keys_ : static_cast<uint64_t>(claimed_keys);
  std::string header =
      "GGUF" + u32_bytes(version) + u64_bytes(n_tensors) + u64_bytes(n_keys) + metadata_;
  std::string data;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Entry& tensor = tensors_[i];
    pad(data);
    uint64_t offset = data.size();
    for (const auto& [index, forced] : forced_offsets) {
      if (index == i) offset = forced;
    }
    header += gguf_text(tensor.name) + u32_bytes(static_cast<uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
      header += u64_bytes(static_cast<uint64_t>(*extent));
    }
    header += u32_bytes(tensor.type) + u64_bytes(offset);
    data += tensor.bytes;
  }
  if (!tensors_.empty()) pad(header);
  return header + data;
}

std::pair<int64_t, int64_t> matrix_shape(WeightSource& source, const std::string& name) {
  const auto inventory = source.inventory();
  for (const SourceTensor& tensor : *inventory) {
    if (tensor.name != name) continue;
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    return tensor.shape.size() < 2 ? std::pair(tensor.shape[0], int64_t{1})
                                   : std::pair(rows, tensor.shape.back());
  }
  CHECK(false) << "no tensor " << name;
  return {};
}

std::vector<float> read_slice(WeightSource& source, const std::string& name, plan::Range rows,
                              plan::Range columns) {
  plan::TensorSlice slice{.name = name, .shape = {}, .rows = rows, .columns = columns};
  const auto inventory = source.inventory();
  for (const SourceTensor& tensor : *inventory) {
    if (tensor.name == name) slice.shape = tensor.shape;
  }
  const auto n = static_cast<size_t>(rows.size() * columns.size());
  const DType dtype = source.dtype(name);
  std::vector<char> raw(n * size_of(dtype));
  const Status status = source.read(slice, raw.data());
  CHECK(status.ok()) << status.error().message;
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    const char* at = raw.data() + i * size_of(dtype);
    if (dtype == DType::kF32) {
      std::memcpy(&values[i], at, sizeof(float));
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, at, sizeof(bits));
      values[i] = dtype == DType::kF16 ? to_f32(f16{bits}) : to_f32(bf16{bits});
    }
  }
  return values;
}

std::vector<float> read_all(WeightSource& source, const std::string& name) {
  const auto [rows, columns] = matrix_shape(source, name);
  return read_slice(source, name, {0, rows}, {0, columns});
}

void expect_slices_agree(WeightSource& source) {
  std::mt19937 random(7);
  const auto range = [&](int64_t n) {
    const int64_t a = std::uniform_int_distribution<int64_t>(0, n)(random);
    const int64_t b = std::uniform_int_distribution<int64_t>(0, n)(random);
    return plan::Range{std::min(a, b), std::max(a, b)};
  };
  const auto inventory = source.inventory();
  for (const SourceTensor& tensor : *inventory) {
    const auto [n_rows, n_columns] = matrix_shape(source, tensor.name);
    const std::vector<float> whole = read_all(source, tensor.name);
    for (int round = 0; round < 3; ++round) {
      const plan::Range rows = range(n_rows);
      const plan::Range columns = n_columns == 1 ? plan::Range{0, 1} : range(n_columns);
      std::vector<float> expected;
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const auto from = whole.begin() + row * n_columns;
        expected.insert(expected.end(), from + columns.begin, from + columns.end);
      }
      EXPECT_EQ(read_slice(source, tensor.name, rows, columns), expected)
          << tensor.name << " rows " << rows.begin << ".." << rows.end << " columns "
          << columns.begin << ".." << columns.end;
    }
  }
}

}  // namespace trireme::worker
