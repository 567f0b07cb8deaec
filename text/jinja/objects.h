// Values with identity: what a template can call, or whose attributes it can set.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/interpreter.h"

namespace trireme::text::jinja {

// namespace(): the one thing a template can change.
struct NamespaceObject final : Object {
  std::vector<std::pair<std::string, Value>> attributes;
  std::string type_name() const override { return "Namespace"; }
  std::string print() const override;
};

struct MacroObject final : Object {
  const Stmt* macro = nullptr;
  FramePtr closure;
  std::string type_name() const override { return "Macro"; }
  std::string print() const override { return "<Macro '" + macro->text + "'>"; }
};

// The variable `loop`.
struct LoopObject final : Object {
  const Stmt* stmt = nullptr;
  FramePtr scope;  // for recursive loops
  std::shared_ptr<const std::vector<Value>> items;
  size_t index = 0;
  int depth = 0;
  std::vector<Value> last_changed;
  bool has_changed = false;
  std::string type_name() const override { return "LoopContext"; }
  std::string print() const override;
};

// range, dict, namespace and the other functions of the environment, and a method on its value.
struct FunctionObject final : Object {
  std::string name;
  std::string type_name() const override { return "builtin_function_or_method"; }
  std::string print() const override { return "<function " + name + ">"; }
};

struct MethodObject final : Object {
  Value self;
  std::string name;
  std::string type_name() const override { return "builtin_function_or_method"; }
  std::string print() const override { return "<built-in method " + name + ">"; }
};

struct RangeObject final : Object {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  size_t count = 0;
  // i < count: inside [start, stop], though i * step alone may be beyond 64 bits.
  Value at(size_t i) const {
    const auto value = static_cast<uint64_t>(start) + i * static_cast<uint64_t>(step);
    return Value::integer(static_cast<int64_t>(value));
  }
  std::string type_name() const override { return "range"; }
  std::string print() const override;
};

struct CyclerObject final : Object {
  std::vector<Value> items;
  size_t at = 0;
  std::string type_name() const override { return "Cycler"; }
  std::string print() const override { return "<Cycler>"; }
};

struct JoinerObject final : Object {
  Value separator;
  bool used = false;
  std::string type_name() const override { return "Joiner"; }
  std::string print() const override { return "<Joiner>"; }
};

template <typename T>
T* object_as(const Value& value) {
  return value.is(Kind::kObject) ? dynamic_cast<T*>(value.as_object()) : nullptr;
}

inline bool is_callable(const Value& value) {
  if (!value.is(Kind::kObject)) return value.is_undefined();  // Jinja says so of undefined
  return object_as<NamespaceObject>(value) == nullptr && object_as<RangeObject>(value) == nullptr &&
         object_as<CyclerObject>(value) == nullptr;
}

// A method of a string, list, tuple or dict; false when the type has none of that name.
bool has_method(const Value& self, const std::string& name);
Value call_method(Interpreter& in, const Value& self, const std::string& name,
                  const Arguments& args);

bool filter_exists(const std::string& name);
bool test_exists(const std::string& name);

}  // namespace trireme::text::jinja
