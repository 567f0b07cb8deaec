#include "text/value.h"

#include <gtest/gtest.h>

namespace trireme::text {
namespace {

std::string round_trip(std::string_view json) {
  const auto value = value_from_json(json, false);
  return value.ok() ? to_json(*value)->bytes : "error: " + value.error().message;
}

TEST(Value, KeepsOrderAndNumbers) {
  EXPECT_EQ(round_trip(R"({"b":1,"a":[1.0,1e16,5e-324,-0.0,12345678901234567890123,true,null]})"),
            R"({"b": 1, "a": [1.0, 1e+16, 5e-324, -0.0, 12345678901234567890123, true, null]})");
  EXPECT_EQ(round_trip("18446744073709551615"), "18446744073709551615");
  EXPECT_EQ(round_trip("-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(round_trip(R"({"a":1,"a":2})"), R"({"a": 2})");
}

TEST(Value, RefusesWrongJson) {
  const std::string deep = std::string(100000, '[');
  for (const std::string& json :
       {std::string(""), std::string("{"), std::string("[1,]"), std::string("\"\xFF\""),
        std::string("1e999"), std::string("nan"), std::string("\"\\ud800\""), deep}) {
    EXPECT_FALSE(value_from_json(json, true).ok()) << json.substr(0, 20);
  }
}

TEST(Value, FloatsPrintAsPython) {
  const std::pair<double, const char*> cases[] = {{0.0, "0.0"},
                                                  {-0.0, "-0.0"},
                                                  {1e16, "1e+16"},
                                                  {1e15, "1000000000000000.0"},
                                                  {1e-4, "0.0001"},
                                                  {1e-5, "1e-05"},
                                                  {123456789.123, "123456789.123"},
                                                  {1.5e300, "1.5e+300"},
                                                  {0.1 + 0.2, "0.30000000000000004"}};
  for (const auto& [number, text] : cases) EXPECT_EQ(float_repr(number), text);
}

TEST(Value, LargeDictsFindTheirKeys) {
  Dict dict;
  for (int i = 0; i < 5000; ++i)
    dict.set(Value::string("k" + std::to_string(i)), Value::integer(i));
  dict.set(Value::integer(1), Value::string("one"));
  dict.set(Value::boolean(true), Value::string("yes"));  // the same key, in Python
  EXPECT_EQ(dict.entries.size(), 5001u);
  for (int i = 0; i < 5000; i += 7) {
    const Value* found = dict.find("k" + std::to_string(i));
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->as_int(), i);
  }
  EXPECT_EQ(dict.find("nope"), nullptr);
  EXPECT_EQ(dict.find(Value::floating(1.0))->str(), "yes");
}

TEST(Value, ContentRangesFollowTheirText) {
  Text text;
  append_plain("ab", &text);
  append_text(Value::content("cd").as_text(), &text);
  append_text(Value::content("ef").as_text(), &text);
  EXPECT_EQ(text.content, (std::vector<std::pair<size_t, size_t>>{{2, 6}}));
  Text part;
  append_text(text, 1, 4, &part);
  EXPECT_EQ(part.bytes, "bcd");
  EXPECT_EQ(part.content, (std::vector<std::pair<size_t, size_t>>{{1, 3}}));
}

}  // namespace
}  // namespace trireme::text
