#include "text/json_read.h"

namespace trireme::text {

namespace {

// Nesting is checked before parsing, so that a deep document costs nothing.
bool deeper_than(std::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > max_depth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Error wrong_type(std::string_view key, std::string_view type) {
  return invalid_argument(fmt::format("\"{}\" is not {}", key, type));
}

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view what, int max_depth) {
  if (deeper_than(text, max_depth)) {
    return invalid_argument(fmt::format("{} is nested deeper than {} levels", what, max_depth));
  }
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    // The library's words hold the position, behind a tag in brackets.
    std::string_view reason = e.what();
    if (const size_t tag = reason.find("] "); tag != std::string_view::npos)
      reason.remove_prefix(tag + 2);
    return invalid_argument(fmt::format("{} is not valid JSON: {}", what, reason));
  }
}

const Json& get(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

Result<std::string> get_string(const Json& object, std::string_view key) {
  const Json& value = get(object, key);
  if (!value.is_string()) return wrong_type(key, "a string");
  return value.get<std::string>();
}

Result<std::string> get_string(const Json& object, std::string_view key,
                               std::string_view otherwise) {
  if (get(object, key).is_null()) return std::string(otherwise);
  return get_string(object, key);
}

Result<bool> get_bool(const Json& object, std::string_view key, bool otherwise) {
  const Json& value = get(object, key);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean()) return wrong_type(key, "true or false");
  return value.get<bool>();
}

Result<int64_t> get_int(const Json& object, std::string_view key, int64_t min, int64_t max) {
  const Json& value = get(object, key);
  if (!value.is_number_integer()) return wrong_type(key, "a whole number");
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  const int64_t number = huge ? INT64_MAX : value.get<int64_t>();
  if (huge || number < min || number > max) {
    return invalid_argument(fmt::format("\"{}\" is not in {}..{}", key, min, max));
  }
  return number;
}

}  // namespace trireme::text
