// The hand-written splitters against the patterns that they stand for, on random text.
#include "text/tokenize/splitter.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tokenize/regex.h"
#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<ByteSpan> by_regex(const Regex& regex, std::string_view text) {
  std::vector<ByteSpan> out;
  Regex::Matcher matcher(regex, text);
  ByteSpan match;
  while (*matcher.next(&match)) out.push_back(match);
  return out;
}

std::string random_text(std::mt19937* random) {
  static const char32_t kInteresting[] = {
      ' ',     ' ',     ' ',    '\n',   '\r',   '\t',   '\'',   '\'',  's',  'S',   'l',    'r',
      'e',     'v',     'd',    'm',    't',    '1',    '2',    '.',   '!',  '/',   '_',    0x17F,
      0xA0,    0x85,    0x3000, 0x2028, 0x180E, 0x200B, 0xFEFF, 0x301, 0xBD, 0x661, 0x4E00, 0x1F600,
      0x1D7D9, 0x10EC2, 0xE9,   0x0E33, 0x2167, 0x1E9E, 0x212A, 0x130, 0x1C, 0xB};
  std::string text;
  for (size_t n = (*random)() % 40; n > 0; --n) {
    char32_t c = kInteresting[(*random)() % std::size(kInteresting)];
    if ((*random)() % 12 == 0) c = (*random)() % 0x110000;
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    append_utf8(c, &text);
  }
  return text;
}

TEST(FastSplitter, EqualsItsPattern) {
  std::mt19937 random(11);
  for (const std::string_view pattern : {kGpt2Pattern, kLlama3, kQwen2}) {
    const auto splitter = fast_splitter_for(pattern);
    ASSERT_TRUE(splitter.has_value());
    const auto regex = Regex::compile(pattern);
    ASSERT_TRUE(regex.ok()) << regex.error().message;
    for (int round = 0; round < 30000; ++round) {
      const std::string text = random_text(&random);
      std::vector<ByteSpan> fast;
      fast_split(*splitter, text, {0, static_cast<uint32_t>(text.size())}, &fast);
      ASSERT_EQ(fast, by_regex(*regex, text)) << pattern << "\n"
                                              << testing::PrintToString(to_code_points(text));
    }
  }
}

TEST(FastSplitter, OtherPatternsHaveNone) {
  EXPECT_FALSE(fast_splitter_for("\\s+").has_value());
  EXPECT_FALSE(fast_splitter_for("").has_value());
}

TEST(Regex, KnowsUnicodeOfTheReferenceEngine) {
  const auto letters = Regex::compile("\\p{L}");
  ASSERT_TRUE(letters.ok());
  for (const char32_t c :
       {char32_t{'a'}, char32_t{0x105C0}, char32_t{0x323AF}}) {  // 0x105C0: new in Unicode 16
    std::string text;
    append_utf8(c, &text);
    EXPECT_EQ(by_regex(*letters, text).size(), 1u) << static_cast<uint32_t>(c);
  }
  const auto spaces = Regex::compile("\\s");
  for (const char* text : {"\u180E", "\u200B", "\uFEFF", "\x1C"})
    EXPECT_TRUE(by_regex(*spaces, text).empty());
  EXPECT_EQ(by_regex(*spaces, "\u0085\u00A0\u3000").size(), 3u);
  const auto hex =
      Regex::compile("\\h+");  // hexadecimal digits in Ruby's syntax, blanks in PCRE2's
  EXPECT_EQ(by_regex(*hex, "xaF9 ").size(), 1u);
}

TEST(Regex, RefusesWhatItCannotTranslate) {
  for (const char* pattern :
       {"[", "(", "\\", "\\p", "\\p{Nope}", "[a[b]]", "[a&&b]", "a{1,3}+", "\\G"}) {
    EXPECT_FALSE(Regex::compile(pattern).ok()) << pattern;
  }
  EXPECT_FALSE(Regex::compile(std::string(kMaxPatternBytes + 1, 'a')).ok());
}

}  // namespace
}  // namespace trireme::text
