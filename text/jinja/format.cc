// Python's two ways to format: "%5.2f" % x and "{:>5}".format(x).
#include <fmt/format.h>
#include <fmt/printf.h>

#include <algorithm>

#include "text/jinja/text_ops.h"
#include "text/unicode/utf8.h"

namespace trireme::text::jinja {

namespace {

constexpr int64_t kMaxWidth = 4096;

// One conversion: %[flags][width][.precision]type, or the part behind the colon of {:...}.
struct Spec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^'; 0: by type
  char sign = 0;   // '+' or ' '
  bool alternate = false;
  bool zero = false;
  bool comma = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

int64_t read_number(std::string_view text, size_t* at) {
  int64_t value = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    value = value * 10 + (text[(*at)++] - '0');
    if (value > kMaxWidth)
      fail_limit(fmt::format("a format asks for more than {} characters", kMaxWidth));
  }
  return value;
}

int64_t to_integer(const Value& value, char type) {
  if (value.is(Kind::kFloat) && (type == 'd' || type == 'i' || type == 'u')) {
    if (!(std::abs(value.as_float()) < 9e18)) fail("a number is beyond 64 bits");
    return static_cast<int64_t>(value.as_float());
  }
  if (value.is(Kind::kInt) || value.is(Kind::kBool)) return value.as_int();
  if (value.is_undefined()) fail(value.reason());
  fail(fmt::format("%{} format: a number is required, not {}", type, type_name(value)));
}

// Digits of a number without sign or padding.
std::string number_body(const Value& value, const Spec& spec, bool* negative) {
  const char type = spec.type;
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  if (std::string_view("fFeEgG%").find(type) != std::string_view::npos) {
    if (!value.is_number())
      fail(value.is_undefined() ? value.reason() : "must be real number, not " + type_name(value));
    double number = value.as_double();
    *negative = std::signbit(number);
    number = std::abs(number);
    switch (type) {
      case 'e':
        return fmt::format("{:.{}e}", number, precision);
      case 'E':
        return fmt::format("{:.{}E}", number, precision);
      case 'g':
        return fmt::format("{:.{}g}", number, precision == 0 ? 1 : precision);
      case 'G':
        return fmt::format("{:.{}G}", number, precision == 0 ? 1 : precision);
      case '%':
        return fmt::format("{:.{}f}%", number * 100, precision);
      default:
        return fmt::format("{:.{}f}", number, precision);
    }
  }
  if (value.is(Kind::kBigInt) && (type == 'd' || type == 'i')) {
    *negative = value.digits()[0] == '-';
    return value.digits().substr(*negative ? 1 : 0);
  }
  const int64_t number = to_integer(value, type);
  *negative = number < 0;
  const uint64_t size =
      *negative ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  std::string digits;
  switch (type) {
    case 'x':
      digits = fmt::format("{}{:x}", spec.alternate ? "0x" : "", size);
      break;
    case 'X':
      digits = fmt::format("{}{:X}", spec.alternate ? "0X" : "", size);
      break;
    case 'o':
      digits = fmt::format("{}{:o}", spec.alternate ? "0o" : "", size);
      break;
    case 'b':
      digits = fmt::format("{}{:b}", spec.alternate ? "0b" : "", size);
      break;
    default:
      digits = std::to_string(size);
      break;
  }
  if (spec.precision > static_cast<int64_t>(digits.size())) {
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  }
  return digits;
}

Text format_number(const Value& value, Spec spec) {
  bool negative = false;
  std::string body = number_body(value, spec, &negative);
  if (spec.comma) {
    const size_t whole = std::min(body.find('.'), body.size());
    for (size_t at = whole; at > 3; at -= 3) body.insert(at - 3, ",");
  }
  const std::string sign = negative ? "-" : spec.sign != 0 ? std::string(1, spec.sign) : "";
  const auto size = static_cast<int64_t>(sign.size() + body.size());
  if (spec.zero && spec.align == 0 && size < spec.width) {
    body.insert(0, static_cast<size_t>(spec.width - size), '0');
  }
  return pad({.bytes = sign + body}, spec.width, spec.fill, spec.align == 0 ? '>' : spec.align);
}

Text cut(const Text& text, int64_t precision) {
  if (precision < 0) return text;
  const std::vector<size_t> starts = char_starts(text.bytes);
  const auto n = std::min(static_cast<size_t>(precision), starts.size() - 1);
  return sub_text(text, 0, starts[n]);
}

Text convert(const Value& value, const Spec& spec) {
  const char align = spec.align == 0 ? '>' : spec.align;
  switch (spec.type) {
    case 's':
      return pad(cut(to_text(value), spec.precision), spec.width, " ", align);
    case 'r':
    case 'a':
      return pad(cut(to_repr_text(value), spec.precision), spec.width, " ", align);
    case 'c': {
      Text one;
      if (value.is_string()) {
        one = value.as_text();
        if (char_starts(one.bytes).size() != 2) fail("%c requires int or char");
      } else {
        append_utf8(static_cast<char32_t>(to_integer(value, 'c')), &one.bytes);
      }
      return pad(one, spec.width, " ", align);
    }
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return format_number(value, spec);
    default:
      fail(fmt::format("unsupported format character '{}'", spec.type));
  }
}

// Hands out the operands of a % format.
class Operands {
 public:
  explicit Operands(const Value& value) : value_(value) {
    if (value.is(Kind::kTuple)) {
      items_ = value.items();
    } else {
      items_.push_back(value);
    }
  }
  Value next() {
    if (at_ >= items_.size()) fail("not enough arguments for format string");
    return items_[at_++];
  }
  Value named(const std::string& key) {
    if (!value_.is_dict()) fail("format requires a mapping");
    by_name_ = true;
    const Value* found = value_.as_dict().find(key);
    if (found == nullptr) fail("the format names '" + key + "', which is not there");
    return *found;
  }
  void finish() const {
    if (at_ < items_.size() && !by_name_ && !value_.is_dict()) {
      fail("not all arguments converted during string formatting");
    }
  }

 private:
  const Value& value_;
  std::vector<Value> items_;
  size_t at_ = 0;
  bool by_name_ = false;
};

int64_t star_or_number(std::string_view s, size_t* at, Operands* operands) {
  if (*at < s.size() && s[*at] == '*') {
    ++*at;
    const int64_t value = to_integer(operands->next(), 'd');
    if (value < 0 || value > kMaxWidth) fail_limit("a format asks for too wide a field");
    return value;
  }
  return read_number(s, at);
}

}  // namespace

Text format_percent(Interpreter& in, const Text& format, const Value& value) {
  const std::string& s = format.bytes;
  Operands operands(value);
  Text out;
  size_t done = 0;
  for (size_t at = s.find('%'); at != std::string::npos; at = s.find('%', done)) {
    append_text(format, done, at, &out);
    in.charge(1);
    ++at;
    Spec spec;
    std::string key;
    if (at < s.size() && s[at] == '(') {
      const size_t close = s.find(')', at);
      if (close == std::string::npos) fail("incomplete format key");
      key = s.substr(at + 1, close - at - 1);
      at = close + 1;
    }
    for (; at < s.size() && std::string_view("-+ #0").find(s[at]) != std::string_view::npos; ++at) {
      if (s[at] == '-') spec.align = '<';
      if (s[at] == '+') spec.sign = '+';
      if (s[at] == ' ' && spec.sign == 0) spec.sign = ' ';
      if (s[at] == '#') spec.alternate = true;
      if (s[at] == '0') spec.zero = true;
    }
    spec.width = star_or_number(s, &at, &operands);
    if (at < s.size() && s[at] == '.') {
      ++at;
      spec.precision = star_or_number(s, &at, &operands);
    }
    if (at >= s.size()) fail("incomplete format");
    spec.type = s[at];
    done = at + 1;
    if (spec.type == '%') {
      out.bytes += '%';
      continue;
    }
    append_text(convert(key.empty() ? operands.next() : operands.named(key), spec), &out);
    if (out.bytes.size() > in.limits().max_output_bytes)
      fail_limit("a format makes too long a text");
  }
  operands.finish();
  append_text(format, done, s.size(), &out);
  return out;
}

namespace {

Spec parse_spec(std::string_view s) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  const size_t first = s.empty() ? 0 : decode_at(s, 0).length;
  if (s.size() > first && is_align(s[first])) {
    spec.fill = s.substr(0, first);
    spec.align = s[first];
    at = first + 1;
  } else if (!s.empty() && is_align(s[0])) {
    spec.align = s[0];
    at = 1;
  }
  if (at < s.size() && (s[at] == '+' || s[at] == '-' || s[at] == ' ')) {
    if (s[at] != '-') spec.sign = s[at];
    ++at;
  }
  if (at < s.size() && s[at] == '#') {
    spec.alternate = true;
    ++at;
  }
  if (at < s.size() && s[at] == '0') {
    spec.zero = true;
    ++at;
  }
  spec.width = read_number(s, &at);
  if (at < s.size() && (s[at] == ',' || s[at] == '_')) spec.comma = s[at++] == ',';
  if (at < s.size() && s[at] == '.') {
    ++at;
    spec.precision = read_number(s, &at);
  }
  if (at < s.size()) spec.type = s[at++];
  if (at != s.size() || spec.align == '=') fail("invalid format specifier");
  return spec;
}

Text format_field(const Value& value, char conversion, std::string_view spec_text) {
  Spec spec = parse_spec(spec_text);
  Value shown = value;
  if (conversion == 's') shown = Value::text(to_text(value));
  if (conversion == 'r') shown = Value::text(to_repr_text(value));
  const bool number = shown.is_number() && !shown.is(Kind::kBool);
  if (number && (spec.type != 0 || !spec_text.empty())) {
    if (spec.type == 0 && !shown.is(Kind::kFloat)) spec.type = 'd';
    if (spec.type == 0 && spec.precision >= 0) spec.type = 'g';
    if (spec.type != 0 && spec.type != 's') return format_number(shown, spec);
  }
  return pad(cut(to_text(shown), spec.precision), spec.width, spec.fill,
             spec.align != 0 ? spec.align
             : number        ? '>'
                             : '<');
}

}  // namespace

Text format_braces(Interpreter& in, const Text& format, const Arguments& args) {
  const std::string& s = format.bytes;
  Text out;
  size_t next_place = 0;
  for (size_t at = 0; at < s.size();) {
    const size_t brace = std::min(s.find_first_of("{}", at), s.size());
    append_text(format, at, brace, &out);
    if (brace == s.size()) break;
    if (brace + 1 < s.size() && s[brace + 1] == s[brace]) {
      out.bytes += s[brace];
      at = brace + 2;
      continue;
    }
    const size_t close = s.find('}', brace);
    if (s[brace] == '}' || close == std::string::npos) fail("single brace in a format string");
    const std::string field = s.substr(brace + 1, close - brace - 1);
    if (field.find('{') != std::string::npos)
      fail("nested fields in a format string are not supported");
    const size_t colon = std::min(field.find(':'), field.size());
    std::string name = field.substr(0, colon);
    char conversion = 0;
    if (const size_t bang = name.find('!'); bang != std::string::npos) {
      conversion = bang + 1 < name.size() ? name[bang + 1] : 0;
      name.resize(bang);
    }
    const size_t path = std::min(name.find_first_of(".["), name.size());
    if (path != name.size()) fail("attributes in a format string are not supported");
    Value value;
    if (name.empty() || std::all_of(name.begin(), name.end(), ::isdigit)) {
      size_t index_at = 0;
      const size_t place =
          name.empty() ? next_place++ : static_cast<size_t>(read_number(name, &index_at));
      if (place >= args.positional.size()) fail("the format names an argument that is not there");
      value = args.positional[place];
    } else {
      const auto found = std::find_if(args.named.begin(), args.named.end(),
                                      [&](const auto& a) { return a.first == name; });
      if (found == args.named.end()) fail("the format names '" + name + "', which is not there");
      value = found->second;
    }
    in.charge(1);
    append_text(format_field(value, conversion,
                             colon < field.size() ? std::string_view(field).substr(colon + 1) : ""),
                &out);
    if (out.bytes.size() > in.limits().max_output_bytes)
      fail_limit("a format makes too long a text");
    at = close + 1;
  }
  return out;
}

}  // namespace trireme::text::jinja
