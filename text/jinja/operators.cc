// Arithmetic, comparison and membership, as Python has them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/objects.h"
#include "text/jinja/text_ops.h"

namespace trireme::text::jinja {

namespace {

[[noreturn]] void unsupported(const std::string& op, const Value& left, const Value& right) {
  if (left.is_undefined()) fail(left.reason());
  if (right.is_undefined()) fail(right.reason());
  fail(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(left),
                   type_name(right)));
}

[[noreturn]] void overflow() { fail("an integer is beyond 64 bits"); }

Value power(const Value& left, const Value& right) {
  const int64_t exponent = right.as_int();
  if (exponent < 0) {
    if (left.as_int() == 0) fail("0.0 cannot be raised to a negative power");
    return Value::floating(std::pow(left.as_double(), static_cast<double>(exponent)));
  }
  int64_t base = left.as_int();
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  if (exponent > 63) overflow();
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) overflow();
  }
  return Value::integer(result);
}

Value integer_binary(const std::string& op, const Value& left, const Value& right) {
  if (left.is(Kind::kBigInt) || right.is(Kind::kBigInt)) overflow();
  const int64_t a = left.as_int();
  const int64_t b = right.as_int();
  int64_t result = 0;
  bool over = false;
  if (op == "+") {
    over = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    over = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    over = __builtin_mul_overflow(a, b, &result);
  } else if (op == "/") {
    if (b == 0) fail("division by zero");
    return Value::floating(static_cast<double>(a) / static_cast<double>(b));
  } else if (op == "**") {
    return power(left, right);
  } else {
    if (b == 0) fail("integer division or modulo by zero");
    if (b == -1)
      return op == "%" ? Value::integer(0) : integer_binary("-", Value::integer(0), left);
    const int64_t remainder = a % b;
    const bool floors = remainder != 0 && (remainder < 0) != (b < 0);
    result = op == "%" ? remainder + (floors ? b : 0) : a / b - (floors ? 1 : 0);
  }
  if (over) overflow();
  return Value::integer(result);
}

Value float_binary(const std::string& op, double a, double b) {
  if (op == "+") return Value::floating(a + b);
  if (op == "-") return Value::floating(a - b);
  if (op == "*") return Value::floating(a * b);
  if (op == "**") return Value::floating(std::pow(a, b));
  if (b == 0) fail(op == "/" ? "float division by zero" : "float floor division or modulo by zero");
  if (op == "/") return Value::floating(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == "%") return Value::floating(remainder);
  return Value::floating(std::floor((a - remainder) / b + 0.5));
}

Value repeat(Interpreter& in, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const size_t size = value.is_string() ? value.str().size() : value.items().size();
  // Refused before anything is made.
  if (times > 0 && size > in.limits().max_output_bytes / static_cast<size_t>(times)) {
    fail_limit(fmt::format("a repetition makes more than {} bytes", in.limits().max_output_bytes));
  }
  if (value.is_string()) {
    Text out;
    for (int64_t i = 0; i < times && size > 0; ++i) append_text(value.as_text(), &out);
    return in.make(std::move(out));
  }
  in.charge(size * static_cast<size_t>(times));
  std::vector<Value> items;
  for (int64_t i = 0; i < times && size > 0; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is(Kind::kTuple) ? in.make_tuple(std::move(items)) : in.make_list(std::move(items));
}

Value add_strings(Interpreter& in, const Value& left, const Value& right) {
  const bool markup = left.as_text().markup || right.as_text().markup;
  Text out;
  const auto add = [&](const Text& text) {
    append_text(markup && !text.markup ? escape_html(text) : text, &out);
  };
  add(left.as_text());
  add(right.as_text());
  out.markup = markup;
  return in.make(std::move(out));
}

}  // namespace

Value Interpreter::binary(const std::string& op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is(Kind::kFloat) || right.is(Kind::kFloat)) {
      return float_binary(op, left.as_double(), right.as_double());
    }
    return integer_binary(op, left, right);
  }
  const auto is_count = [](const Value& v) { return v.is(Kind::kInt) || v.is(Kind::kBool); };
  const auto repeats = [](const Value& v) { return v.is_string() || v.is_sequence(); };
  if (op == "*" && repeats(left) && is_count(right)) return repeat(*this, left, right.as_int());
  if (op == "*" && is_count(left) && repeats(right)) return repeat(*this, right, left.as_int());
  if (op == "%" && left.is_string()) return make(format_percent(*this, left.as_text(), right));
  if (op != "+" || left.is_undefined() || right.is_undefined()) unsupported(op, left, right);
  if (left.is_string() && right.is_string()) return add_strings(*this, left, right);
  if (left.is_sequence() && left.kind() == right.kind()) {
    charge(left.items().size() + right.items().size());
    std::vector<Value> items = left.items();
    items.insert(items.end(), right.items().begin(), right.items().end());
    return left.is(Kind::kTuple) ? make_tuple(std::move(items)) : make_list(std::move(items));
  }
  if (left.is_string() || left.is_sequence()) {
    fail(fmt::format("can only concatenate {0} (not \"{1}\") to {0}", type_name(left),
                     type_name(right)));
  }
  unsupported(op, left, right);
}

bool Interpreter::less(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    const bool integers = !left.is(Kind::kFloat) && !right.is(Kind::kFloat) &&
                          !left.is(Kind::kBigInt) && !right.is(Kind::kBigInt);
    return integers ? left.as_int() < right.as_int() : left.as_double() < right.as_double();
  }
  if (left.is_string() && right.is_string()) return left.str() < right.str();
  if (left.is_sequence() && left.kind() == right.kind()) {
    const auto& a = left.items();
    const auto& b = right.items();
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
      charge(1);
      if (!equal(a[i], b[i])) return less(a[i], b[i]);
    }
    return a.size() < b.size();
  }
  if (left.is_undefined()) fail(left.reason());
  if (right.is_undefined()) fail(right.reason());
  fail(fmt::format("'<' not supported between instances of '{}' and '{}'", type_name(left),
                   type_name(right)));
}

bool Interpreter::compare(const std::string& op, const Value& left, const Value& right) {
  if (op == "==" || op == "!=") {
    charge(static_cast<size_t>(left.depth()) * (left.is_sequence() ? left.items().size() : 1));
    return equal(left, right) == (op == "==");
  }
  if (op == "in") return contains(right, left);
  if (op == "not in") return !contains(right, left);
  if (op == "<") return less(left, right);
  if (op == ">") return less(right, left);
  // <= and >= are not the negations of > and < where a NaN takes part.
  if (op == "<=") return less(left, right) || equal(left, right);
  return less(right, left) || equal(left, right);
}

bool Interpreter::contains(const Value& container, const Value& item_value) {
  if (container.is_string()) {
    if (!item_value.is_string()) {
      if (item_value.is_undefined()) fail(item_value.reason());
      fail(fmt::format("'in <string>' requires string as left operand, not {}",
                       type_name(item_value)));
    }
    charge(container.str().size() / 64);
    return container.str().find(item_value.str()) != std::string::npos;
  }
  if (container.is_dict()) return container.as_dict().find(item_value) != nullptr;
  if (container.is_undefined()) return false;
  const bool is_range = object_as<RangeObject>(container) != nullptr;
  if (!container.is_sequence() && !is_range) {
    fail("argument of type '" + type_name(container) + "' is not iterable");
  }
  const std::vector<Value> items = iterate(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& v) { return equal(v, item_value); });
}

size_t Interpreter::length(const Value& value) {
  if (value.is_string()) {
    charge(value.str().size() / 64);
    return char_starts(value.str()).size() - 1;
  }
  if (value.is_sequence()) return value.items().size();
  if (value.is_dict()) return value.as_dict().entries.size();
  if (value.is_undefined()) return 0;
  if (const auto* range = object_as<RangeObject>(value)) return range->count;
  if (const auto* loop = object_as<LoopObject>(value)) return loop->items->size();
  fail("object of type '" + type_name(value) + "' has no len()");
}

}  // namespace trireme::text::jinja
