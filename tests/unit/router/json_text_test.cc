#include "router/api/json_text.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"

namespace trireme::router {
namespace {

std::string json_of(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

TEST(JsonText, EscapesWhatMustBe) {
  EXPECT_EQ(json_of("plain"), "\"plain\"");
  EXPECT_EQ(json_of("a\"b\\c\n\r\t\b\f"), R"("a\"b\\c\n\r\t\b\f")");
  EXPECT_EQ(json_of(std::string_view("\0\x1f\x7f", 3)), R"("\u0000\u001f\u007f")");
  EXPECT_EQ(json_of("Grüße 世界 🙂"), "\"Grüße 世界 🙂\"");
}

TEST(JsonText, InvalidUtf8BecomesReplacement) {
  EXPECT_EQ(json_of("a\xff"
                    "b"),
            R"("a\ufffdb")");
  EXPECT_EQ(json_of("\xe4\xb8"), R"("\ufffd\ufffd")");
  EXPECT_EQ(json_of("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")") << "a surrogate";
  EXPECT_EQ(json_of("\xc0\xaf"), R"("\ufffd\ufffd")") << "an overlong slash";
}

TEST(JsonText, EveryBytePairParsesBack) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; b += 5) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b)};
      const auto parsed = parse_json(json_of(text), JsonLimits{});
      ASSERT_TRUE(parsed.ok()) << a << " " << b;
      if (is_valid_utf8(text)) {
        EXPECT_EQ(parsed->get<std::string>(), text);
      }
    }
  }
}

TEST(JsonText, Numbers) {
  std::string out;
  append_logprob(out, -0.5F);
  out += ' ';
  append_logprob(out, 0.0F);
  out += ' ';
  append_logprob(out, -INFINITY);
  out += ' ';
  append_int(out, -12);
  EXPECT_EQ(out, "-0.5 0.0 -9999.0 -12");
}

}  // namespace
}  // namespace trireme::router
