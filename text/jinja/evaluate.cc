// Expressions.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/objects.h"
#include "text/jinja/text_ops.h"

namespace trireme::text::jinja {

Value Interpreter::eval_inner(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kLiteral:
      return expr.literal;
    case ExprKind::kName:
      return eval_name(expr);
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kDict:
      return eval_containers(expr);
    case ExprKind::kAttr:
      return attribute(eval(*expr.args[0]), expr.name);
    case ExprKind::kItem: {
      const Value holder = eval(*expr.args[0]);
      return item(holder, eval(*expr.args[1]));
    }
    case ExprKind::kSlice:
      return eval_slice(expr);
    case ExprKind::kCall:
      return eval_call(expr);
    case ExprKind::kFilter: {
      const Value value = eval(*expr.args[0]);
      return filter(expr.name, value, eval_arguments(expr));
    }
    case ExprKind::kTest: {
      const Value value = eval(*expr.args[0]);
      return Value::boolean(test(expr.name, value, eval_arguments(expr)));
    }
    case ExprKind::kNot:
      return Value::boolean(!truthy(eval(*expr.args[0])));
    case ExprKind::kNegative:
    case ExprKind::kPositive: {
      const Value value = eval(*expr.args[0]);
      if (!value.is_number() || value.is(Kind::kBigInt)) {
        if (value.is_undefined()) fail(value.reason());
        fail("bad operand type for unary " +
             std::string(expr.kind == ExprKind::kNegative ? "-" : "+") + ": '" + type_name(value) +
             "'");
      }
      if (expr.kind == ExprKind::kPositive) return value;
      if (value.is(Kind::kFloat)) return Value::floating(-value.as_float());
      return binary("-", Value::integer(0), value);
    }
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      Value left = eval(*expr.args[0]);
      return truthy(left) == (expr.kind == ExprKind::kOr) ? left : eval(*expr.args[1]);
    }
    case ExprKind::kCompare:
      return eval_compare(expr);
    case ExprKind::kBinary: {
      const Value left = eval(*expr.args[0]);
      return binary(expr.name, left, eval(*expr.args[1]));
    }
    case ExprKind::kConcat:
      return eval_concat(expr);
    case ExprKind::kCondition:
      return eval_condition(expr);
  }
  return {};
}

Value Interpreter::eval_condition(const Expr& expr) {
  if (truthy(eval(*expr.args[1]))) return eval(*expr.args[0]);
  if (expr.args[2]) return eval(*expr.args[2]);
  return Value::undefined(
      "the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::eval_name(const Expr& expr) {
  for (const Frame* frame = frame_.get(); frame != nullptr; frame = frame->parent.get()) {
    if (const Value* value = frame->find(expr.name)) return *value;
  }
  for (const char* name :
       {"range", "dict", "namespace", "raise_exception", "strftime_now", "cycler", "joiner"}) {
    if (expr.name != name) continue;
    auto function = std::make_shared<FunctionObject>();
    function->name = name;
    return Value::object(std::move(function));
  }
  return Value::undefined("'" + expr.name + "' is undefined");
}

Value Interpreter::eval_containers(const Expr& expr) {
  if (expr.kind != ExprKind::kDict) {
    std::vector<Value> items;
    items.reserve(expr.args.size());
    for (const ExprPtr& arg : expr.args) items.push_back(eval(*arg));
    return expr.kind == ExprKind::kList ? make_list(std::move(items))
                                        : make_tuple(std::move(items));
  }
  Dict dict;
  for (size_t i = 0; i + 1 < expr.args.size(); i += 2) {
    Value key = eval(*expr.args[i]);
    if (key.is(Kind::kList) || key.is_dict()) fail("unhashable type: '" + type_name(key) + "'");
    dict.set(std::move(key), eval(*expr.args[i + 1]));
  }
  return make_dict(std::move(dict));
}

Value Interpreter::eval_slice(const Expr& expr) {
  const Value value = eval(*expr.args[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i)
    bounds[i] = expr.args[i + 1] ? eval(*expr.args[i + 1]) : Value::none();
  return slice(value, bounds[0], bounds[1], bounds[2]);
}

namespace {

int64_t slice_bound(const Value& value, int64_t otherwise, int64_t size, int64_t low,
                    int64_t high) {
  if (value.is_none()) return otherwise;
  if (!value.is(Kind::kInt) && !value.is(Kind::kBool)) {
    fail(value.is_undefined() ? value.reason() : "slice indices must be integers or None");
  }
  const int64_t at =
      value.as_int() < 0 ? std::max<int64_t>(value.as_int(), -size - 1) + size : value.as_int();
  return std::clamp(at, low, high);
}

}  // namespace

Value Interpreter::slice(const Value& value, const Value& start, const Value& stop,
                         const Value& step_value) {
  if (value.is_undefined()) fail(value.reason());
  const auto* range = object_as<RangeObject>(value);
  if (!value.is_string() && !value.is_sequence() && range == nullptr) {
    return Value::undefined("'" + type_name(value) + " object' cannot be sliced");
  }
  const std::vector<size_t> starts =
      value.is_string() ? char_starts(value.str()) : std::vector<size_t>();
  const auto n = static_cast<int64_t>(value.is_string()     ? starts.size() - 1
                                      : value.is_sequence() ? value.items().size()
                                                            : range->count);
  if (step_value.is_undefined()) fail(step_value.reason());
  if (!step_value.is_none() && !step_value.is(Kind::kInt))
    fail("slice indices must be integers or None");
  const int64_t step =
      step_value.is_none() ? 1 : std::clamp<int64_t>(step_value.as_int(), -INT32_MAX, INT32_MAX);
  if (step == 0) fail("slice step cannot be zero");
  const int64_t first =
      step > 0 ? slice_bound(start, 0, n, 0, n) : slice_bound(start, n - 1, n, -1, n - 1);
  const int64_t end =
      step > 0 ? slice_bound(stop, n, n, 0, n) : slice_bound(stop, -1, n, -1, n - 1);
  if (value.is_string()) {
    Text out;
    for (int64_t i = first; step > 0 ? i < end : i > end; i += step) {
      const auto at = static_cast<size_t>(i);
      append_text(value.as_text(), starts[at], starts[at + 1], &out);
    }
    return make(std::move(out));
  }
  std::vector<Value> out;
  for (int64_t i = first; step > 0 ? i < end : i > end; i += step) {
    out.push_back(range != nullptr ? range->at(static_cast<size_t>(i))
                                   : value.items()[static_cast<size_t>(i)]);
  }
  return value.is(Kind::kTuple) ? make_tuple(std::move(out)) : make_list(std::move(out));
}

Value Interpreter::eval_compare(const Expr& expr) {
  Value left = eval(*expr.args[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = eval(*expr.args[i + 1]);
    if (!compare(expr.ops[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::eval_concat(const Expr& expr) {
  Text out;
  for (const ExprPtr& arg : expr.args) {
    append_text(to_text(eval(*arg)), &out);
    if (out.bytes.size() > limits_.max_output_bytes) break;  // make() refuses it
  }
  return make(std::move(out));
}

Arguments Interpreter::eval_arguments(const Expr& expr) {
  Arguments arguments;
  for (size_t i = 1; i < expr.args.size(); ++i) arguments.positional.push_back(eval(*expr.args[i]));
  for (const auto& [name, arg] : expr.kwargs) arguments.named.emplace_back(name, eval(*arg));
  if (expr.star) {
    for (Value& value : iterate(eval(*expr.star))) arguments.positional.push_back(std::move(value));
  }
  if (expr.star_star) {
    const Value extra = eval(*expr.star_star);
    if (!extra.is_dict()) fail("the argument after ** must be a mapping, not " + type_name(extra));
    for (const auto& [key, value] : extra.as_dict().entries) {
      if (!key.is_string()) fail("keywords must be strings");
      arguments.named.emplace_back(key.str(), value);
    }
  }
  return arguments;
}

Value Interpreter::eval_call(const Expr& expr) {
  const Expr& callee = *expr.args[0];
  // A method call on a value needs no method object.
  if (callee.kind == ExprKind::kAttr) {
    const Value self = eval(*callee.args[0]);
    if (!self.is(Kind::kObject) && has_method(self, callee.name)) {
      return call_method(*this, self, callee.name, eval_arguments(expr));
    }
    const Value function = attribute(self, callee.name);
    return call(function, eval_arguments(expr));
  }
  const Value function = eval(callee);
  return call(function, eval_arguments(expr));
}

Value Interpreter::apply_filters(const Expr* chain, Value value) {
  if (chain == nullptr) return value;
  if (chain->args[0]) value = apply_filters(chain->args[0].get(), std::move(value));
  return filter(chain->name, value, eval_arguments(*chain));
}

std::vector<Value> Interpreter::iterate(const Value& value) {
  std::vector<Value> items;
  if (value.is_sequence()) {
    items = value.items();
  } else if (value.is_dict()) {
    for (const auto& [key, unused] : value.as_dict().entries) items.push_back(key);
  } else if (value.is_string()) {
    const std::vector<size_t> starts = char_starts(value.str());
    charge(starts.size());
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      Text one;
      append_text(value.as_text(), starts[i], starts[i + 1], &one);
      items.push_back(Value::text(std::move(one)));
    }
  } else if (const auto* range = object_as<RangeObject>(value)) {
    for (size_t i = 0; i < range->count; ++i) items.push_back(range->at(i));
  } else if (!value.is_undefined()) {
    fail("'" + type_name(value) + "' object is not iterable");
  }
  charge(items.size());
  return items;
}

std::vector<Value> Interpreter::unpack(const Value& value, size_t n) {
  std::vector<Value> items = iterate(value);
  if (items.size() > n) fail(fmt::format("too many values to unpack (expected {})", n));
  if (items.size() < n) {
    fail(fmt::format("not enough values to unpack (expected {}, got {})", n, items.size()));
  }
  return items;
}

namespace {

std::string missing(const Value& value, std::string_view name) {
  const std::string owner = value.is_none() ? "None" : type_name(value) + " object";
  return fmt::format("'{}' has no attribute '{}'", owner, name);
}

// Methods that would change a value: the sandbox has them but refuses them.
bool changes_value(const Value& value, std::string_view name) {
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (value.is(Kind::kList))
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  return value.is_dict() && std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
}

}  // namespace

Value Interpreter::attribute(const Value& value, const std::string& name) {
  if (value.is_undefined()) fail(value.reason());
  const bool dunder = name.size() > 4 && name.starts_with("__") && name.ends_with("__");
  if (dunder || changes_value(value, name)) {
    return Value::undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(value)));
  }
  if (value.is(Kind::kObject)) return object_attribute(value, name);
  if (has_method(value, name)) {
    auto method = std::make_shared<MethodObject>();
    method->self = value;
    method->name = name;
    return Value::object(std::move(method));
  }
  if (value.is_dict()) {
    const Value* found = value.as_dict().find(name);
    return found != nullptr ? *found : Value::undefined(missing(value, name));
  }
  // The pairs of groupby are named.
  if (value.is(Kind::kTuple) && value.items().size() == 2) {
    if (name == "grouper") return value.items()[0];
    if (name == "list") return value.items()[1];
  }
  return Value::undefined(missing(value, name));
}

Value Interpreter::item(const Value& value, const Value& key) {
  if (value.is_undefined()) fail(value.reason());
  if (value.is_dict()) {
    if (const Value* found = value.as_dict().find(key)) return *found;
    if (key.is_string() && has_method(value, key.str())) return attribute(value, key.str());
    return Value::undefined(missing(value, key.is_string() ? key.str() : to_repr(key)));
  }
  if (key.is(Kind::kInt) || key.is(Kind::kBool)) {
    const auto* range = object_as<RangeObject>(value);
    if (value.is_string() || value.is_sequence() || range != nullptr) {
      const auto n = static_cast<int64_t>(length(value));
      const int64_t at = key.as_int() < 0 ? key.as_int() + n : key.as_int();
      if (at < 0 || at >= n) return Value::undefined(missing(value, to_repr(key)));
      const auto index = static_cast<size_t>(at);
      if (range != nullptr) return range->at(index);
      if (value.is_sequence()) return value.items()[index];
      const std::vector<size_t> starts = char_starts(value.str());
      Text one;
      append_text(value.as_text(), starts[index], starts[index + 1], &one);
      return make(std::move(one));
    }
  }
  if (key.is_string()) return attribute(value, key.str());
  return Value::undefined(missing(value, to_repr(key)));
}

Value Interpreter::attribute_path(const Value& value, const Value& path) {
  if (!path.is_string()) return item(value, path);
  Value current = value;
  const std::string& names = path.str();
  for (size_t begin = 0; begin <= names.size();) {
    const size_t dot = std::min(names.find('.', begin), names.size());
    const std::string part = names.substr(begin, dot - begin);
    const bool number =
        !part.empty() && part.size() < 10 && std::all_of(part.begin(), part.end(), ::isdigit);
    // An item first, as the reference does for map(attribute=..).
    current = item(current, number ? Value::integer(std::stoll(part)) : Value::string(part));
    begin = dot + 1;
  }
  return current;
}

}  // namespace trireme::text::jinja
