// Filters of numbers and of any value, and the table of all filters.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/objects.h"
#include "text/jinja/text_ops.h"

namespace trireme::text::jinja {

namespace {

Value f_default(Interpreter&, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const bool replaced = v.is_undefined() || (args.boolean(1, "boolean", false) && !truthy(v));
  return replaced ? args.value(0, "default_value", Value::string("")) : v;
}

Value f_abs(Interpreter& in, const Value& v, const Arguments&) {
  if (v.is(Kind::kFloat)) return Value::floating(std::abs(v.as_float()));
  if (!v.is(Kind::kInt) && !v.is(Kind::kBool)) {
    fail(v.is_undefined() ? v.reason() : "bad operand type for abs(): '" + type_name(v) + "'");
  }
  return v.as_int() < 0 ? in.binary("-", Value::integer(0), v) : Value::integer(v.as_int());
}

constexpr double kTwoTo63 = 9223372036854775808.0;

// Python's int(text, base); false when it is none.
bool parse_integer(std::string text, int base, int64_t* out) {
  text = strip({.bytes = std::move(text)}, nullptr, true, true).bytes;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() &&
        std::isalnum(static_cast<unsigned char>(text[i + 1])))
      continue;
    digits += text[i];
  }
  bool negative = false;
  size_t at = 0;
  if (at < digits.size() && (digits[at] == '+' || digits[at] == '-'))
    negative = digits[at++] == '-';
  const char prefix =
      at + 2 < digits.size() && digits[at] == '0' ? static_cast<char>(digits[at + 1] | 0x20) : 0;
  if ((base == 16 && prefix == 'x') || (base == 8 && prefix == 'o') || (base == 2 && prefix == 'b'))
    at += 2;
  uint64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data() + at, end, value, base);
  const uint64_t most = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (read.ec != std::errc() || read.ptr != end || value > most) return false;
  *out = static_cast<int64_t>(negative ? 0 - value : value);
  return true;
}

bool parse_float(const std::string& text, double* out) {
  const std::string digits = strip({.bytes = text}, nullptr, true, true).bytes;
  if (digits.empty()) return false;
  const bool negative = digits[0] == '-';
  const size_t sign = negative || digits[0] == '+' ? 1 : 0;
  if (sign < digits.size() && (digits[sign] == '+' || digits[sign] == '-')) return false;
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data() + sign, end, value);
  if (read.ec != std::errc() || read.ptr != end) return false;
  *out = negative ? -value : value;
  return true;
}

Value f_int(Interpreter&, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Value otherwise = args.value(0, "default", Value::integer(0));
  const int64_t base = args.integer(1, "base", 10);
  if (base < 2 || base > 36) fail("int() base must be >= 2 and <= 36");
  if (v.is(Kind::kInt) || v.is(Kind::kBigInt)) return v;
  if (v.is(Kind::kBool)) return Value::integer(v.as_int());
  int64_t integer = 0;
  double number = 0;
  if (v.is_string()) {
    if (parse_integer(v.str(), static_cast<int>(base), &integer)) return Value::integer(integer);
    if (!parse_float(v.str(), &number)) return otherwise;
  } else if (v.is(Kind::kFloat)) {
    number = v.as_float();
  } else {
    return v.is_undefined() ? (fail(v.reason()), v) : otherwise;
  }
  if (!std::isfinite(number)) return otherwise;
  if (!(std::abs(number) < kTwoTo63)) fail("an integer is beyond 64 bits");
  return Value::integer(static_cast<int64_t>(number));
}

Value f_float(Interpreter&, const Value& v, const Arguments& a) {
  const Value otherwise = ArgumentReader(a).value(0, "default", Value::floating(0));
  if (v.is_number()) return Value::floating(v.as_double());
  double number = 0;
  if (v.is_string() && parse_float(v.str(), &number)) return Value::floating(number);
  if (v.is_undefined()) fail(v.reason());
  return otherwise;
}

Value f_round(Interpreter&, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const int64_t precision = args.integer(0, "precision", 0);
  const std::string method = args.string(1, "method", "common");
  if (method != "common" && method != "ceil" && method != "floor")
    fail("method must be common, ceil or floor");
  if (!v.is_number() || v.is(Kind::kBigInt)) {
    fail(v.is_undefined() ? v.reason()
                          : "type " + type_name(v) + " doesn't define __round__ method");
  }
  if (precision < -300 || precision > 300) fail("round has an absurd precision");
  const double number = v.as_double();
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return Value::floating(
        (method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale);
  }
  if (!v.is(Kind::kFloat) && precision >= 0) return Value::integer(v.as_int());
  if (!std::isfinite(number)) return v;
  double rounded = 0;
  if (precision >= 0) {
    // Correctly rounded decimal digits, ties by the exact binary value, as Python's round.
    rounded =
        std::strtod(fmt::format("{:.{}f}", number, static_cast<int>(precision)).c_str(), nullptr);
  } else {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    rounded = std::nearbyint(number / scale) * scale;
  }
  if (v.is(Kind::kFloat)) return Value::floating(rounded);
  if (!(std::abs(rounded) < kTwoTo63)) fail("an integer is beyond 64 bits");
  return Value::integer(static_cast<int64_t>(rounded));
}

Value f_filesizeformat(Interpreter& in, const Value& v, const Arguments& a) {
  const bool binary = ArgumentReader(a).boolean(0, "binary", false);
  double bytes = 0;
  if (v.is_number()) {
    bytes = v.as_double();
  } else if (!v.is_string() || !parse_float(v.str(), &bytes)) {
    fail("filesizeformat needs a number");
  }
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return in.make(std::string("1 Byte"));
  if (!(bytes > -kTwoTo63)) fail("filesizeformat needs a number of 64 bits");
  if (bytes < base) return in.make(fmt::format("{} Bytes", static_cast<int64_t>(bytes)));
  static constexpr std::string_view kUnits = "kMGTPEZY";
  double unit = base;
  size_t i = 0;
  for (; i + 1 < kUnits.size() && bytes >= unit * base; ++i) unit *= base;
  std::string prefix(1, kUnits[i]);
  if (binary) prefix = (i == 0 ? "K" : prefix) + "i";
  return in.make(fmt::format("{:.1f} {}B", bytes / unit, prefix));
}

Value f_pprint(Interpreter& in, const Value& v, const Arguments&) {
  return in.make(to_repr_text(v));
}

Value f_tojson(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  JsonStyle style;
  style.ensure_ascii = args.boolean(0, "ensure_ascii", false);
  const Value indent = args.value(1, "indent", Value::none());
  if (indent.is_string()) {
    style.indent = indent.str();
  } else if (!indent.is_none()) {
    style.indent.assign(static_cast<size_t>(std::clamp<int64_t>(args.integer(1, "indent"), 0, 64)),
                        ' ');
  }
  style.pretty = !indent.is_none();
  if (style.indent.size() > 64) fail("tojson has too wide an indent");
  if (style.pretty) style.item_separator = ",";
  const Value separators = args.value(2, "separators", Value::none());
  if (!separators.is_none()) {
    const std::vector<Value> pair = in.unpack(separators, 2);
    if (!pair[0].is_string() || !pair[1].is_string()) fail("tojson separators must be strings");
    style.item_separator = pair[0].str();
    style.key_separator = pair[1].str();
  }
  style.sort_keys = args.boolean(3, "sort_keys", false);
  Result<Text> json = to_json(v, style);
  if (!json.ok()) fail(json.error().message);
  return in.make(std::move(json).value());
}

constexpr FilterEntry kFilters[] = {
    {"default", f_default}, {"d", f_default},     {"abs", f_abs},
    {"int", f_int},         {"float", f_float},   {"round", f_round},
    {"pprint", f_pprint},   {"tojson", f_tojson}, {"filesizeformat", f_filesizeformat},
};

const std::unordered_map<std::string_view, FilterFunction>& all_filters() {
  static const auto table = [] {
    std::unordered_map<std::string_view, FilterFunction> all;
    for (const auto group : {text_filters(), sequence_filters(), value_filters()}) {
      for (const FilterEntry& entry : group) all.emplace(entry.name, entry.function);
    }
    return all;
  }();
  return table;
}

}  // namespace

std::span<const FilterEntry> value_filters() { return kFilters; }

bool filter_exists(const std::string& name) { return all_filters().contains(name); }

Value Interpreter::filter(const std::string& name, const Value& value, Arguments arguments) {
  const auto found = all_filters().find(name);
  if (found == all_filters().end()) fail(fmt::format("No filter named '{}'.", name));
  charge(1);
  return found->second(*this, value, arguments);
}

}  // namespace trireme::text::jinja
