#include "parallel/plan/config_json.h"

#include <fmt/format.h>

#include <cmath>

namespace trireme::plan {
namespace {

using nlohmann::json;

// Walks the text once before a document is built: depth, and the last key seen for the error's
// words.
class Guard : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    last_key_ = name.substr(0, 64);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    message_ = fmt::format("config.json is not valid JSON at byte {}", position);
    return false;
  }

  Error error() const {
    const std::string where = last_key_.empty() ? "" : fmt::format(", after key '{}'", last_key_);
    return invalid_argument(message_ + where + ".");
  }

 private:
  bool enter() {
    if (++depth_ <= kMaxConfigDepth) return true;
    message_ = fmt::format("config.json is nested deeper than {} levels", kMaxConfigDepth);
    return false;
  }
  bool leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  std::string last_key_;
  std::string message_;
};

}  // namespace

Result<json> parse_config_json(const std::string& text) {
  if (text.size() > kMaxConfigBytes) {
    return invalid_argument(fmt::format("config.json has {} bytes; at most {} are read.",
                                        text.size(), kMaxConfigBytes));
  }
  Guard guard;
  if (!json::sax_parse(text, &guard)) return guard.error();
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return invalid_argument("config.json does not hold a JSON object.");
  return document;
}

bool ConfigObject::has(const char* key) const {
  const auto it = object_->find(key);
  return it != object_->end() && !it->is_null();
}

Error ConfigObject::absent(const char* key) const {
  return invalid_argument(fmt::format("config.json has no key '{}{}'.", path_, key));
}

Error ConfigObject::wrong(const char* key, const std::string& wanted) const {
  std::string value = object_->at(key).dump(-1, ' ', true, json::error_handler_t::replace);
  if (value.size() > 60) value = value.substr(0, 60) + "...";
  return invalid_argument(
      fmt::format("config.json: '{}{}' is {}, but must be {}.", path_, key, value, wanted));
}

Result<int64_t> ConfigObject::integer(const char* key, int64_t low, int64_t high) const {
  if (!has(key)) return absent(key);
  const json& value = object_->at(key);
  const std::string wanted = fmt::format("an integer from {} to {}", low, high);
  if (!value.is_number_integer()) return wrong(key, wanted);
  // An unsigned value beyond int64 would wrap to a negative one when read as int64.
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return wrong(key, wanted);
  }
  const auto number = value.get<int64_t>();
  if (number < low || number > high) return wrong(key, wanted);
  return number;
}

Result<int64_t> ConfigObject::integer_or(const char* key, int64_t low, int64_t high,
                                         int64_t fallback) const {
  if (!has(key)) return fallback;
  return integer(key, low, high);
}

Result<double> ConfigObject::number(const char* key, double low, double high) const {
  if (!has(key)) return absent(key);
  const json& value = object_->at(key);
  const std::string wanted = fmt::format("a number from {:g} to {:g}", low, high);
  if (!value.is_number()) return wrong(key, wanted);
  const auto number = value.get<double>();
  if (!std::isfinite(number) || number < low || number > high) return wrong(key, wanted);
  return number;
}

Result<double> ConfigObject::number_or(const char* key, double low, double high,
                                       double fallback) const {
  if (!has(key)) return fallback;
  return number(key, low, high);
}

Result<bool> ConfigObject::boolean_or(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  const json& value = object_->at(key);
  if (!value.is_boolean()) return wrong(key, "true or false");
  return value.get<bool>();
}

Result<std::string> ConfigObject::string(const char* key) const {
  if (!has(key)) return absent(key);
  const json& value = object_->at(key);
  if (!value.is_string()) return wrong(key, "a string");
  return value.get<std::string>();
}

Result<std::string> ConfigObject::string_or(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  return string(key);
}

Result<std::vector<int32_t>> ConfigObject::integers(const char* key, int64_t low,
                                                    int64_t high) const {
  constexpr size_t kMaxEntries = 64;
  std::vector<int32_t> numbers;
  if (!has(key)) return numbers;
  const json& value = object_->at(key);
  const std::string wanted = fmt::format(
      "an integer from {} to {}, or a list of at most {} of them", low, high, kMaxEntries);
  const bool is_list = value.is_array();
  if (is_list && value.size() > kMaxEntries) return wrong(key, wanted);
  for (size_t i = 0; i < (is_list ? value.size() : 1); ++i) {
    const json& entry = is_list ? value[i] : value;
    if (!entry.is_number_integer()) return wrong(key, wanted);
    const bool huge =
        entry.is_number_unsigned() && entry.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
    if (huge || entry.get<int64_t>() < low || entry.get<int64_t>() > high)
      return wrong(key, wanted);
    numbers.push_back(static_cast<int32_t>(entry.get<int64_t>()));
  }
  return numbers;
}

Result<std::vector<double>> ConfigObject::numbers(const char* key, double low, double high,
                                                  size_t max_entries) const {
  if (!has(key)) return absent(key);
  const json& list = object_->at(key);
  const std::string wanted =
      fmt::format("a list of at most {} numbers from {:g} to {:g}", max_entries, low, high);
  if (!list.is_array() || list.size() > max_entries) return wrong(key, wanted);
  std::vector<double> values;
  for (const json& entry : list) {
    if (!entry.is_number()) return wrong(key, wanted);
    values.push_back(entry.get<double>());
    if (!(values.back() >= low && values.back() <= high)) return wrong(key, wanted);
  }
  return values;
}

Result<std::vector<std::string>> ConfigObject::strings(const char* key, size_t max_entries) const {
  if (!has(key)) return absent(key);
  const json& list = object_->at(key);
  const std::string wanted = fmt::format("a list of at most {} strings", max_entries);
  if (!list.is_array() || list.size() > max_entries) return wrong(key, wanted);
  std::vector<std::string> values;
  for (const json& entry : list) {
    if (!entry.is_string()) return wrong(key, wanted);
    values.push_back(entry.get<std::string>());
  }
  return values;
}

Result<ConfigObject> ConfigObject::object(const char* key) const {
  if (!has(key)) return absent(key);
  if (!object_->at(key).is_object()) return wrong(key, "an object");
  return ConfigObject(object_->at(key), path_ + key + ".");
}

}  // namespace trireme::plan
