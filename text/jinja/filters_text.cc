// Filters of strings.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/text_ops.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text::jinja {

Text soft_text(const Value& value) { return value.is_string() ? value.as_text() : to_text(value); }

namespace {

Value f_upper(Interpreter& in, const Value& v, const Arguments&) {
  return in.make(upper(soft_text(v)));
}
Value f_lower(Interpreter& in, const Value& v, const Arguments&) {
  return in.make(lower(soft_text(v)));
}
Value f_capitalize(Interpreter& in, const Value& v, const Arguments&) {
  return in.make(capitalize(soft_text(v)));
}
Value f_title(Interpreter& in, const Value& v, const Arguments&) {
  return in.make(title_filter(soft_text(v)));
}

Value f_trim(Interpreter& in, const Value& v, const Arguments& a) {
  const Value chars = ArgumentReader(a).value(0, "chars", Value::none());
  return in.make(strip(soft_text(v), chars.is_string() ? &chars.str() : nullptr, true, true));
}

Value f_replace(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Value count = args.value(2, "count", Value::none());
  const Text from = soft_text(args.value(0, "old"));
  return in.make(replace(in, soft_text(v), from.bytes, soft_text(args.value(1, "new")),
                         count.is_none() ? -1 : count.as_int()));
}

Value f_center(Interpreter& in, const Value& v, const Arguments& a) {
  return in.make(pad(soft_text(v), ArgumentReader(a).integer(0, "width", 80), " ", '^'));
}

Value f_indent(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Value width = args.value(0, "width", Value::integer(4));
  const bool first = args.boolean(1, "first", false);
  const bool blank = args.boolean(2, "blank", false);
  Text pad_text;
  if (width.is_string()) {
    pad_text = width.as_text();
  } else {
    pad_text.bytes.assign(
        static_cast<size_t>(std::clamp<int64_t>(args.integer(0, "width", 4), 0, 4096)), ' ');
  }
  Text source = soft_text(v);
  source.bytes += '\n';  // so that a trailing newline keeps its last, empty line
  const std::vector<Text> lines = split_lines(source, false);
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.bytes += '\n';
    const bool indented = i == 0 ? first : blank || !lines[i].bytes.empty();
    if (indented) append_text(pad_text, &out);
    append_text(lines[i], &out);
    in.charge(1 + pad_text.bytes.size() / 16);
  }
  return in.make(std::move(out));
}

Value f_escape(Interpreter& in, const Value& v, const Arguments&) {
  const Text text = soft_text(v);
  return in.make(text.markup ? text : escape_html(text));
}

Value f_forceescape(Interpreter& in, const Value& v, const Arguments&) {
  return in.make(escape_html(soft_text(v)));
}

Value f_safe(Interpreter& in, const Value& v, const Arguments&) {
  Text text = soft_text(v);
  text.markup = true;
  return in.make(std::move(text));
}

Value f_string(Interpreter& in, const Value& v, const Arguments&) {
  return v.is_string() ? v : in.make(to_text(v));
}

Value f_format(Interpreter& in, const Value& v, const Arguments& a) {
  if (!a.named.empty()) {
    Dict named;
    for (const auto& [name, value] : a.named) named.set(Value::string(name), value);
    return in.make(format_percent(in, soft_text(v), in.make_dict(std::move(named))));
  }
  return in.make(format_percent(in, soft_text(v), in.make_tuple(a.positional)));
}

Value f_wordcount(Interpreter&, const Value& v, const Arguments&) {
  int64_t words = 0;
  bool inside = false;
  for (const char32_t c : to_code_points(soft_text(v).bytes)) {
    const bool word = (ClassTable::get().bits(c) & kWord) != 0;
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(words);
}

Value f_truncate(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Text text = soft_text(v);
  const int64_t length = args.integer(0, "length", 255);
  const bool kill_words = args.boolean(1, "killwords", false);
  const std::string end = args.string(2, "end", "...");
  const Value leeway_value = args.value(3, "leeway", Value::none());
  const int64_t leeway = leeway_value.is(Kind::kInt) ? leeway_value.as_int() : 5;
  const auto end_size = static_cast<int64_t>(count_code_points(end));
  if (length < end_size || leeway < 0) fail("truncate has too small a length or leeway");
  const std::vector<size_t> starts = char_starts(text.bytes);
  // Not length + leeway, which may be beyond 64 bits.
  const int64_t over = static_cast<int64_t>(starts.size()) - 1 - length;
  if (over <= leeway) return in.make(text);
  Text kept = sub_text(text, 0, starts[static_cast<size_t>(length - end_size)]);
  if (!kill_words) {
    if (const size_t space = kept.bytes.rfind(' '); space != std::string::npos)
      kept = sub_text(kept, 0, space);
  }
  append_plain(end, &kept);
  return in.make(std::move(kept));
}

// Words of one line, filled up to `width`; words that are longer are cut.
void wrap_line(const Text& line, size_t width, const std::string& newline, bool break_long,
               Text* out) {
  size_t column = 0;
  bool first = true;
  for (const Text& word : split(line, nullptr, -1, false)) {
    const std::vector<size_t> starts = char_starts(word.bytes);
    const size_t size = starts.size() - 1;
    if (!first && column + 1 + size <= width) {
      out->bytes += ' ';
      append_text(word, out);
      column += 1 + size;
      continue;
    }
    if (!first) append_plain(newline, out);
    first = false;
    size_t at = 0;
    while (break_long && size - at > width) {
      append_text(word, starts[at], starts[at + width], out);
      append_plain(newline, out);
      at += width;
    }
    append_text(word, starts[at], word.bytes.size(), out);
    column = size - at;
  }
}

Value f_wordwrap(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const int64_t width = args.integer(0, "width", 79);
  if (width < 1) fail("wordwrap needs a width of at least 1");
  const bool break_long = args.boolean(1, "break_long_words", true);
  const Value given = args.value(2, "wrapstring", Value::none());
  const std::string newline = given.is_string() ? given.str() : "\n";
  Text out;
  bool first = true;
  for (const Text& line : split_lines(soft_text(v), false)) {
    if (!first) append_plain(newline, &out);
    first = false;
    wrap_line(line, static_cast<size_t>(width), newline, break_long, &out);
  }
  return in.make(std::move(out));
}

Value f_striptags(Interpreter& in, const Value& v, const Arguments&) {
  const Text text = soft_text(v);
  Text out;
  bool inside = false;
  for (size_t at = 0; at < text.bytes.size(); ++at) {
    if (text.bytes[at] == '<') inside = true;
    if (!inside) append_text(text, at, at + 1, &out);
    if (text.bytes[at] == '>') inside = false;
  }
  Text joined;
  for (const Text& word : split(out, nullptr, -1, false)) {
    if (!joined.bytes.empty()) joined.bytes += ' ';
    append_text(word, &joined);
  }
  return in.make(std::move(joined));
}

std::string url_quote(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) ||
        std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query)) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value f_urlencode(Interpreter& in, const Value& v, const Arguments&) {
  if (v.is_string() || !(v.is_dict() || v.is_sequence())) {
    const Text text = soft_text(v);
    return in.make(remade(url_quote(text.bytes, false), text));
  }
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += url_quote(soft_text(key).bytes, true) + "=" + url_quote(soft_text(value).bytes, true);
  };
  if (v.is_dict()) {
    for (const auto& [key, value] : v.as_dict().entries) add(key, value);
  } else {
    for (const Value& pair : v.items()) {
      const std::vector<Value> items = in.unpack(pair, 2);
      add(items[0], items[1]);
    }
  }
  return in.make(Value::content(std::move(out)).as_text());
}

constexpr FilterEntry kFilters[] = {
    {"upper", f_upper},         {"lower", f_lower},       {"capitalize", f_capitalize},
    {"title", f_title},         {"trim", f_trim},         {"replace", f_replace},
    {"center", f_center},       {"indent", f_indent},     {"e", f_escape},
    {"escape", f_escape},       {"safe", f_safe},         {"forceescape", f_forceescape},
    {"string", f_string},       {"format", f_format},     {"wordcount", f_wordcount},
    {"truncate", f_truncate},   {"wordwrap", f_wordwrap}, {"striptags", f_striptags},
    {"urlencode", f_urlencode},
};

}  // namespace

std::span<const FilterEntry> text_filters() { return kFilters; }

}  // namespace trireme::text::jinja
