// Methods of strings, lists, tuples and dicts: those that change nothing.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/objects.h"
#include "text/jinja/text_ops.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text::jinja {

namespace {

using Method = Value (*)(Interpreter& in, const Value& self, const ArgumentReader& args);
using MethodTable = std::unordered_map<std::string_view, Method>;

Value list_of(Interpreter& in, std::vector<Text> parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (Text& part : parts) items.push_back(Value::text(std::move(part)));
  return in.make_list(std::move(items));
}

template <bool kLeft, bool kRight>
Value m_strip(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const Value chars = args.value(0, "chars", Value::none());
  if (!chars.is_none() && !chars.is_string()) fail("strip arg must be None or str");
  return in.make(strip(self.as_text(), chars.is_none() ? nullptr : &chars.str(), kLeft, kRight));
}

template <bool kFromRight>
Value m_split(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const Value separator = args.value(0, "sep", Value::none());
  if (!separator.is_none() && !separator.is_string())
    fail("must be str or None, not " + type_name(separator));
  return list_of(in, split(self.as_text(), separator.is_none() ? nullptr : &separator.str(),
                           args.integer(1, "maxsplit", -1), kFromRight));
}

Value m_splitlines(Interpreter& in, const Value& self, const ArgumentReader& args) {
  return list_of(in, split_lines(self.as_text(), args.boolean(0, "keepends", false)));
}

template <bool kFromRight>
Value m_partition(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const std::string separator = args.string(0, "sep");
  if (separator.empty()) fail("empty separator");
  const Text& text = self.as_text();
  const size_t at = kFromRight ? text.bytes.rfind(separator) : text.bytes.find(separator);
  if (at == std::string::npos) {
    const Value empty = Value::string("");
    return kFromRight ? in.make_tuple({empty, empty, self}) : in.make_tuple({self, empty, empty});
  }
  const size_t end = at + separator.size();
  return in.make_tuple({Value::text(sub_text(text, 0, at)), Value::text(sub_text(text, at, end)),
                        Value::text(sub_text(text, end, text.bytes.size()))});
}

// Bytes of the part of a string between two character positions, as str.find and the like take
// them.
std::pair<size_t, size_t> window(const std::string& s, const ArgumentReader& args, size_t place) {
  const std::vector<size_t> starts = char_starts(s);
  const auto n = static_cast<int64_t>(starts.size()) - 1;
  const auto bound = [&](size_t at, const char* name, int64_t otherwise) {
    const Value value = args.value(at, name, Value::none());
    int64_t i = value.is_none() ? otherwise : args.integer(at, name);
    if (i < 0) i = std::max<int64_t>(i, -n) + n;
    return std::min(i, n);
  };
  return {starts[static_cast<size_t>(bound(place, "start", 0))],
          starts[static_cast<size_t>(bound(place + 1, "end", n))]};
}

template <bool kFromRight, bool kMustExist>
Value m_find(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const std::string& s = self.str();
  const std::string needle = args.string(0, "sub");
  const auto [begin, end] = window(s, args, 1);
  in.charge(s.size() / 64);
  size_t at = std::string::npos;
  if (begin <= end) {
    const std::string_view part = std::string_view(s).substr(begin, end - begin);
    at = kFromRight ? part.rfind(needle) : part.find(needle);
  }
  if (at == std::string::npos) {
    if (kMustExist) fail("substring not found");
    return Value::integer(-1);
  }
  return Value::integer(
      static_cast<int64_t>(count_code_points(std::string_view(s).substr(0, begin + at))));
}

Value m_count(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const std::string& s = self.str();
  const std::string needle = args.string(0, "sub");
  const auto [begin, end] = window(s, args, 1);
  in.charge(s.size() / 64);
  if (begin > end) return Value::integer(0);
  const std::string_view part = std::string_view(s).substr(begin, end - begin);
  if (needle.empty()) return Value::integer(static_cast<int64_t>(count_code_points(part)) + 1);
  int64_t count = 0;
  for (size_t at = part.find(needle); at != std::string_view::npos;
       at = part.find(needle, at + needle.size()))
    ++count;
  return Value::integer(count);
}

template <bool kEnd>
Value m_affix(Interpreter&, const Value& self, const ArgumentReader& args) {
  const auto [begin, end] = window(self.str(), args, 1);
  const std::string_view part =
      begin <= end ? std::string_view(self.str()).substr(begin, end - begin) : std::string_view();
  const auto matches = [&](const Value& v) {
    if (!v.is_string()) fail("startswith and endswith need str or a tuple of str");
    return kEnd ? part.ends_with(v.str()) : part.starts_with(v.str());
  };
  const Value wanted = args.value(0, "prefix");
  if (!wanted.is(Kind::kTuple)) return Value::boolean(matches(wanted));
  return Value::boolean(std::any_of(wanted.items().begin(), wanted.items().end(), matches));
}

Value m_replace(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const Value to = args.value(1, "new");
  if (!to.is_string()) fail("replace() argument 2 must be str, not " + type_name(to));
  return in.make(replace(in, self.as_text(), args.string(0, "old"), to.as_text(),
                         args.integer(2, "count", -1)));
}

Value m_join(Interpreter& in, const Value& self, const ArgumentReader& args) {
  Text out;
  bool first = true;
  for (const Value& item : in.iterate(args.value(0, "iterable"))) {
    if (!item.is_string()) fail("join expects str instances, " + type_name(item) + " found");
    if (!first) append_text(self.as_text(), &out);
    first = false;
    append_text(item.as_text(), &out);
    in.charge(1 + self.str().size() / 16);
  }
  return in.make(std::move(out));
}

template <bool kSuffix>
Value m_remove_affix(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const std::string affix = args.string(0, "prefix");
  const std::string& s = self.str();
  if (kSuffix && s.ends_with(affix))
    return in.make(sub_text(self.as_text(), 0, s.size() - affix.size()));
  if (!kSuffix && s.starts_with(affix))
    return in.make(sub_text(self.as_text(), affix.size(), s.size()));
  return self;
}

template <Text (*kChange)(const Text&)>
Value m_case(Interpreter& in, const Value& self, const ArgumentReader&) {
  return in.make(kChange(self.as_text()));
}

Text casefold(const Text& text) {
  Text out = lower(text);
  for (size_t at = out.bytes.find("\xC3\x9F"); at != std::string::npos;
       at = out.bytes.find("\xC3\x9F", at)) {
    out.bytes.replace(at, 2, "ss");  // the same number of bytes
  }
  return out;
}

template <char kAlign>
Value m_pad(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const std::string fill = args.string(1, "fillchar", " ");
  if (count_code_points(fill) != 1) fail("The fill character must be exactly one character long");
  return in.make(pad(self.as_text(), args.integer(0, "width"), fill, kAlign));
}

Value m_zfill(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const std::string& s = self.str();
  const bool sign = s.starts_with('-') || s.starts_with('+');
  const Text digits = sub_text(self.as_text(), sign ? 1 : 0, s.size());
  Text out = sub_text(self.as_text(), 0, sign ? 1 : 0);
  append_text(
      pad(digits, std::max<int64_t>(args.integer(0, "width"), 1) - (sign ? 1 : 0), "0", '>'), &out);
  return in.make(std::move(out));
}

Value m_expandtabs(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const int64_t size = args.integer(0, "tabsize", 8);
  if (size < 0 || size > 1024) fail("expandtabs has an absurd size");
  Text out;
  int64_t column = 0;
  const std::string& s = self.str();
  for (size_t at = 0; at < s.size();) {
    const size_t next = at + decode_at(s, at).length;
    if (s[at] == '\t') {
      const int64_t blanks = size == 0 ? 0 : size - column % size;
      out.bytes.append(static_cast<size_t>(blanks), ' ');
      column += blanks;
      in.charge(static_cast<size_t>(blanks) / 16 + 1);
    } else {
      append_text(self.as_text(), at, next, &out);
      column = s[at] == '\n' || s[at] == '\r' ? 0 : column + 1;
    }
    at = next;
  }
  return in.make(std::move(out));
}

// isalpha() and the like: true when there is a character and all are of the kind.
template <bool (*kIs)(char32_t)>
Value m_all(Interpreter&, const Value& self, const ArgumentReader&) {
  const std::vector<char32_t> chars = to_code_points(self.str());
  return Value::boolean(!chars.empty() && std::all_of(chars.begin(), chars.end(), kIs));
}

bool has_class(char32_t c, uint16_t mask) { return (ClassTable::get().bits(c) & mask) != 0; }
bool is_alpha(char32_t c) { return has_class(c, kLetter); }
bool is_alnum(char32_t c) { return has_class(c, kLetter | kNumber); }
bool is_blank(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }
bool is_decimal(char32_t c) { return category(c) == category_by_name("Nd"); }
bool is_superscript(char32_t c) {
  return c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}
bool is_digit(char32_t c) { return is_decimal(c) || is_superscript(c); }
bool is_numeric(char32_t c) { return has_class(c, kNumber); }
bool is_ascii_char(char32_t c) { return c < 0x80; }

template <bool (*kIs)(std::string_view)>
Value m_is(Interpreter&, const Value& self, const ArgumentReader&) {
  return Value::boolean(kIs(self.str()));
}

const MethodTable& string_methods() {
  static const MethodTable table = {
      {"strip", m_strip<true, true>},
      {"lstrip", m_strip<true, false>},
      {"rstrip", m_strip<false, true>},
      {"split", m_split<false>},
      {"rsplit", m_split<true>},
      {"splitlines", m_splitlines},
      {"partition", m_partition<false>},
      {"rpartition", m_partition<true>},
      {"find", m_find<false, false>},
      {"rfind", m_find<true, false>},
      {"index", m_find<false, true>},
      {"rindex", m_find<true, true>},
      {"count", m_count},
      {"startswith", m_affix<false>},
      {"endswith", m_affix<true>},
      {"replace", m_replace},
      {"join", m_join},
      {"removeprefix", m_remove_affix<false>},
      {"removesuffix", m_remove_affix<true>},
      {"upper", m_case<upper>},
      {"lower", m_case<lower>},
      {"capitalize", m_case<capitalize>},
      {"title", m_case<title_method>},
      {"swapcase", m_case<swap_case>},
      {"casefold", m_case<casefold>},
      {"ljust", m_pad<'<'>},
      {"rjust", m_pad<'>'>},
      {"center", m_pad<'^'>},
      {"zfill", m_zfill},
      {"expandtabs", m_expandtabs},
      {"format", nullptr},
      {"isalpha", m_all<is_alpha>},
      {"isalnum", m_all<is_alnum>},
      {"isspace", m_all<is_blank>},
      {"isdecimal", m_all<is_decimal>},
      {"isdigit", m_all<is_digit>},
      {"isnumeric", m_all<is_numeric>},
      {"isupper", m_is<is_cased_upper>},
      {"islower", m_is<is_cased_lower>},
      {"istitle", m_is<is_titled>},
      {"isascii",
       [](Interpreter&, const Value& self, const ArgumentReader&) {
         const std::vector<char32_t> chars = to_code_points(self.str());
         return Value::boolean(std::all_of(chars.begin(), chars.end(), is_ascii_char));
       }},
  };
  return table;
}

Value m_sequence_count(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const Value wanted = args.value(0, "value");
  in.charge(self.items().size());
  return Value::integer(std::count_if(self.items().begin(), self.items().end(),
                                      [&](const Value& item) { return equal(item, wanted); }));
}

Value m_sequence_index(Interpreter& in, const Value& self, const ArgumentReader& args) {
  const Value wanted = args.value(0, "value");
  in.charge(self.items().size());
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (equal(self.items()[i], wanted)) return Value::integer(static_cast<int64_t>(i));
  }
  fail(to_repr(wanted) + " is not in list");
}

Value m_copy(Interpreter&, const Value& self, const ArgumentReader&) { return self; }

Value m_get(Interpreter&, const Value& self, const ArgumentReader& args) {
  const Value* found = self.as_dict().find(args.value(0, "key"));
  return found != nullptr ? *found : args.value(1, "default", Value::none());
}

enum class Part { kKeys, kValues, kItems };

template <Part kPart>
Value m_parts(Interpreter& in, const Value& self, const ArgumentReader&) {
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict().entries) {
    out.push_back(kPart == Part::kKeys     ? key
                  : kPart == Part::kValues ? value
                                           : in.make_tuple({key, value}));
  }
  return in.make_list(std::move(out));
}

const MethodTable* methods_of(const Value& self) {
  static const MethodTable list = {
      {"count", m_sequence_count}, {"index", m_sequence_index}, {"copy", m_copy}};
  static const MethodTable tuple = {{"count", m_sequence_count}, {"index", m_sequence_index}};
  static const MethodTable dict = {{"get", m_get},
                                   {"keys", m_parts<Part::kKeys>},
                                   {"values", m_parts<Part::kValues>},
                                   {"items", m_parts<Part::kItems>},
                                   {"copy", m_copy}};
  if (self.is_string()) return &string_methods();
  if (self.is(Kind::kList)) return &list;
  if (self.is(Kind::kTuple)) return &tuple;
  if (self.is_dict()) return &dict;
  return nullptr;
}

}  // namespace

bool has_method(const Value& self, const std::string& name) {
  const MethodTable* table = methods_of(self);
  return table != nullptr && table->contains(name);
}

Value call_method(Interpreter& in, const Value& self, const std::string& name,
                  const Arguments& args) {
  in.charge(1);
  if (self.is_string() && name == "format") return in.make(format_braces(in, self.as_text(), args));
  const MethodTable* table = methods_of(self);
  CHECK(table != nullptr && table->contains(name)) << name;
  return table->at(name)(in, self, ArgumentReader(args));
}

}  // namespace trireme::text::jinja
