// Reads the arguments of a call by place or name, as a Python function with that signature would.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace trireme::text::jinja {

class ArgumentReader {
 public:
  explicit ArgumentReader(const Arguments& arguments) : arguments_(arguments) {}

  const Value* find(size_t place, std::string_view name) const {
    if (place < arguments_.positional.size()) return &arguments_.positional[place];
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return &value;
    }
    return nullptr;
  }
  Value value(size_t place, std::string_view name) const {
    const Value* found = find(place, name);
    if (found == nullptr) fail(fmt::format("missing argument '{}'", name));
    return *found;
  }
  Value value(size_t place, std::string_view name, Value otherwise) const {
    const Value* found = find(place, name);
    if (found != nullptr) return *found;
    return otherwise;
  }
  std::string string(size_t place, std::string_view name) const {
    return as_string(value(place, name), name);
  }
  std::string string(size_t place, std::string_view name, std::string otherwise) const {
    const Value* found = find(place, name);
    return found != nullptr ? as_string(*found, name) : std::move(otherwise);
  }
  bool boolean(size_t place, std::string_view name, bool otherwise) const {
    const Value* found = find(place, name);
    return found != nullptr ? truthy(*found) : otherwise;
  }
  int64_t integer(size_t place, std::string_view name) const {
    return as_integer(value(place, name), name);
  }
  int64_t integer(size_t place, std::string_view name, int64_t otherwise) const {
    const Value* found = find(place, name);
    return found != nullptr ? as_integer(*found, name) : otherwise;
  }
  size_t count() const { return arguments_.positional.size() + arguments_.named.size(); }

 private:
  static std::string as_string(const Value& value, std::string_view name) {
    if (value.is_undefined()) fail(value.reason());
    if (!value.is_string())
      fail(fmt::format("argument '{}' must be str, not {}", name, type_name(value)));
    return value.str();
  }
  static int64_t as_integer(const Value& value, std::string_view name) {
    if (value.is_undefined()) fail(value.reason());
    if (!value.is(Kind::kInt) && !value.is(Kind::kBool)) {
      fail(fmt::format("argument '{}' must be int, not {}", name, type_name(value)));
    }
    return value.as_int();
  }
  const Arguments& arguments_;
};

}  // namespace trireme::text::jinja
