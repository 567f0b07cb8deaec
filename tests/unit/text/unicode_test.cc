#include <gtest/gtest.h>

#include "text/unicode/classes.h"
#include "text/unicode/normalize.h"
#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

std::string normalized(std::string_view text, NormalForm form) {
  std::string out;
  for (const NormalChar& c : normalize(text, form)) append_utf8(c.value, &out);
  return out;
}

TEST(Utf8, ChecksAndMends) {
  EXPECT_TRUE(is_valid_utf8(""));
  EXPECT_TRUE(is_valid_utf8("aé世\U0001F600"));
  // Overlong, surrogate, too large, lone continuation, truncated.
  for (const char* bad :
       {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "\xE4\xBD"}) {
    EXPECT_FALSE(is_valid_utf8(bad));
    EXPECT_TRUE(is_valid_utf8(mend_utf8(bad)));
  }
  EXPECT_EQ(mend_utf8("a\xE4\xBDz\xFF"), "a\uFFFDz\uFFFD");  // one mark per maximal invalid part
  EXPECT_EQ(mend_utf8("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(mend_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

TEST(Utf8, KnowsWhatMayStillBecomeACharacter) {
  EXPECT_EQ(incomplete_suffix("ab"), 0u);
  EXPECT_EQ(incomplete_suffix("a\xC3"), 1u);
  EXPECT_EQ(incomplete_suffix("\xF0\x9F\x98"), 3u);
  EXPECT_EQ(incomplete_suffix("\xF0\x9F\x98\x80"), 0u);
  EXPECT_EQ(incomplete_suffix("\xED\xA0"), 0u);  // would be a surrogate
  EXPECT_EQ(incomplete_suffix("\xFF"), 0u);
  EXPECT_EQ(incomplete_suffix("\x80\x80"), 0u);
}

TEST(Classes, AreThoseOfUnicode16) {
  const ClassTable& table = ClassTable::get();
  EXPECT_TRUE(table.bits(0x105C0) & kLetter);
  EXPECT_TRUE(table.bits('_') & kWord);
  EXPECT_TRUE(table.bits(0x2164) & kNumber);
  EXPECT_FALSE(table.bits(0x1C) & kSpace);
  EXPECT_TRUE(table.bits(0x85) & kSpace);
  EXPECT_EQ(table.bits(0x110000), 0);
  EXPECT_EQ(category(0xE9), category_by_name("Ll"));
  EXPECT_EQ(category_by_name("Xx"), -1);
}

TEST(Normalize, Forms) {
  EXPECT_EQ(normalized("e\u0301", NormalForm::kNfc), "é");
  EXPECT_EQ(normalized("é", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normalized("ﬁ①", NormalForm::kNfkc), "fi1");
  EXPECT_EQ(normalized("\u1100\u1161\u11A8", NormalForm::kNfc), "각");
  EXPECT_EQ(normalized("각", NormalForm::kNfd), "\u1100\u1161\u11A8");
  EXPECT_EQ(normalized("a\u0323\u0302", NormalForm::kNfc), "ậ");
  EXPECT_EQ(normalized("a\u0302\u0323", NormalForm::kNfc), "ậ");  // reordered first
  EXPECT_EQ(normalized("\u212B", NormalForm::kNfc), "Å");
  EXPECT_EQ(normalized("\u32FF", NormalForm::kNfkc),
            "\u32FF");  // younger than the reference's tables
}

// What the quick check lets through must really be unchanged.
TEST(Normalize, QuickCheckNeverLies) {
  for (const NormalForm form :
       {NormalForm::kNfc, NormalForm::kNfd, NormalForm::kNfkc, NormalForm::kNfkd}) {
    for (char32_t c = 0; c < 0x30000; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      std::string text = "a";
      append_utf8(c, &text);
      if (!surely_normal(text, form)) continue;
      ASSERT_EQ(normalized(text, form), text) << static_cast<uint32_t>(c);
    }
  }
}

}  // namespace
}  // namespace trireme::text
