// FieldReader: typed, range-checked reading of one JSON object's fields. For .cc files of
// router/api alone.
//
// The first error sticks, and every later read is a no-op, so that a parser reads like the list of
// its fields.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "router/api/api_error.h"

namespace trireme::router {

class FieldReader {
 public:
  explicit FieldReader(const Json& object) : object_(object) {}

  const std::optional<ApiError>& error() const { return error_; }
  bool ok() const { return !error_; }
  void fail(ApiError error) {
    if (!error_) error_ = std::move(error);
  }

  // Null where the field is absent or JSON null: both mean the default.
  const Json* find(const char* name) const {
    const auto it = object_.find(name);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  std::optional<bool> boolean(const char* name);
  std::optional<int64_t> integer(const char* name, int64_t min, int64_t max);
  std::optional<double> number(const char* name, double min, double max);
  std::optional<std::string> string(const char* name, size_t max_bytes);
  // A list of integers in [min, max].
  std::vector<int32_t> ids(const char* name, int32_t vocab, size_t max_entries);

  // One value, already found; `what` names it in the error.
  std::optional<int64_t> integer_value(const Json& value, const std::string& what, int64_t min,
                                       int64_t max, const std::string& param);

 private:
  const Json& object_;
  std::optional<ApiError> error_;
};

}  // namespace trireme::router
