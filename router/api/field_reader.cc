#include "router/api/field_reader.h"

#include <fmt/format.h>

#include <limits>

namespace trireme::router {
namespace {

// An integer, also when it is written 5.0; nothing where it is not one or does not fit.
// `beyond`: it is one, and no int64; what is returned is then the nearest that is.
std::optional<int64_t> as_integer(const Json& value, bool* beyond) {
  if (value.is_number_unsigned()) {
    const auto v = value.get<uint64_t>();
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      *beyond = true;
      return std::numeric_limits<int64_t>::max();
    }
    return static_cast<int64_t>(v);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double v = value.get<double>();
    if (std::floor(v) != v) return std::nullopt;
    if (std::abs(v) >= 9.2e18) {
      *beyond = true;
      return v > 0 ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
    }
    return static_cast<int64_t>(v);
  }
  return std::nullopt;
}

}  // namespace

std::optional<bool> FieldReader::boolean(const char* name) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    fail(bad_request(fmt::format("{} must be true or false", name), name));
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<int64_t> FieldReader::integer_value(const Json& value, const std::string& what,
                                                  int64_t min, int64_t max,
                                                  const std::string& param) {
  if (!ok()) return std::nullopt;
  bool beyond = false;
  const auto v = as_integer(value, &beyond);
  if (!v) {
    fail(bad_request(fmt::format("{} must be an integer", what), param));
    return std::nullopt;
  }
  if (beyond || *v < min || *v > max) {
    const bool open_ended = max >= std::numeric_limits<int32_t>::max() && *v < min;
    fail(bad_request(open_ended ? fmt::format("{} must be at least {}", what, min)
                                : fmt::format("{} must be between {} and {}", what, min, max),
                     param));
    return std::nullopt;
  }
  return v;
}

std::optional<int64_t> FieldReader::integer(const char* name, int64_t min, int64_t max) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return std::nullopt;
  return integer_value(*value, name, min, max, name);
}

std::optional<double> FieldReader::number(const char* name, double min, double max) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    fail(bad_request(fmt::format("{} must be a number", name), name));
    return std::nullopt;
  }
  const auto v = value->get<double>();
  // Written so that a NaN fails too.
  if (!(v >= min && v <= max)) {
    fail(bad_request(fmt::format("{} must be between {} and {}", name, min, max), name));
    return std::nullopt;
  }
  return v;
}

std::optional<std::string> FieldReader::string(const char* name, size_t max_bytes) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    fail(bad_request(fmt::format("{} must be a string", name), name));
    return std::nullopt;
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    fail(bad_request(fmt::format("{} is longer than {} bytes", name, max_bytes), name));
    return std::nullopt;
  }
  return text;
}

std::vector<int32_t> FieldReader::ids(const char* name, int32_t vocab, size_t max_entries) {
  std::vector<int32_t> out;
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return out;
  if (!value->is_array()) {
    fail(bad_request(fmt::format("{} must be a list of token ids", name), name));
    return out;
  }
  if (value->size() > max_entries) {
    fail(bad_request(fmt::format("{} has more than {} entries", name, max_entries), name));
    return out;
  }
  out.reserve(value->size());
  for (const Json& entry : *value) {
    const auto id =
        integer_value(entry, fmt::format("each token id of {}", name), 0, vocab - 1, name);
    if (!id) return out;
    out.push_back(static_cast<int32_t>(*id));
  }
  return out;
}

}  // namespace trireme::router
