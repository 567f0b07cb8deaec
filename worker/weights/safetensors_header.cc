#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

struct StoredType {
  std::string_view name;
  int64_t bytes;
  std::optional<DType> dtype;
};

// Types that the format defines. Only the float types that a backend packs have a DType: the others
// may appear in buffers that a model ignores, and their sizes are still checked.
constexpr StoredType kStoredTypes[] = {
    {"F32", 4, DType::kF32},   {"F16", 2, DType::kF16},      {"BF16", 2, DType::kBF16},
    {"F64", 8, std::nullopt},  {"I64", 8, std::nullopt},     {"U64", 8, std::nullopt},
    {"I32", 4, std::nullopt},  {"U32", 4, std::nullopt},     {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},  {"I8", 1, std::nullopt},      {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt}, {"F8_E4M3", 1, std::nullopt}, {"F8_E5M2", 1, std::nullopt},
};

// Builds the tensor list while the parser walks the text: a tree would silently merge duplicate
// names.
class HeaderHandler {
 public:
  using json = nlohmann::json;

  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_float(json::number_float_t, const std::string&) { return unexpected("a fraction"); }
  bool binary(json::binary_t&) { return unexpected("binary data"); }
  bool number_integer(json::number_integer_t) { return unexpected("a negative number"); }

  bool number_unsigned(json::number_unsigned_t value) {
    if (state_ == State::kShape) {
      if (current_.shape.size() == kMaxTensorRank) return fail("has too many dimensions");
      if (value > static_cast<uint64_t>(INT64_MAX)) return fail("has an absurd dimension");
      current_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (n_offsets_ == 2) return fail("has more than two data_offsets");
      (n_offsets_ == 0 ? current_.begin : current_.end) = value;
      ++n_offsets_;
      return true;
    }
    return unexpected("a number");
  }

  bool string(json::string_t& value) {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kField || field_ != "dtype") return unexpected("a string");
    current_.stored_dtype = value;
    state_ = State::kTensor;
    return true;
  }

  bool start_object(size_t) {
    if (state_ == State::kStart) {
      state_ = State::kNames;
      return true;
    }
    if (state_ != State::kName) return unexpected("an object");
    state_ = current_.name == "__metadata__" ? State::kMetadata : State::kTensor;
    seen_fields_.clear();
    return true;
  }

  bool key(json::string_t& value) {
    if (state_ == State::kMetadata) return true;
    if (state_ == State::kNames) {
      current_ = StoredTensor{};
      current_.name = value;
      n_offsets_ = 0;
      state_ = State::kName;
      if (!names_.insert(value).second) return fail("appears twice in the header");
      return true;
    }
    field_ = value;
    if (field_ != "dtype" && field_ != "shape" && field_ != "data_offsets") {
      return fail(fmt::format("has an unknown field {}", in_quotes(field_)));
    }
    if (!seen_fields_.insert(field_).second) return fail(fmt::format("has {} twice", field_));
    state_ = State::kField;
    return true;
  }

  bool end_object() {
    if (state_ == State::kNames) {
      state_ = State::kEnd;
      return true;
    }
    if (state_ == State::kTensor) {
      if (seen_fields_.size() != 3) return fail("lacks dtype, shape or data_offsets");
      tensors_.push_back(std::move(current_));
    }
    state_ = State::kNames;
    return true;
  }

  bool start_array(size_t) {
    if (state_ == State::kField && field_ == "shape") {
      state_ = State::kShape;
    } else if (state_ == State::kField && field_ == "data_offsets") {
      state_ = State::kOffsets;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() {
    if (state_ == State::kOffsets && n_offsets_ != 2) return fail("lacks a data offset");
    state_ = State::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    if (error_.empty()) error_ = fmt::format("the header is not JSON (byte {})", position);
    return false;
  }

  const std::string& error() const { return error_; }
  bool complete() const { return state_ == State::kEnd; }
  std::vector<StoredTensor> take_tensors() { return std::move(tensors_); }

 private:
  enum class State { kStart, kNames, kName, kTensor, kField, kShape, kOffsets, kMetadata, kEnd };

  bool fail(const std::string& what) {
    error_ = fmt::format("tensor {} {}", in_quotes(current_.name), what);
    return false;
  }
  bool unexpected(std::string_view what) {
    if (state_ == State::kStart) {
      error_ = "the header is not a JSON object";
    } else {
      error_ = fmt::format("tensor {} has {} where its header allows none",
                           in_quotes(current_.name), what);
    }
    return false;
  }

  State state_ = State::kStart;
  StoredTensor current_;
  std::string field_;
  int n_offsets_ = 0;
  std::unordered_set<std::string> seen_fields_;
  std::unordered_set<std::string> names_;
  std::vector<StoredTensor> tensors_;
  std::string error_;
};

// dtype known, shape x dtype == the bytes between the offsets, offsets inside the data.
Status check_extent(StoredTensor& tensor, uint64_t data_bytes) {
  const auto* type =
      std::find_if(std::begin(kStoredTypes), std::end(kStoredTypes),
                   [&](const StoredType& t) { return t.name == tensor.stored_dtype; });
  if (type == std::end(kStoredTypes)) {
    return invalid_argument(fmt::format("tensor {} has an unknown dtype {}", in_quotes(tensor.name),
                                        in_quotes(tensor.stored_dtype)));
  }
  tensor.dtype = type->dtype;
  tensor.element_bytes = type->bytes;
  if (tensor.begin > tensor.end || tensor.end > data_bytes) {
    return invalid_argument(
        fmt::format("tensor {} claims bytes {} to {}, but the file holds {} bytes of data",
                    in_quotes(tensor.name), tensor.begin, tensor.end, data_bytes));
  }
  uint64_t bytes = static_cast<uint64_t>(type->bytes);
  for (const int64_t extent : tensor.shape) {
    // Below 2^63, so that a count of rows fits int64 even where a zero follows.
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes) ||
        bytes > static_cast<uint64_t>(INT64_MAX)) {
      return invalid_argument(fmt::format("tensor {} has an absurd shape", in_quotes(tensor.name)));
    }
  }
  if (bytes != tensor.end - tensor.begin) {
    return invalid_argument(fmt::format("tensor {} has a shape of {} bytes, but {} bytes of data",
                                        in_quotes(tensor.name), bytes, tensor.end - tensor.begin));
  }
  return {};
}

}  // namespace

std::string in_quotes(std::string_view name) {
  constexpr size_t kMaxShown = 120;
  if (name.size() <= kMaxShown) return fmt::format("\"{}\"", name);
  return fmt::format("\"{}...\" ({} bytes long)", name.substr(0, kMaxShown), name.size());
}

Result<std::vector<StoredTensor>> parse_safetensors_header(std::string_view header_json,
                                                           uint64_t data_bytes) {
  HeaderHandler handler;
  const bool parsed = nlohmann::json::sax_parse(header_json.begin(), header_json.end(), &handler);
  if (!parsed) return invalid_argument(handler.error());
  if (!handler.complete()) return invalid_argument("the header is not a JSON object");

  std::vector<StoredTensor> tensors = handler.take_tensors();
  for (StoredTensor& tensor : tensors) TRY(check_extent(tensor, data_bytes));
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t at = 0;
  const StoredTensor* previous = nullptr;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin < at) {
      return invalid_argument(fmt::format("tensors {} and {} overlap", in_quotes(previous->name),
                                          in_quotes(tensor.name)));
    }
    if (tensor.begin > at) {
      return invalid_argument(fmt::format("{} bytes before tensor {} belong to no tensor",
                                          tensor.begin - at, in_quotes(tensor.name)));
    }
    at = tensor.end;
    previous = &tensor;
  }
  if (at != data_bytes) {
    return invalid_argument(
        fmt::format("{} bytes after the last tensor{} belong to no tensor", data_bytes - at,
                    previous == nullptr ? std::string() : " " + in_quotes(previous->name)));
  }
  return tensors;
}

}  // namespace trireme::worker
