// JSON text to values, through nlohmann's event parser: it keeps what a tree of its own would lose.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "text/value.h"

namespace trireme::text {

namespace {

using Json = nlohmann::json;

class Handler {
 public:
  Handler(bool from_request, int max_depth) : from_request_(from_request), max_depth_(max_depth) {}

  bool null() { return put(Value::none()); }
  bool boolean(bool value) { return put(Value::boolean(value)); }
  bool number_integer(Json::number_integer_t value) { return put(Value::integer(value)); }
  bool number_unsigned(Json::number_unsigned_t value) {
    if (value > static_cast<uint64_t>(INT64_MAX))
      return put(Value::big_integer(std::to_string(value)));
    return put(Value::integer(static_cast<int64_t>(value)));
  }
  bool number_float(Json::number_float_t value, const std::string& written) {
    // Integers beyond 64 bits arrive here, with their digits.
    if (written.find_first_of(".eE") == std::string::npos) return put(Value::big_integer(written));
    return put(Value::floating(value));
  }
  bool string(std::string& value) { return put(make_string(std::move(value))); }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }
  bool key(std::string& key) {
    stack_.back().key = make_string(std::move(key));
    return true;
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) {
    std::string_view reason = e.what();
    if (const size_t tag = reason.find("] "); tag != std::string_view::npos)
      reason.remove_prefix(tag + 2);
    error_ = fmt::format("byte {}: {}", position, reason);
    return false;
  }

  Value take() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  struct Open {
    bool is_object;
    Value key;
    Dict dict;
    std::vector<Value> items;
  };

  Value make_string(std::string bytes) const {
    return from_request_ ? Value::content(std::move(bytes)) : Value::string(std::move(bytes));
  }

  bool open(bool is_object) {
    if (static_cast<int>(stack_.size()) >= max_depth_) {
      error_ = fmt::format("nested deeper than {} levels", max_depth_);
      return false;
    }
    stack_.push_back({is_object, {}, {}, {}});
    return true;
  }

  bool close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    return put(done.is_object ? Value::dict(std::move(done.dict))
                              : Value::list(std::move(done.items)));
  }

  bool put(Value value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (stack_.back().is_object) {
      stack_.back().dict.set(std::move(stack_.back().key), std::move(value));
    } else {
      stack_.back().items.push_back(std::move(value));
    }
    return true;
  }

  bool from_request_;
  int max_depth_;
  std::vector<Open> stack_;
  Value root_;
  std::string error_;
};

}  // namespace

Result<Value> value_from_json(std::string_view json, bool from_request, int max_depth) {
  Handler handler(from_request, max_depth);
  try {
    if (!Json::sax_parse(json, &handler))
      return invalid_argument("not valid JSON: " + handler.error());
  } catch (const Json::exception& e) {
    return invalid_argument(std::string("not valid JSON: ") + e.what());
  }
  return handler.take();
}

}  // namespace trireme::text
