#include "text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/failure.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text::jinja {

namespace {

constexpr size_t kMaxTokens = 1 << 20;

bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) { return is_name_start(c) || is_digit(c); }
bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// All newlines become \n, and one at the very end is dropped.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// Python's str.rstrip(): White_Space and the four information separators.
bool strips(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

void strip_right(std::string* text) {
  while (!text->empty()) {
    size_t at = text->size() - 1;
    while (at > 0 && is_continuation((*text)[at])) --at;
    if (!strips(decode_at(*text, at).value)) return;
    text->resize(at);
  }
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t begin = next_delimiter();
      if (begin == std::string::npos) {
        data(source_.substr(at_));
        break;
      }
      delimiter(begin);
    }
    add(Tok::kEnd, "");
    return std::move(tokens_);
  }

 private:
  size_t next_delimiter() const {
    size_t at = source_.find('{', at_);
    while (at != std::string::npos && at + 1 < source_.size()) {
      const char c = source_[at + 1];
      if (c == '%' || c == '{' || c == '#') return at;
      at = source_.find('{', at + 1);
    }
    return std::string::npos;
  }

  void add(Tok type, std::string text) {
    if (tokens_.size() >= kMaxTokens) fail_limit("the template has too many tokens");
    tokens_.push_back({type, std::move(text), line_});
  }

  void data(std::string text) {
    const auto newlines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (!text.empty()) add(Tok::kData, std::move(text));
    line_ += newlines;
  }

  // Emits the text before a delimiter, stripped as its sign and lstrip_blocks say.
  void data_before(size_t begin, char sign, bool may_lstrip) {
    std::string text = source_.substr(at_, begin - at_);
    const auto newlines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
    if (sign == '-') {
      strip_right(&text);
    } else if (sign != '+' && may_lstrip) {
      const size_t line_start = text.rfind('\n') + 1;  // 0 when there is no newline
      const bool at_line_start = line_start > 0 || at_ == 0 || source_[at_ - 1] == '\n';
      if (at_line_start &&
          std::all_of(text.begin() + static_cast<ptrdiff_t>(line_start), text.end(), is_blank)) {
        text.resize(line_start);
      }
    }
    if (!text.empty()) add(Tok::kData, std::move(text));
    line_ += newlines;
  }

  char sign_at(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : 0;
  }

  void delimiter(size_t begin) {
    const char kind = source_[begin + 1];
    char sign = sign_at(begin + 2);
    if (kind == '{' && sign == '+') sign = 0;  // {{+x}} is a unary plus
    data_before(begin, sign, kind != '{');
    at_ = begin + 2 + (sign != 0 ? 1 : 0);
    if (kind == '#') {
      comment();
    } else if (kind == '%' && is_keyword("raw")) {
      raw();
    } else {
      add(kind == '%' ? Tok::kBlockBegin : Tok::kVariableBegin, "");
      expression(kind == '%');
    }
  }

  // Is the block that was just opened `{% word %}`?
  bool is_keyword(std::string_view word) const {
    size_t at = at_;
    while (at < source_.size() && is_blank(source_[at])) ++at;
    if (source_.compare(at, word.size(), word) != 0) return false;
    at += word.size();
    while (at < source_.size() && is_blank(source_[at])) ++at;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    return source_.compare(at, 2, "%}") == 0;
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("a comment is never closed", line_);
    const char sign = end > at_ ? sign_at(end - 1) : 0;
    skip_to(end + 2);
    after_block(sign);
  }

  // White space that a closing delimiter takes along.
  void after_block(char sign) {
    if (sign == '-') {
      size_t end = at_;
      while (end < source_.size() && strips(decode_at(source_, end).value)) {
        end += decode_at(source_, end).length;
      }
      skip_to(end);
    } else if (sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      skip_to(at_ + 1);
    }
  }

  void skip_to(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    at_ = end;
  }

  void raw() {
    const size_t open_end = source_.find("%}", at_);
    const bool dash = source_[open_end - 1] == '-';
    skip_to(open_end + 2);
    if (dash) after_block('-');
    size_t search = at_;
    while (true) {
      const size_t begin = source_.find("{%", search);
      if (begin == std::string::npos) fail("a raw block is never closed", line_);
      const char sign = sign_at(begin + 2);
      const size_t saved = at_;
      at_ = begin + 2 + (sign != 0 ? 1 : 0);
      const bool closes = is_keyword("endraw");
      at_ = saved;
      if (!closes) {
        search = begin + 2;
        continue;
      }
      data_before(begin, sign, true);
      at_ = begin;
      const size_t end = source_.find("%}", begin);
      const char end_sign = sign_at(end - 1);
      skip_to(end + 2);
      after_block(end_sign);
      return;
    }
  }

  // Tokens up to the closing delimiter of the block or variable.
  void expression(bool block) {
    std::string open;  // brackets that wait for their partner
    const std::string_view close = block ? "%}" : "}}";
    while (true) {
      while (at_ < source_.size() && is_blank(source_[at_])) skip_to(at_ + 1);
      if (at_ >= source_.size())
        fail(block ? "a block is never closed" : "a variable is never closed", line_);
      if (open.empty()) {
        const char sign = sign_at(at_);
        const size_t end = at_ + (sign != 0 ? 1 : 0);
        if (source_.compare(end, 2, close) == 0 && (block || sign != '+')) {
          add(block ? Tok::kBlockEnd : Tok::kVariableEnd, "");
          at_ = end + 2;
          if (block) {
            after_block(sign);
          } else if (sign == '-') {
            after_block('-');
          }
          return;
        }
      }
      token(&open);
    }
  }

  void token(std::string* open) {
    const char c = source_[at_];
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_char(source_[end])) ++end;
      add(Tok::kName, source_.substr(at_, end - at_));
      at_ = end;
    } else if (is_digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else {
      op(open);
    }
  }

  // Digits with single underscores between them; returns the end.
  size_t digits(size_t at, std::string* out) const {
    while (at < source_.size()) {
      if (is_digit(source_[at])) {
        *out += source_[at++];
      } else if (source_[at] == '_' && at + 1 < source_.size() && is_digit(source_[at + 1]) &&
                 !out->empty()) {
        ++at;
      } else {
        break;
      }
    }
    return at;
  }

  void number() {
    if (source_[at_] == '0' && at_ + 2 < source_.size()) {
      const char base = static_cast<char>(source_[at_ + 1] | 0x20);
      if (base == 'x' || base == 'o' || base == 'b')
        return based_number(base == 'x' ? 16 : base == 'o' ? 8 : 2);
    }
    std::string text;
    size_t end = digits(at_, &text);
    bool is_float = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      is_float = true;
      std::string fraction;
      end = digits(end + 1, &fraction);
      text += "." + fraction;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t at = end + 1;
      std::string exponent;
      if (at < source_.size() && (source_[at] == '+' || source_[at] == '-'))
        exponent += source_[at++];
      std::string power;
      at = digits(at, &power);
      if (!power.empty()) {
        is_float = true;
        text += "e" + exponent + power;
        end = at;
      }
    }
    add(is_float ? Tok::kFloat : Tok::kInteger, std::move(text));
    at_ = end;
  }

  void based_number(int base) {
    size_t end = at_ + 2;
    std::string text;
    while (end < source_.size() &&
           (std::isxdigit(static_cast<unsigned char>(source_[end])) || source_[end] == '_')) {
      if (source_[end] != '_') text += source_[end];
      ++end;
    }
    char* stop = nullptr;
    const unsigned long long value = std::strtoull(text.c_str(), &stop, base);
    if (text.empty() || text.size() > 15 || *stop != 0) fail("a number is not valid", line_);
    add(Tok::kInteger, std::to_string(value));
    at_ = end;
  }

  void string(char quote) {
    const int line = line_;
    std::string value;
    size_t at = at_ + 1;
    while (true) {
      if (at >= source_.size()) fail("a string is never closed", line);
      const char c = source_[at];
      if (c == quote) break;
      if (c == '\n') ++line_;
      if (c != '\\') {
        value += c;
        ++at;
      } else {
        at = escape(at + 1, &value);
      }
    }
    if (tokens_.size() >= kMaxTokens) fail_limit("the template has too many tokens");
    tokens_.push_back({Tok::kString, std::move(value), line});
    at_ = at + 1;
  }

  // Reads what follows a backslash; returns where the string goes on.
  size_t escape(size_t at, std::string* value) {
    if (at >= source_.size()) fail("a string is never closed", line_);
    const char c = source_[at];
    static constexpr std::string_view kFrom = "ntrabfv\\'\"";
    static constexpr std::string_view kTo = "\n\t\r\a\b\f\v\\'\"";
    if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
      *value += kTo[known];
      return at + 1;
    }
    if (c == '\n') {
      ++line_;
      return at + 1;
    }
    const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (n > 0) {
      uint32_t code = 0;
      for (size_t i = 1; i <= n; ++i) {
        const char digit = at + i < source_.size() ? source_[at + i] : 0;
        if (!std::isxdigit(static_cast<unsigned char>(digit)))
          fail("a string has an incomplete escape", line_);
        code = code * 16 +
               static_cast<uint32_t>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
      }
      append_utf8(code, value);
      return at + n + 1;
    }
    if (c >= '0' && c <= '7') {
      uint32_t code = 0;
      size_t end = at;
      while (end < at + 3 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7') {
        code = code * 8 + static_cast<uint32_t>(source_[end++] - '0');
      }
      append_utf8(code, value);
      return end;
    }
    *value += '\\';  // an unknown escape stays as it is
    return at;
  }

  void op(std::string* open) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    const std::string_view here = std::string_view(source_).substr(at_, 2);
    for (const std::string_view two : kTwo) {
      if (here == two) {
        add(Tok::kOperator, std::string(two));
        at_ += 2;
        return;
      }
    }
    const char c = source_[at_];
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      fail(fmt::format("unexpected character at \"{}\"",
                       source_.substr(at_, decode_at(source_, at_).length)),
           line_);
    }
    if (c == '(' || c == '[' || c == '{') open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) fail(fmt::format("unexpected '{}'", c), line_);
      open->pop_back();
    }
    add(Tok::kOperator, std::string(1, c));
    ++at_;
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view source) { return Lexer(source).run(); }

}  // namespace trireme::text::jinja
