#include "text/jinja/text_ops.h"

#include <algorithm>

#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text::jinja {

std::vector<size_t> char_starts(std::string_view text) {
  std::vector<size_t> starts;
  starts.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_continuation(text[i])) starts.push_back(i);
  }
  starts.push_back(text.size());
  return starts;
}

Text sub_text(const Text& text, size_t begin, size_t end) {
  Text out;
  append_text(text, begin, end, &out);
  out.markup = text.markup;
  return out;
}

namespace {

bool python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

size_t before(std::string_view text, size_t at) {
  do {
    --at;
  } while (at > 0 && is_continuation(text[at]));
  return at;
}

}  // namespace

Text strip(const Text& text, const std::string* chars, bool left, bool right) {
  const std::vector<char32_t> set =
      chars != nullptr ? to_code_points(*chars) : std::vector<char32_t>();
  const auto strips = [&](size_t at) {
    const char32_t c = decode_at(text.bytes, at).value;
    return chars == nullptr ? python_space(c) : std::find(set.begin(), set.end(), c) != set.end();
  };
  size_t begin = 0;
  size_t end = text.bytes.size();
  while (left && begin < end && strips(begin)) begin += decode_at(text.bytes, begin).length;
  while (right && end > begin && strips(before(text.bytes, end))) end = before(text.bytes, end);
  return sub_text(text, begin, end);
}

Text replace(Interpreter& in, const Text& text, const std::string& from, const Text& to,
             int64_t limit) {
  Text out;
  size_t done = 0;
  const std::string& s = text.bytes;
  const auto check = [&] {
    in.charge(1 + to.bytes.size() / 16);
    if (out.bytes.size() > in.limits().max_output_bytes)
      fail_limit("a replacement makes too long a text");
  };
  if (from.empty()) {  // between all characters, and at both ends
    for (size_t at = 0; at <= s.size() && limit != 0; --limit) {
      append_text(to, &out);
      check();
      if (at == s.size()) break;
      const size_t next = at + decode_at(s, at).length;
      append_text(text, at, next, &out);
      done = at = next;
    }
    append_text(text, done, s.size(), &out);
    return out;
  }
  for (size_t at = s.find(from); at != std::string::npos && limit != 0;
       at = s.find(from, done), --limit) {
    append_text(text, done, at, &out);
    append_text(to, &out);
    done = at + from.size();
    check();
  }
  append_text(text, done, s.size(), &out);
  return out;
}

namespace {

// Runs of white space separate; none at the ends counts.
std::vector<Text> split_spaces(const Text& text, int64_t limit, bool from_right) {
  const std::string& s = text.bytes;
  std::vector<std::pair<size_t, size_t>> words;
  for (size_t at = 0; at < s.size();) {
    while (at < s.size() && python_space(decode_at(s, at).value)) at += decode_at(s, at).length;
    const size_t begin = at;
    while (at < s.size() && !python_space(decode_at(s, at).value)) at += decode_at(s, at).length;
    if (at > begin) words.emplace_back(begin, at);
  }
  std::vector<Text> out;
  const auto most = limit < 0 ? words.size() : static_cast<size_t>(limit);
  if (words.size() <= most || words.empty()) {
    for (const auto& [begin, end] : words) out.push_back(sub_text(text, begin, end));
  } else if (from_right) {
    const size_t first = words.size() - most;
    out.push_back(strip(sub_text(text, 0, words[first - 1].second), nullptr, true, true));
    for (size_t i = first; i < words.size(); ++i)
      out.push_back(sub_text(text, words[i].first, words[i].second));
  } else {
    for (size_t i = 0; i < most; ++i)
      out.push_back(sub_text(text, words[i].first, words[i].second));
    out.push_back(sub_text(text, words[most].first, s.size()));
  }
  return out;
}

}  // namespace

std::vector<Text> split(const Text& text, const std::string* separator, int64_t limit,
                        bool from_right) {
  if (separator == nullptr) return split_spaces(text, limit, from_right);
  if (separator->empty()) fail("empty separator");
  const std::string& s = text.bytes;
  std::vector<Text> out;
  if (from_right) {
    size_t end = s.size();
    while (limit != 0) {
      if (end < separator->size()) break;
      const size_t at = s.rfind(*separator, end - separator->size());
      if (at == std::string::npos) break;
      out.push_back(sub_text(text, at + separator->size(), end));
      end = at;
      --limit;
    }
    out.push_back(sub_text(text, 0, end));
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t begin = 0;
  for (; limit != 0; --limit) {
    const size_t at = s.find(*separator, begin);
    if (at == std::string::npos) break;
    out.push_back(sub_text(text, begin, at));
    begin = at + separator->size();
  }
  out.push_back(sub_text(text, begin, s.size()));
  return out;
}

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  const std::string& s = text.bytes;
  std::vector<Text> out;
  size_t begin = 0;
  for (size_t at = 0; at < s.size();) {
    const CodePoint c = decode_at(s, at);
    size_t next = at + c.length;
    const bool ends = (c.value >= 0x0A && c.value <= 0x0D) ||
                      (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                      c.value == 0x2028 || c.value == 0x2029;
    if (ends) {
      if (c.value == '\r' && next < s.size() && s[next] == '\n') ++next;
      out.push_back(sub_text(text, begin, keep_ends ? next : at));
      begin = next;
    }
    at = next;
  }
  if (begin < s.size()) out.push_back(sub_text(text, begin, s.size()));
  return out;
}

Text pad(const Text& text, int64_t width, std::string_view fill, char align) {
  const auto size = static_cast<int64_t>(char_starts(text.bytes).size()) - 1;
  if (width <= size) return text;
  if (width > (1 << 20)) fail_limit("a field is wider than 1048576 characters");
  const int64_t gap = width - size;
  // str.center puts the odd blank on the left when both numbers are odd.
  const int64_t left = align == '<' ? 0 : align == '>' ? gap : gap / 2 + (gap & width & 1);
  Text out;
  for (int64_t i = 0; i < left; ++i) out.bytes += fill;
  append_text(text, &out);
  for (int64_t i = left; i < gap; ++i) out.bytes += fill;
  return out;
}

Text escape_html(const Text& text) {
  Text out;
  for (size_t at = 0; at < text.bytes.size(); ++at) {
    switch (text.bytes[at]) {
      case '&':
        out.bytes += "&amp;";
        break;
      case '<':
        out.bytes += "&lt;";
        break;
      case '>':
        out.bytes += "&gt;";
        break;
      case '"':
        out.bytes += "&#34;";
        break;
      case '\'':
        out.bytes += "&#39;";
        break;
      default:
        append_text(text, at, at + 1, &out);
        break;
    }
  }
  out.markup = true;
  return out;
}

Text remade(std::string bytes, const Text& original) {
  Text out{.bytes = std::move(bytes)};
  if (!original.content.empty() && !out.bytes.empty())
    out.content.emplace_back(0, out.bytes.size());
  return out;
}

}  // namespace trireme::text::jinja
