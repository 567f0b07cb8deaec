#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>

namespace trireme {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text, const JsonLimits& limits = {}) {
  const Result<Json> json = parse_json(text, limits);
  return json.ok() ? "" : json.error().message;
}

std::string nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

TEST(Json, ParsesAndKeepsTheOrderOfKeys) {
  const Json json = parse_json(R"({"b": [1, -2, 2.5, true, null, "é\n"], "a": {}})", {}).value();
  EXPECT_EQ(json.dump(), "{\"b\":[1,-2,2.5,true,null,\"é\\n\"],\"a\":{}}");
  EXPECT_EQ(parse_json("18446744073709551615", {}).value().get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_json("-9223372036854775808", {}).value().get<int64_t>(), INT64_MIN);
  EXPECT_EQ(parse_json(" \t\n5 ", {}).value().get<int>(), 5);
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text :
       {"", "{", "[1,]", "{\"a\":}", "{a:1}", "'a'", "NaN", "Infinity", "01", "1.", "+1", "[1] 2",
        "\"\\x\"", "\"\\ud800\"", "\"\t\"", "// c\n1", "{\"a\":1,}", "nul", "\"abc"}) {
    EXPECT_THAT(error_of(text), HasSubstr("not valid JSON")) << text;
  }
  EXPECT_THAT(error_of("{\"a\": 1,\n \"b\": x}"), HasSubstr("line 2"));
}

TEST(Json, RefusesInvalidUtf8) {
  for (const char* bad :
       {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\""}) {
    EXPECT_NE(error_of(bad), "");
  }
}

TEST(Json, RefusesNumbersThatNoDoubleHolds) {
  EXPECT_THAT(error_of("1e400"), HasSubstr("out of range"));
  EXPECT_THAT(error_of("[-1e999]"), HasSubstr("out of range"));
  EXPECT_EQ(parse_json("1e-400", {}).value().get<double>(), 0.0);
}

TEST(Json, HoldsItsLimits) {
  EXPECT_TRUE(parse_json(nested(5), {.max_depth = 5}).ok());
  EXPECT_THAT(error_of(nested(6), {.max_depth = 5}), HasSubstr("nested deeper than 5"));
  EXPECT_THAT(error_of(nested(10'000)), HasSubstr("nested deeper than 64"));
  EXPECT_NE(error_of(std::string(100'000, '[')), "");
  std::string objects;
  for (int i = 0; i < 10'000; ++i) objects += "{\"a\":";
  EXPECT_NE(error_of(objects), "");
  EXPECT_TRUE(parse_json(R"({"a":1,"b":{"c":2}})", {.max_keys = 3}).ok());
  EXPECT_THAT(error_of(R"({"a":1,"b":{"c":2}})", {.max_keys = 2}), HasSubstr("more than 2 keys"));
  EXPECT_THAT(error_of("[1,2,3]", {.max_values = 3}), HasSubstr("more than 3 values"));
  const Result<Json> large = parse_json(std::string(101, ' '), {.max_bytes = 100});
  EXPECT_EQ(large.error().code, ErrorCode::kResourceExhausted);
}

TEST(Json, DuplicateKeysAreAnErrorUnlessAllowed) {
  EXPECT_THAT(error_of(R"({"a":1,"a":2})"), HasSubstr("\"a\" occurs twice"));
  EXPECT_EQ(error_of(R"([{"a":1},{"a":2}])"), "");
  EXPECT_EQ(parse_json(R"({"a":1,"a":2})", {.allow_duplicate_keys = true}).value().dump(),
            R"({"a":2})");
  EXPECT_EQ(parse_json(R"({"a":{"c":1},"b":1,"a":{"d":[2]},"e":3})", {.allow_duplicate_keys = true})
                .value()
                .dump(),
            R"({"a":{"d":[2]},"b":1,"e":3})");
}

TEST(Json, AnObjectOfManyKeysTakesLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  text.back() = '}';
  const auto begin = std::chrono::steady_clock::now();
  const Json json = parse_json(text, {}).value();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(3))
      << "a search of every key among the others takes ten times as long";
  ASSERT_EQ(json.size(), 100'000U);
  EXPECT_EQ(json.front(), 1);
  EXPECT_EQ(json.items().begin().key(), "k0");
}

TEST(Json, NeverCrashesOnDamagedText) {
  const std::string good =
      R"({"messages":[{"role":"user","content":"h\u00e9llo"}],"n":1e2,"x":[true,null,-0.5]})";
  std::mt19937 engine(3);
  int n_refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (unsigned n = 1 + engine() % 4; n > 0; --n) {
      text[engine() % text.size()] = static_cast<char>(engine());
    }
    const Result<Json> json = parse_json(text, {});
    n_refused += json.ok() ? 0 : 1;
    if (json.ok()) {
      EXPECT_TRUE(parse_json(json->dump(), {}).ok());
    }
  }
  EXPECT_GT(n_refused, 10'000);
}

}  // namespace
}  // namespace trireme
