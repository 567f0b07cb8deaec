// The header of one GGUF file.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "base/gguf.h"
#include "base/lfs_pointer.h"
#include "base/utf8.h"

namespace trireme {
namespace {

constexpr std::array kTypes = {
    GgufTypeInfo{GgufType::kF32, "F32", 1, 4},
    GgufTypeInfo{GgufType::kF16, "F16", 1, 2},
    GgufTypeInfo{GgufType::kQ4_0, "Q4_0", 32, 18},
    GgufTypeInfo{GgufType::kQ4_1, "Q4_1", 32, 20},
    GgufTypeInfo{GgufType::kQ5_0, "Q5_0", 32, 22},
    GgufTypeInfo{GgufType::kQ5_1, "Q5_1", 32, 24},
    GgufTypeInfo{GgufType::kQ8_0, "Q8_0", 32, 34},
    GgufTypeInfo{GgufType::kQ2_K, "Q2_K", 256, 84},
    GgufTypeInfo{GgufType::kQ3_K, "Q3_K", 256, 110},
    GgufTypeInfo{GgufType::kQ4_K, "Q4_K", 256, 144},
    GgufTypeInfo{GgufType::kQ5_K, "Q5_K", 256, 176},
    GgufTypeInfo{GgufType::kQ6_K, "Q6_K", 256, 210},
    GgufTypeInfo{GgufType::kIQ4_NL, "IQ4_NL", 32, 18},
    GgufTypeInfo{GgufType::kIQ4_XS, "IQ4_XS", 256, 136},
    GgufTypeInfo{GgufType::kBF16, "BF16", 1, 2},
    GgufTypeInfo{GgufType::kMXFP4, "MXFP4", 32, 17},
};

// Well past every published file, and small enough that no product of them overflows.
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxNameBytes = 1 << 10;
constexpr uint64_t kMaxStringBytes = 16 << 20;
constexpr uint64_t kMaxArrayElements = 1 << 24;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kDefaultAlignment = 32;

// The format's numbers for the types of metadata values.
enum ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kFloat64 = 12,
};

// Bytes of one value; of a string, the least.
uint64_t value_bytes(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kFloat32:
      return 4;
    case kU64:
    case kI64:
    case kFloat64:
    case kString:
      return 8;
    default:
      return 0;
  }
}

std::string quoted(std::string_view name) {
  constexpr size_t kMaxShown = 120;
  return name.size() <= kMaxShown ? fmt::format("\"{}\"", name)
                                  : fmt::format("\"{}...\"", name.substr(0, kMaxShown));
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

class HeaderReader {
 public:
  explicit HeaderReader(std::string_view bytes) : bytes_(bytes) {}

  Result<GgufPart> read();

 private:
  uint64_t left() const { return bytes_.size() - at_; }

  template <typename T>
  Result<T> fixed(std::string_view what) {
    if (left() < sizeof(T)) {
      return data_loss(fmt::format("the file ends in the middle of {}", what));
    }
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  template <typename T>
  Result<int64_t> widened(std::string_view what) {
    ASSIGN_OR_RETURN(const T value, fixed<T>(what));
    return static_cast<int64_t>(value);
  }
  Result<std::string> text(uint64_t max_bytes, std::string_view what);
  Result<int64_t> integer(uint32_t type, std::string_view what);
  Result<double> number(uint32_t type, std::string_view what);
  Result<GgufValue> value(uint32_t type, const std::string& key);
  Result<GgufArray> array(const std::string& key);
  Status key_and_value(GgufMetadata* metadata);
  Result<GgufTensor> tensor();
  Status place_tensors(GgufPart* part);
  Status check_magic();

  std::string_view bytes_;
  uint64_t at_ = 0;
};

Result<std::string> HeaderReader::text(uint64_t max_bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const uint64_t size, fixed<uint64_t>(what));
  if (size > max_bytes) {
    return invalid_argument(
        fmt::format("{} claims a text of {} bytes; at most {} are allowed", what, size, max_bytes));
  }
  if (size > left()) return data_loss(fmt::format("the file ends in the middle of {}", what));
  std::string result(bytes_.substr(at_, size));
  at_ += size;
  return result;
}

Result<int64_t> HeaderReader::integer(uint32_t type, std::string_view what) {
  switch (type) {
    case kU8:
      return widened<uint8_t>(what);
    case kI8:
      return widened<int8_t>(what);
    case kU16:
      return widened<uint16_t>(what);
    case kI16:
      return widened<int16_t>(what);
    case kU32:
      return widened<uint32_t>(what);
    case kI32:
      return widened<int32_t>(what);
    case kI64:
      return fixed<int64_t>(what);
    default: {
      ASSIGN_OR_RETURN(const uint64_t v, fixed<uint64_t>(what));
      if (v > static_cast<uint64_t>(INT64_MAX)) {
        return invalid_argument(fmt::format("{} is {}, which is out of range", what, v));
      }
      return static_cast<int64_t>(v);
    }
  }
}

Result<double> HeaderReader::number(uint32_t type, std::string_view what) {
  if (type == kFloat64) return fixed<double>(what);
  ASSIGN_OR_RETURN(const float v, fixed<float>(what));
  return double{v};
}

Result<GgufArray> HeaderReader::array(const std::string& key) {
  const std::string what = fmt::format("key {}", quoted(key));
  ASSIGN_OR_RETURN(const uint32_t type, fixed<uint32_t>(what));
  ASSIGN_OR_RETURN(const uint64_t count, fixed<uint64_t>(what));
  const uint64_t each = value_bytes(type);
  if (each == 0) {
    return unimplemented(
        fmt::format("{} is a list of values of type {}, which is not supported", what, type));
  }
  if (count > kMaxArrayElements) {
    return invalid_argument(fmt::format("{} claims a list of {} values; at most {} are allowed",
                                        what, count, kMaxArrayElements));
  }
  if (count > left() / each) {
    return data_loss(fmt::format("the file ends in the middle of {}", what));
  }
  if (type == kString) {
    std::vector<std::string> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(std::string value, text(kMaxStringBytes, what));
      values.push_back(std::move(value));
    }
    return GgufArray(std::move(values));
  }
  if (type == kFloat32 || type == kFloat64) {
    std::vector<double> values(count);
    for (double& value : values) {
      ASSIGN_OR_RETURN(value, number(type, what));
    }
    return GgufArray(std::move(values));
  }
  std::vector<int64_t> values(count);
  for (int64_t& value : values) {
    ASSIGN_OR_RETURN(value, integer(type == kBool ? uint32_t{kU8} : type, what));
  }
  return GgufArray(std::move(values));
}

Result<GgufValue> HeaderReader::value(uint32_t type, const std::string& key) {
  const std::string what = fmt::format("key {}", quoted(key));
  switch (type) {
    case kFloat32:
    case kFloat64: {
      ASSIGN_OR_RETURN(const double v, number(type, what));
      return GgufValue(v);
    }
    case kBool: {
      ASSIGN_OR_RETURN(const uint8_t v, fixed<uint8_t>(what));
      if (v > 1) return invalid_argument(fmt::format("{} is neither true nor false", what));
      return GgufValue(v == 1);
    }
    case kString: {
      ASSIGN_OR_RETURN(std::string v, text(kMaxStringBytes, what));
      return GgufValue(std::move(v));
    }
    case kArray: {
      ASSIGN_OR_RETURN(GgufArray v, array(key));
      return GgufValue(std::move(v));
    }
    default:
      if (value_bytes(type) == 0) {
        return invalid_argument(fmt::format("{} has a value of unknown type {}", what, type));
      }
      ASSIGN_OR_RETURN(const int64_t v, integer(type, what));
      return GgufValue(v);
  }
}

Status HeaderReader::key_and_value(GgufMetadata* metadata) {
  ASSIGN_OR_RETURN(const std::string key, text(kMaxNameBytes, "a key"));
  if (!is_valid_utf8(key)) return invalid_argument("a key of the metadata is not UTF-8");
  ASSIGN_OR_RETURN(const uint32_t type, fixed<uint32_t>(fmt::format("key {}", quoted(key))));
  ASSIGN_OR_RETURN(GgufValue read, value(type, key));
  if (!metadata->emplace(key, std::move(read)).second) {
    return invalid_argument(fmt::format("key {} occurs twice", quoted(key)));
  }
  return {};
}

// `begin` is left relative to the data's start, which is known only after the last tensor.
Result<GgufTensor> HeaderReader::tensor() {
  GgufTensor tensor;
  ASSIGN_OR_RETURN(tensor.name, text(kMaxNameBytes, "a tensor's name"));
  if (!is_valid_utf8(tensor.name)) return invalid_argument("a tensor's name is not UTF-8");
  const std::string what = fmt::format("tensor {}", quoted(tensor.name));
  ASSIGN_OR_RETURN(const uint32_t n_dims, fixed<uint32_t>(what));
  if (n_dims < 1 || n_dims > kMaxDims) {
    return invalid_argument(fmt::format("{} has {} dimensions", what, n_dims));
  }
  uint64_t elements = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    ASSIGN_OR_RETURN(const uint64_t extent, fixed<uint64_t>(what));
    if (extent > static_cast<uint64_t>(INT64_MAX) ||
        __builtin_mul_overflow(elements, extent, &elements) ||
        elements > static_cast<uint64_t>(INT64_MAX) / 8) {
      return invalid_argument(fmt::format("{} has an absurd shape", what));
    }
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  ASSIGN_OR_RETURN(const uint32_t type, fixed<uint32_t>(what));
  ASSIGN_OR_RETURN(tensor.begin, fixed<uint64_t>(what));
  tensor.type = gguf_type_info(type);
  if (tensor.type == nullptr) {
    return unimplemented(
        fmt::format("{} is stored as type {}, which is not supported", what, type));
  }
  if (tensor.shape.back() % tensor.type->block_elements != 0) {
    return invalid_argument(fmt::format("{} has rows of {}, which is no multiple of {}'s block {}",
                                        what, tensor.shape.back(), tensor.type->name,
                                        tensor.type->block_elements));
  }
  // A block is at most 4 bytes per element, so this stays below 2^63.
  tensor.bytes = elements / static_cast<uint64_t>(tensor.type->block_elements) *
                 static_cast<uint64_t>(tensor.type->block_bytes);
  return tensor;
}

// The tensors fill the data from its start, each aligned, in any order, without overlap or hole.
Status HeaderReader::place_tensors(GgufPart* part) {
  uint64_t alignment = kDefaultAlignment;
  if (const auto found = part->metadata.find("general.alignment"); found != part->metadata.end()) {
    const auto* value = std::get_if<int64_t>(&found->second);
    if (value == nullptr || *value < 1 || static_cast<uint64_t>(*value) > kMaxAlignment ||
        !std::has_single_bit(static_cast<uint64_t>(*value))) {
      return invalid_argument("key \"general.alignment\" is not a power of two in range");
    }
    alignment = static_cast<uint64_t>(*value);
  }
  const auto aligned = [&](uint64_t n) { return (n + alignment - 1) / alignment * alignment; };
  const uint64_t data_start = part->tensors.empty() ? bytes_.size() : aligned(at_);
  const uint64_t data_bytes = bytes_.size() > data_start ? bytes_.size() - data_start : 0;
  std::vector<GgufTensor*> order;
  std::unordered_set<std::string_view> names;
  for (GgufTensor& tensor : part->tensors) {
    const std::string what = fmt::format("tensor {}", quoted(tensor.name));
    if (!names.insert(tensor.name).second) return invalid_argument(what + " occurs twice");
    if (tensor.begin % alignment != 0) {
      return invalid_argument(fmt::format("{} begins at byte {}, which is not aligned to {}", what,
                                          tensor.begin, alignment));
    }
    if (tensor.bytes > data_bytes || tensor.begin > data_bytes - tensor.bytes) {
      return data_loss(fmt::format("{} claims {} bytes from {}, but the file holds {} of data",
                                   what, tensor.bytes, tensor.begin, data_bytes));
    }
    order.push_back(&tensor);
  }
  // A tensor without elements fits anywhere, but nothing begins behind the file's end.
  if (data_start > bytes_.size()) return data_loss("the file ends before its tensors' data");
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return a->begin != b->begin ? a->begin < b->begin : a->bytes < b->bytes;
  });
  uint64_t end = 0;
  for (GgufTensor* tensor : order) {
    if (tensor->begin < end) {
      return invalid_argument(
          fmt::format("tensor {} overlaps the one before it", quoted(tensor->name)));
    }
    if (tensor->begin - end >= alignment) {
      return invalid_argument(fmt::format("{} bytes before tensor {} belong to no tensor",
                                          tensor->begin - end, quoted(tensor->name)));
    }
    end = tensor->begin + tensor->bytes;
    tensor->begin += data_start;
  }
  if (!order.empty() && data_bytes - end >= alignment) {
    return invalid_argument(
        fmt::format("{} bytes after the last tensor belong to no tensor", data_bytes - end));
  }
  return {};
}

Status HeaderReader::check_magic() {
  if (is_lfs_pointer(bytes_)) return data_loss(fmt::format("the file {}", kIsLfsPointer));
  if (bytes_.size() < 4 || bytes_.substr(0, 4) != "GGUF") {
    return invalid_argument("the file does not begin with GGUF");
  }
  at_ = 4;
  ASSIGN_OR_RETURN(const uint32_t version, fixed<uint32_t>("the version"));
  if (version == 2 || version == 3) return {};
  const bool swapped = (version & 0xffu) == 0;
  return unimplemented(swapped ? std::string("the file is big-endian, which is not supported")
                               : fmt::format("GGUF version {} is not supported", version));
}

Result<GgufPart> HeaderReader::read() {
  TRY(check_magic());
  ASSIGN_OR_RETURN(const uint64_t n_tensors, fixed<uint64_t>("the tensor count"));
  ASSIGN_OR_RETURN(const uint64_t n_keys, fixed<uint64_t>("the key count"));
  if (n_tensors > kMaxTensors || n_keys > kMaxKeys) {
    return invalid_argument(
        fmt::format("the header claims {} tensors and {} keys; at most {} and "
                    "{} are allowed",
                    n_tensors, n_keys, kMaxTensors, kMaxKeys));
  }
  GgufPart part;
  for (uint64_t i = 0; i < n_keys; ++i) TRY(key_and_value(&part.metadata));
  for (uint64_t i = 0; i < n_tensors; ++i) {
    ASSIGN_OR_RETURN(GgufTensor next, tensor());
    part.tensors.push_back(std::move(next));
  }
  TRY(place_tensors(&part));
  return part;
}

}  // namespace

const GgufTypeInfo* gguf_type_info(uint32_t type) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [type](const GgufTypeInfo& info) {
    return static_cast<uint32_t>(info.type) == type;
  });
  return found == kTypes.end() ? nullptr : &*found;
}

Result<GgufPart> parse_gguf(std::string_view bytes) { return HeaderReader(bytes).read(); }

}  // namespace trireme
