#include "base/json.h"

#include <cmath>
#include <string>
#include <unordered_set>
#include <vector>

namespace trireme {
namespace {

// Builds the document while counting: nlohmann calls back per token, so a limit stops the parse at
// once.
class BoundedBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit BoundedBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!std::isfinite(value)) return fail("the number " + text.substr(0, 40) + " is out of range");
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return fail("binary values are not JSON"); }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override {
    keys_.pop_back();
    return close();
  }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    if (++n_keys_ > limits_.max_keys) {
      return fail("there are more than " + std::to_string(limits_.max_keys) + " keys");
    }
    key_is_new_ = keys_.back().insert(value).second;
    if (!key_is_new_ && !limits_.allow_duplicate_keys) {
      return fail("the key \"" + value.substr(0, 80) + "\" occurs twice in one object");
    }
    key_ = std::move(value);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& what) override {
    error_position_ = position;
    // "[json.exception...] parse error at line 1, column 2: ..." keeps only its own words.
    const std::string text = what.what();
    if (text.find("number overflow") != std::string::npos) return fail("a number is out of range");
    const size_t colon = text.find("column");
    const size_t cut = colon == std::string::npos ? colon : text.find(": ", colon);
    return fail(cut == std::string::npos ? text : text.substr(cut + 2));
  }

  Json take() { return std::move(root_); }
  const std::string& error() const { return error_; }
  std::size_t error_position() const { return error_position_; }

 private:
  bool fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }

  bool count_value() {
    if (++n_values_ > limits_.max_values) {
      return fail("there are more than " + std::to_string(limits_.max_values) + " values");
    }
    return true;
  }

  Json* place(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    if (!key_is_new_) return &(parent[key_] = std::move(value));
    // An ordered object looks for a key from its front: asking it would be quadratic.
    auto& members = parent.get_ref<Json::object_t&>();
    members.emplace_back(key_, std::move(value));
    return &members.back().second;
  }

  bool add(Json value) {
    if (!count_value()) return false;
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (!count_value()) return false;
    if (static_cast<int>(stack_.size()) >= limits_.max_depth) {
      return fail("values are nested deeper than " + std::to_string(limits_.max_depth));
    }
    if (container.is_object()) keys_.emplace_back();
    stack_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  const JsonLimits& limits_;
  Json root_;
  std::vector<Json*> stack_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
  bool key_is_new_ = true;
  size_t n_keys_ = 0;
  size_t n_values_ = 0;
  std::string error_;
  std::size_t error_position_ = 0;
};

std::string where(std::string_view text, size_t position) {
  position = std::min(position, text.size());
  size_t line = 1;
  size_t column = 1;
  for (size_t i = 0; i + 1 < position; ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return resource_exhausted("the JSON document has " + std::to_string(text.size()) +
                              " bytes; the limit is " + std::to_string(limits.max_bytes));
  }
  BoundedBuilder builder(limits);
  bool ok = false;
  try {
    ok = Json::sax_parse(text.begin(), text.end(), &builder);
  } catch (const std::exception& e) {
    return invalid_argument(std::string("not valid JSON: ") + e.what());
  }
  if (ok) return builder.take();
  std::string message = "not valid JSON";
  if (builder.error_position() > 0) message += " at " + where(text, builder.error_position());
  return invalid_argument(message + ": " + builder.error());
}

}  // namespace trireme
