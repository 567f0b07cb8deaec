// Oniguruma's syntax, as far as tokenizer files use it, rewritten for PCRE2.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>

#include "text/tokenize/regex.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// White_Space, and everything else, as ranges inside a bracketed class.
constexpr std::string_view kSpaceRanges =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpaceRanges =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kWordExtras =
    R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

constexpr bool kScriptsHaveExtensions = PCRE2_MAJOR * 100 + PCRE2_MINOR >= 1040;
constexpr std::string_view kLateHan = R"(\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";

// Members of \p{name} inside brackets: PCRE2's own, and what was assigned after its tables were
// made.
Result<std::string> property(std::string_view name, bool negated) {
  if (name == "Han" || name == "Hiragana" || name == "Katakana" || name == "Latin" ||
      name == "Cyrillic" || name == "Greek" || name == "Arabic" || name == "Hebrew" ||
      name == "Thai" || name == "Hangul" || name == "Devanagari" || name == "Any") {
    // PCRE2 10.40 and later take a bare script name for its extensions too: U+3001 would be Han.
    const char* script = kScriptsHaveExtensions && name != "Any" ? "sc:" : "";
    std::string out = fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', script, name);
    if (name == "Han" && !negated) out += kLateHan;
    return out;
  }
  const bool group =
      name.size() == 1 && std::string_view("LMNPSZC").find(name[0]) != std::string_view::npos;
  if (!group && category_by_name(name) < 0) {
    return unimplemented(fmt::format("the pattern class \\p{{{}}} is not supported", name));
  }
  if (negated) return fmt::format("\\P{{{}}}", name);
  std::string out = fmt::format("\\p{{{}}}", name);
  static constexpr std::string_view kGroups = "CLLLLLMMMNNNPPPPPPPSSSSZZZCCCC";
  for (const CategoryRange& range : late_assignments()) {
    const bool member =
        group ? kGroups[range.category] == name[0] : category_by_name(name) == range.category;
    if (member) out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", range.first, range.last);
  }
  return out;
}

class Translator {
 public:
  explicit Translator(std::string_view in) : in_(in) {}

  Result<std::string> run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        TRY(escape(/*in_class=*/false));
      } else if (c == '[') {
        TRY(bracket());
      } else if (c == '}' && at_ + 1 < in_.size() && in_[at_ + 1] == '+' && interval_) {
        return unimplemented("a possessive interval such as {1,3}+ is not supported in a pattern");
      } else {
        interval_ = c == '{' || (interval_ && c != '}');
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  // \p{L}, \P{L}, \p{^L}
  Status property_escape(bool in_class) {
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos) {
      return invalid_argument("a \\p in a pattern is not followed by {name}");
    }
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    bool negated = in_[at_ + 1] == 'P';
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    at_ = close + 1;
    if (in_class) {
      ASSIGN_OR_RETURN(const std::string members, property(name, negated));
      out_ += members;
      return {};
    }
    // Outside brackets a negation can be exact: everything but the members.
    ASSIGN_OR_RETURN(const std::string members, property(name, false));
    out_ += (negated ? "[^" : "[") + members + "]";
    return {};
  }

  Status escape(bool in_class) {
    if (at_ + 1 >= in_.size()) return invalid_argument("a pattern ends in a backslash");
    const char c = in_[at_ + 1];
    if (c == 'p' || c == 'P') return property_escape(in_class);
    std::string_view members;
    std::string built;
    bool negated = false;
    switch (c) {
      case 's':
        members = kSpaceRanges;
        break;
      case 'S':
        members = kNotSpaceRanges;
        break;
      case 'h':
        members = "0-9a-fA-F";
        break;
      case 'd':
      case 'D':
      case 'w':
      case 'W': {
        negated = c == 'D' || c == 'W';
        if (negated && in_class) return unimplemented("\\D and \\W inside [] are not supported");
        for (const char* name : {"L", "M", "Nd", "Nl", "Pc"}) {
          if ((c == 'd' || c == 'D') && std::string_view(name) != "Nd") continue;
          ASSIGN_OR_RETURN(const std::string part, property(name, false));
          built += part;
        }
        if (c == 'w' || c == 'W') built += kWordExtras;
        members = built;
        break;
      }
      default:
        // Letters and digits that both engines read alike; any other letter might mean something
        // else.
        if (std::isalnum(static_cast<unsigned char>(c)) &&
            std::string_view("nrtfvaexuABbzZ0").find(c) == std::string_view::npos) {
          return unimplemented(fmt::format("the pattern escape \\{} is not supported", c));
        }
        return literal_escape(c);
    }
    at_ += 2;
    if (in_class) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    return {};
  }

  Status literal_escape(char c) {
    if (c == 'u') {  // \uHHHH is \x{HHHH} there
      if (at_ + 6 > in_.size()) return invalid_argument("a pattern has an incomplete \\u escape");
      out_ += fmt::format("\\x{{{}}}", in_.substr(at_ + 2, 4));
      at_ += 6;
    } else if (c == 'v') {
      out_ += "\\x{b}";  // vertical tab alone, not PCRE2's class
      at_ += 2;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      ++at_;  // a backslash before a non-ASCII character means the character
    } else {
      out_ += '\\';
      out_ += c;
      at_ += 2;
    }
    return {};
  }

  // A bracketed class; and [a&&[b]], what is in both, which PCRE2 does not have. `inner`: the b of
  // one.
  Status bracket(bool inner = false) {
    const size_t start = out_.size();
    out_ += '[';
    ++at_;
    bool negated = false;
    if (at_ < in_.size() && in_[at_] == '^') {
      negated = true;
      out_ += '^';
      ++at_;
    }
    bool first = true;
    while (at_ < in_.size() && (in_[at_] != ']' || first)) {
      const char c = in_[at_];
      if (c == '\\') {
        TRY(escape(/*in_class=*/true));
      } else if (in_.substr(at_, 3) == "&&[" && !first && !negated && !inner) {
        return intersection(start);
      } else if (c == '[' || (c == '&' && in_.substr(at_, 2) == "&&")) {
        return unimplemented(
            "nested classes and && other than [a&&[b]] in a pattern are not supported");
      } else {
        out_ += c;
        ++at_;
      }
      first = false;
    }
    if (at_ >= in_.size()) return invalid_argument("a [ in a pattern is never closed");
    out_ += ']';
    ++at_;
    return {};
  }

  // From the && of [a&&[b]] on; its [a is written, from `start` on.
  Status intersection(size_t start) {
    const std::string left = out_.substr(start) + "]";
    out_.resize(start);
    out_ += "(?:(?=";
    at_ += 2;
    TRY(bracket(/*inner=*/true));
    if (at_ >= in_.size() || in_[at_] != ']') {
      return unimplemented("a class after && in a pattern must be its last part");
    }
    ++at_;
    out_ += ")" + left + ")";
    return {};
  }

  std::string_view in_;
  std::string out_;
  size_t at_ = 0;
  bool interval_ = false;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return invalid_argument(
        fmt::format("a pattern of {} bytes is longer than {}", pattern.size(), kMaxPatternBytes));
  }
  if (!is_valid_utf8(pattern)) return invalid_argument("a pattern is not valid UTF-8");
  return Translator(pattern).run();
}

}  // namespace trireme::text
