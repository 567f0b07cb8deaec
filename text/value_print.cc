// str(), repr() and json.dumps() of values, as Python writes them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"
#include "text/value.h"

namespace trireme::text {

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  // The shortest digits that read back as the same number.
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  std::string_view digits(buffer, static_cast<size_t>(end.ptr - buffer));
  std::string out;
  if (digits.front() == '-') {
    out = "-";
    digits.remove_prefix(1);
  }
  const size_t e = digits.find('e');
  const int exponent = std::atoi(std::string(digits.substr(e + 1)).c_str());
  std::string mantissa(1, digits[0]);
  if (e > 2) mantissa += digits.substr(2, e - 2);
  const int n = static_cast<int>(mantissa.size());
  if (exponent < -4 || exponent >= 16) {
    out += mantissa[0];
    if (n > 1) out += "." + mantissa.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + mantissa;
  if (n <= exponent + 1) {
    return out + mantissa + std::string(static_cast<size_t>(exponent + 1 - n), '0') + ".0";
  }
  return out + mantissa.substr(0, static_cast<size_t>(exponent) + 1) + "." +
         mantissa.substr(static_cast<size_t>(exponent) + 1);
}

namespace {

// Characters that repr() shows as themselves: not separators (but the blank), controls, or
// unassigned.
bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  const int cat = category(c);
  static const int kHidden[] = {category_by_name("Cn"), category_by_name("Cc"),
                                category_by_name("Cf"), category_by_name("Cs"),
                                category_by_name("Co"), category_by_name("Zl"),
                                category_by_name("Zp"), category_by_name("Zs")};
  return std::find(std::begin(kHidden), std::end(kHidden), cat) == std::end(kHidden);
}

void repr_string(const Text& text, Text* out) {
  const std::string& s = text.bytes;
  const bool single = s.find('\'') == std::string::npos || s.find('"') != std::string::npos;
  const char quote = single ? '\'' : '"';
  out->bytes += quote;
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = decode_at(s, at);
    const size_t next = at + c.length;
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\') {
      out->bytes += '\\';
      append_text(text, at, next, out);
    } else if (c.value == '\n') {
      out->bytes += "\\n";
    } else if (c.value == '\r') {
      out->bytes += "\\r";
    } else if (c.value == '\t') {
      out->bytes += "\\t";
    } else if (is_printable(c.value)) {
      append_text(text, at, next, out);
    } else if (c.value < 0x100) {
      out->bytes += fmt::format("\\x{:02x}", static_cast<uint32_t>(c.value));
    } else if (c.value < 0x10000) {
      out->bytes += fmt::format("\\u{:04x}", static_cast<uint32_t>(c.value));
    } else {
      out->bytes += fmt::format("\\U{:08x}", static_cast<uint32_t>(c.value));
    }
    at = next;
  }
  out->bytes += quote;
}

void repr(const Value& value, Text* out) {
  switch (value.kind()) {
    case Kind::kUndefined:
      out->bytes += "Undefined";
      return;
    case Kind::kString:
      repr_string(value.as_text(), out);
      return;
    case Kind::kList:
    case Kind::kTuple: {
      const bool tuple = value.is(Kind::kTuple);
      out->bytes += tuple ? '(' : '[';
      bool first = true;
      for (const Value& item : value.items()) {
        if (!first) out->bytes += ", ";
        first = false;
        repr(item, out);
      }
      if (tuple && value.items().size() == 1) out->bytes += ',';
      out->bytes += tuple ? ')' : ']';
      return;
    }
    case Kind::kDict: {
      out->bytes += '{';
      bool first = true;
      for (const auto& [key, item] : value.as_dict().entries) {
        if (!first) out->bytes += ", ";
        first = false;
        repr(key, out);
        out->bytes += ": ";
        repr(item, out);
      }
      out->bytes += '}';
      return;
    }
    default:
      append_text(to_text(value), out);
  }
}

}  // namespace

Text to_repr_text(const Value& value) {
  Text out;
  repr(value, &out);
  return out;
}

std::string to_repr(const Value& value) { return to_repr_text(value).bytes; }

Text to_text(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kNone:
      return {.bytes = "None"};
    case Kind::kBool:
      return {.bytes = value.as_bool() ? "True" : "False"};
    case Kind::kInt:
      return {.bytes = std::to_string(value.as_int())};
    case Kind::kBigInt:
      return {.bytes = value.digits()};
    case Kind::kFloat:
      return {.bytes = float_repr(value.as_float())};
    case Kind::kString:
      return value.as_text();
    case Kind::kObject:
      return {.bytes = value.as_object()->print()};
    default:
      return to_repr_text(value);
  }
}

namespace {

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  Status write(const Value& value, int level) {
    switch (value.kind()) {
      case Kind::kNone:
        out_.bytes += "null";
        return {};
      case Kind::kBool:
        out_.bytes += value.as_bool() ? "true" : "false";
        return {};
      case Kind::kInt:
      case Kind::kBigInt:
        out_.bytes += to_text(value).bytes;
        return {};
      case Kind::kFloat:
        out_.bytes += number(value.as_float());
        return {};
      case Kind::kString:
        string(value.as_text());
        return {};
      case Kind::kList:
      case Kind::kTuple:
        return list(value.items(), level);
      case Kind::kDict:
        return dict(value.as_dict(), level);
      default:
        return invalid_argument(
            fmt::format("Object of type {} is not JSON serializable", type_name(value)));
    }
  }

  Text take() { return std::move(out_); }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void newline(int level) {
    if (!style_.pretty) return;
    out_.bytes += '\n';
    for (int i = 0; i < level; ++i) out_.bytes += style_.indent;
  }

  Status list(const std::vector<Value>& items, int level) {
    out_.bytes += '[';
    bool first = true;
    for (const Value& item : items) {
      if (!first) out_.bytes += style_.item_separator;
      first = false;
      newline(level + 1);
      TRY(write(item, level + 1));
    }
    if (!items.empty()) newline(level);
    out_.bytes += ']';
    return {};
  }

  Status dict(const Dict& dict, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      for (const auto* entry : entries) {
        if (!entry->first.is_string())
          return invalid_argument("keys that are not all strings cannot be sorted");
      }
      // UTF-8 sorts as its code points do.
      std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        return a->first.str() < b->first.str();
      });
    }
    out_.bytes += '{';
    bool first = true;
    for (const auto* entry : entries) {
      if (!first) out_.bytes += style_.item_separator;
      first = false;
      newline(level + 1);
      TRY(key(entry->first));
      out_.bytes += style_.key_separator;
      TRY(write(entry->second, level + 1));
    }
    if (!entries.empty()) newline(level);
    out_.bytes += '}';
    return {};
  }

  Status key(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        string(key.as_text());
        return {};
      case Kind::kNone:
        out_.bytes += "\"null\"";
        return {};
      case Kind::kBool:
        out_.bytes += key.as_bool() ? "\"true\"" : "\"false\"";
        return {};
      case Kind::kInt:
      case Kind::kBigInt:
        out_.bytes += "\"" + to_text(key).bytes + "\"";
        return {};
      case Kind::kFloat:
        out_.bytes += "\"" + number(key.as_float()) + "\"";
        return {};
      default:
        return invalid_argument("keys must be str, int, float, bool or None, not " +
                                type_name(key));
    }
  }

  void string(const Text& text) {
    const std::string& s = text.bytes;
    out_.bytes += '"';
    size_t plain = 0;  // bytes from here on are copied as they are
    for (size_t at = 0; at < s.size();) {
      const CodePoint c = decode_at(s, at);
      const std::string escaped = escape(c.value);
      if (!escaped.empty()) {
        append_text(text, plain, at, &out_);
        out_.bytes += escaped;
        plain = at + c.length;
      }
      at += c.length;
    }
    append_text(text, plain, s.size(), &out_);
    out_.bytes += '"';
  }

  std::string escape(char32_t c) const {
    switch (c) {
      case '"':
        return "\\\"";
      case '\\':
        return "\\\\";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
      default:
        break;
    }
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x20) return fmt::format("\\u{:04x}", code);
    if (!style_.ensure_ascii || code < 0x7F) return {};
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    const uint32_t rest = code - 0x10000;
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
  }

  const JsonStyle& style_;
  Text out_;
};

}  // namespace

Result<Text> to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  TRY(writer.write(value, 0));
  return writer.take();
}

}  // namespace trireme::text
