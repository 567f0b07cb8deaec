// The hand-written splitters against the patterns that they stand for, on random text.
#include "text/tokenize/splitter.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tokenize/regex.h"
#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

std::vector<ByteSpan> by_regex(const Regex& regex, std::string_view text) {
  std::vector<ByteSpan> out;
  Regex::Matcher matcher(regex, text);
  ByteSpan match;
  while (*matcher.next(&match)) out.push_back(match);
  return out;
}

std::string random_text(std::mt19937* random) {
  static const char32_t kInteresting[] = {
      ' ',    ' ',     ' ',     '\n',    '\r',    '\t',   '\'',   '\'',    's',    'S',    'l',
      'r',    'e',     'v',     'd',     'm',     't',    '1',    '2',     '.',    '!',    '/',
      '_',    0x17F,   0xA0,    0x85,    0x3000,  0x2028, 0x180E, 0x200B,  0xFEFF, 0x301,  0xBD,
      0x661,  0x4E00,  0x1F600, 0x1D7D9, 0x10EC2, 0xE9,   0x0E33, 0x2167,  0x1E9E, 0x212A, 0x130,
      0x1C,   0xB,     'A',     'B',     'C',     0x1C5,  0x2B0,  0xAA,    0x3042, 0x30FF, 0x9FA5,
      0x9FA6, 0x1F3FD, 0,       0x200D,  0x3005,  0x3007, 0x2E80, 0x2EBF0, 0x16FF0};
  std::string text;
  for (size_t n = (*random)() % 40; n > 0; --n) {
    char32_t c = kInteresting[(*random)() % std::size(kInteresting)];
    if ((*random)() % 12 == 0) c = (*random)() % 0x110000;
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    append_utf8(c, &text);
  }
  return text;
}

// Matches and what lies between them.
std::vector<ByteSpan> cover(const std::vector<ByteSpan>& matches, size_t size) {
  std::vector<ByteSpan> out;
  uint32_t done = 0;
  for (const ByteSpan match : matches) {
    if (match.begin > done) out.push_back({done, match.begin});
    out.push_back(match);
    done = match.end;
  }
  if (done < size) out.push_back({done, static_cast<uint32_t>(size)});
  return out;
}

class FastSplitters : public testing::TestWithParam<FastSplitter> {};

TEST_P(FastSplitters, EqualTheirPattern) {
  std::mt19937 random(11);
  const std::string_view pattern = pattern_of(GetParam());
  ASSERT_EQ(fast_splitter_for(pattern), GetParam());
  const auto regex = Regex::compile(pattern);
  ASSERT_TRUE(regex.ok()) << regex.error().message;
  for (int round = 0; round < 5000; ++round) {
    const std::string text = random_text(&random);
    std::vector<ByteSpan> fast;
    fast_split(GetParam(), text, {0, static_cast<uint32_t>(text.size())}, &fast);
    ASSERT_EQ(fast, cover(by_regex(*regex, text), text.size()))
        << pattern << "\n"
        << testing::PrintToString(to_code_points(text));
  }
}

INSTANTIATE_TEST_SUITE_P(All, FastSplitters,
                         testing::Values(FastSplitter::kGpt2, FastSplitter::kLlama3,
                                         FastSplitter::kQwen2, FastSplitter::kO200k,
                                         FastSplitter::kTekken, FastSplitter::kDeepseekDigits,
                                         FastSplitter::kDeepseekKana, FastSplitter::kDeepseekWords,
                                         FastSplitter::kKimi));

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

TEST(Regex, AScriptIsItsOwnCharacters) {
  const auto han = Regex::compile("\\p{Han}");
  ASSERT_TRUE(han.ok()) << han.error().message;
  // Not the signs that several scripts share, and none that it does not have yet.
  EXPECT_TRUE(by_regex(*han, "\u3001\u300C\u30FC\u3031\u2E9Aa\U0002B73A\U000323B0").empty());
  EXPECT_EQ(by_regex(*han, "\u3005\u3007\u2E80\u4E2D\U0002EBF0\U000323AF").size(), 6u);
}

TEST(Regex, ClassesMayIntersect) {
  const auto regex = Regex::compile(R"([\p{Lo}\p{N}&&[^\p{Han}]]+|[a-f&&[d-z]])");
  ASSERT_TRUE(regex.ok()) << regex.error().message;
  EXPECT_EQ(by_regex(*regex,
                     "\u3042\u3044"
                     "7\u4E2D\u05D0")
                .size(),
            2u);
  EXPECT_EQ(by_regex(*regex, "abcdefgh").size(), 3u);
}

TEST(Regex, RefusesWhatItCannotTranslate) {
  for (const char* pattern :
       {"[", "(", "\\", "\\p", "\\p{Nope}", "[a[b]]", "[a&&b]", "[^a&&[b]]", "[&&[b]]", "[a&&[b]c]",
        "[a&&[b&&[c]]]", "[a&&[b]", "a{1,3}+", "\\G"}) {
    EXPECT_FALSE(Regex::compile(pattern).ok()) << pattern;
  }
  EXPECT_FALSE(Regex::compile(std::string(kMaxPatternBytes + 1, 'a')).ok());
}

}  // namespace
}  // namespace trireme::text
