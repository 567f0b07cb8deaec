// The values that chat templates compute with: Python's None, bool, int, float, str, list, tuple,
// dict, and objects.
//
// A Value is immutable and cheap to copy (containers are shared). Strings know which of their bytes
// came from a request, so that a rendered prompt can tell the template's own text from its content.
// Values of one template run belong to one thread; values made by value_from_json may be shared
// between threads, as nothing ever changes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace trireme::text {

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // an integer beyond 64 bits, kept as its decimal digits; it can be printed and compared
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kObject,
};

class Value;
class Object;

// A string, and the byte ranges of it that came from a request: sorted, disjoint, not empty.
struct Text {
  std::string bytes;
  std::vector<std::pair<size_t, size_t>> content;
  bool markup = false;  // already escaped for HTML
};

struct Sequence;
struct Dict;

class Value {
 public:
  Value() = default;  // undefined
  static Value undefined(std::string why);
  static Value none() { return Value(Kind::kNone); }
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value big_integer(std::string digits);
  static Value floating(double value);
  static Value string(std::string bytes);
  static Value content(std::string bytes);  // a string from a request
  static Value text(Text text);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value dict(Dict dict);
  static Value object(std::shared_ptr<Object> object);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_sequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  bool is_number() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }

  // The accessors require the kind.
  bool as_bool() const { return bits_.i != 0; }
  int64_t as_int() const { return bits_.i; }  // bool or int
  double as_float() const { return bits_.f; }
  double as_double() const;  // any number
  const Text& as_text() const { return *static_cast<const Text*>(shared_.get()); }
  const std::string& str() const { return as_text().bytes; }
  const std::string& digits() const { return *static_cast<const std::string*>(shared_.get()); }
  const std::vector<Value>& items() const;
  const Dict& as_dict() const;
  Object* as_object() const;
  std::shared_ptr<Object> shared_object() const;
  // Why an undefined value is undefined.
  std::string reason() const;

  // How deeply containers are nested: 0 for anything else.
  int depth() const;
  bool same_object(const Value& other) const {
    return kind_ == other.kind_ && shared_ == other.shared_ && bits_.i == other.bits_.i;
  }

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  Kind kind_ = Kind::kUndefined;
  union {
    int64_t i;
    double f;
  } bits_ = {0};
  std::shared_ptr<void> shared_;
};

// Containers refuse to nest deeper than this: destroying and printing them is recursive.
inline constexpr int kMaxValueDepth = 128;

struct Sequence {
  std::vector<Value> items;
  int depth = 1;
};

// A dict in the order of insertion. Keys are found by Python's equality: 1, 1.0 and True are one
// key.
struct Dict {
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);  // replaces the value of an equal key
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;

 private:
  // Slots by hash, made once there are many entries.
  void index_entry(size_t entry);
  size_t locate(const Value& key) const;
  std::vector<int32_t> slots_;
};

// Something with identity: a macro, a namespace, the loop variable. See text/jinja/objects.h.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;
  virtual std::string print() const = 0;
};

// Python's truth value, equality, str() and repr().
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b);
Text to_text(const Value& value);
std::string to_repr(const Value& value);
Text to_repr_text(const Value& value);
std::string float_repr(double value);
// "str", "int", "dict", ... as Python's errors name types.
std::string type_name(const Value& value);

// Appends `from` to `to`, content ranges included.
void append_text(const Text& from, Text* to);
void append_text(const Text& from, size_t begin, size_t end, Text* to);
inline void append_plain(std::string_view bytes, Text* to) { to->bytes += bytes; }

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // a line per element, each level indented by `indent`
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Python's json.dumps. Errors: a value that JSON does not have.
Result<Text> to_json(const Value& value, const JsonStyle& style = {});

// Parses JSON, keeping the order of keys and integers of any size. Strings, keys included, count as
// request content when `from_request`. Errors name the place.
Result<Value> value_from_json(std::string_view json, bool from_request, int max_depth = 64);

}  // namespace trireme::text
