#include "base/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace trireme::yaml {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text, const Limits& limits = {}) {
  const Result<Node> node = parse(text, limits);
  return node.ok() ? "" : node.error().message;
}

TEST(Yaml, BuildsATreeWithLines) {
  const Node root = parse("a: 1\nb:\n  - x\n  - \"2\"\nc: {d: ~}\n").value();
  ASSERT_EQ(root.kind, Node::Kind::kMapping);
  ASSERT_EQ(root.entries.size(), 3u);
  EXPECT_EQ(root.entries[0].value.text, "1");
  EXPECT_FALSE(root.entries[0].value.quoted);
  EXPECT_EQ(root.entries[1].line, 2);
  EXPECT_EQ(root.entries[1].value.items[1].line, 4);
  EXPECT_TRUE(root.entries[1].value.items[1].quoted);
  EXPECT_EQ(root.entries[2].value.entries[0].value.kind, Node::Kind::kNull);
  EXPECT_EQ(parse("").value().kind, Node::Kind::kNull);
  EXPECT_EQ(parse("\xef\xbb\xbf"
                  "a: 1")
                .value()
                .entries[0]
                .key,
            "a");
}

TEST(Yaml, RefusesWhatIsNotPlainData) {
  EXPECT_THAT(error_of("a: &x 1\nb: *x\n"), HasSubstr("line 2: aliases"));
  EXPECT_THAT(error_of("a: !!python/object 1\n"), HasSubstr("line 1: the tag"));
  EXPECT_THAT(error_of("a: 1\nb: 2\na: 3\n"),
              HasSubstr("line 3: the key \"a\" occurs twice; the first is on line 1"));
  EXPECT_THAT(error_of("a: 1\n---\nb: 2\n"), HasSubstr("more than one document"));
  EXPECT_THAT(error_of("[1]: 2\n"), HasSubstr("line 1"));
  EXPECT_THAT(error_of("a: [1, 2\nb: 3\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(error_of("a: 1\n\tb: 2\n"), HasSubstr("line 2"));
  EXPECT_THAT(error_of("a: \xff\n"), HasSubstr("line 1: the text is not valid UTF-8"));
  EXPECT_THAT(error_of(std::string("a: 1\nb: \0\n", 10)),
              HasSubstr("line 2: the control character 0x00"));
  EXPECT_THAT(error_of("a: 1\nb: \x04\nc: 2\n"), HasSubstr("line 2: the control character 0x04"));
  EXPECT_THAT(error_of("a: \"x\\ny\"\n"), HasSubstr("line break"));
}

TEST(Yaml, HoldsItsLimits) {
  EXPECT_THAT(error_of(std::string(100, 'x'), {.max_bytes = 99}), HasSubstr("100 bytes"));
  EXPECT_THAT(error_of("[[[[1]]]]", {.max_depth = 3}), HasSubstr("nested deeper than 3"));
  EXPECT_TRUE(parse("[[[1]]]", {.max_depth = 3}).ok());
  EXPECT_THAT(error_of("[1, 2, 3, 4]", {.max_nodes = 4}), HasSubstr("more than 4 values"));
  EXPECT_THAT(error_of("a: " + std::string(5000, 'x')), HasSubstr("5000 bytes"));
  EXPECT_NE(error_of(std::string(100'000, '[')), "");
  EXPECT_THAT(error_of(std::string(10'000, '-')), HasSubstr("10000 bytes"));
  std::string bomb = "a0: &a0 [x]\n";
  for (int i = 1; i < 10; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) +
            ", *a" + std::to_string(i - 1) + "]\n";
  }
  EXPECT_THAT(error_of(bomb), HasSubstr("aliases"));
}

TEST(Yaml, NeverCrashesOnDamagedText) {
  const std::string good =
      "model:\n  path: \"x\"\nkeys:\n  - {name: a, list: [1, 2, \"3\"]}\n# end\n";
  std::mt19937 engine(5);
  int n_refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string text = good;
    for (unsigned n = 1 + engine() % 5; n > 0; --n) {
      const size_t at = engine() % text.size();
      static constexpr char kChars[] = "{}[]:,-#&*!|>'\"%@`?\n \t\\~x1\x80";
      if (engine() % 2 == 0) {
        text[at] = kChars[engine() % (sizeof(kChars) - 1)];
      } else {
        text.insert(at, 1, kChars[engine() % (sizeof(kChars) - 1)]);
      }
    }
    n_refused += parse(text).ok() ? 0 : 1;
  }
  EXPECT_GT(n_refused, 1000);
}

TEST(Yaml, DurationsAreExact) {
  const std::pair<const char*, int64_t> good[] = {{"5", 5'000'000'000},
                                                  {"0.5", 500'000'000},
                                                  {"500ms", 500'000'000},
                                                  {"1.5s", 1'500'000'000},
                                                  {"2m", 120'000'000'000},
                                                  {"1h", 3'600'000'000'000},
                                                  {"250us", 250'000},
                                                  {"7ns", 7},
                                                  {"0", 0},
                                                  {"0.000000001", 1},
                                                  {"9223372036854775807ns", INT64_MAX}};
  for (const auto& [text, ns] : good) EXPECT_EQ(parse_duration_ns(text).value(), ns) << text;
  for (const char* text : {"", "s", "-1", "1e3", "1 s", "5sec", "1.", ".5", "nan", "inf",
                           "9223372036854775808ns", "99999999999h", "0.5ns", "1.s", "0x10"}) {
    EXPECT_FALSE(parse_duration_ns(text).ok()) << text;
  }
}

TEST(Yaml, SizesAreExact) {
  const std::pair<const char*, int64_t> good[] = {
      {"4096", 4096},   {"8MiB", 8 << 20},      {"64KiB", 64 << 10}, {"1.5GiB", 3LL << 29},
      {"10kB", 10'000}, {"2GB", 2'000'000'000}, {"1TiB", 1LL << 40}, {"512B", 512}};
  for (const auto& [text, bytes] : good) EXPECT_EQ(parse_size_bytes(text).value(), bytes) << text;
  for (const char* text : {"", "MiB", "8 MiB", "8mib", "-1", "0.3KiB", "1.5", "99999999TiB"}) {
    EXPECT_FALSE(parse_size_bytes(text).ok()) << text;
  }
}

TEST(Yaml, TheNearestWordIsTheLikelyOne) {
  const std::vector<std::string> known = {"replicas", "router", "model", "tp", "pp", "max_running"};
  EXPECT_EQ(nearest_word("replicaz", known), "replicas");
  EXPECT_EQ(nearest_word("ruoter", known), "router");
  EXPECT_EQ(nearest_word("max-running", known), "max_running");
  EXPECT_EQ(nearest_word("Model", known), "model");
  EXPECT_EQ(nearest_word("tpp", known), "tp");
  EXPECT_EQ(nearest_word("something_else", known), "");
  EXPECT_EQ(nearest_word("zz", known), "");
}

TEST(Yaml, TheReaderNamesKeyLineAndWhatWasExpected) {
  const auto error = [](const std::string& text, auto read) {
    const Node root = parse(text).value();
    MapReader reader(root, "section");
    read(reader);
    const Status status = reader.finish();
    return status.ok() ? std::string() : status.error().message;
  };
  int32_t i = 7;
  double d = 0;
  bool b = false;
  std::string s;
  int64_t ns = 0;
  std::vector<int32_t> list;
  const auto integer = [&](MapReader& r) { r.integer("tp", &i, 1, 8); };
  EXPECT_EQ(error("\ntp: two\n", integer),
            "line 2: `section.tp` must be an integer from 1 to 8, not \"two\"");
  for (const char* bad : {"tp: 0", "tp: 9", "tp: 1.0", "tp: 99999999999999999999", "tp: \"4\"",
                          "tp:", "tp: [1]", "tp: {a: 1}", "tp: 0x4", "tp: +4"}) {
    EXPECT_THAT(error(bad, integer), HasSubstr("`section.tp` must be an integer from 1 to 8"))
        << bad;
  }
  EXPECT_EQ(i, 7) << "a refused value changes nothing";
  const auto number = [&](MapReader& r) { r.number("x", &d, 0, 1); };
  for (const char* bad : {"x: 2", "x: .nan", "x: nan", "x: .inf", "x: 1e400", "x: one"}) {
    EXPECT_THAT(error(bad, number), HasSubstr("a number from 0 to 1")) << bad;
  }
  const auto boolean = [&](MapReader& r) { r.boolean("x", &b); };
  for (const char* bad : {"x: yes", "x: 1", "x: True", "x: on", "x: \"true\""}) {
    EXPECT_THAT(error(bad, boolean), HasSubstr("true or false")) << bad;
  }
  EXPECT_THAT(error("x: tpu",
                    [&](MapReader& r) {
                      r.choice("x", &s, {"cpu", "cuda"});
                    }),
              HasSubstr("one of cpu, cuda, not \"tpu\""));
  EXPECT_THAT(error("x: 3h", [&](MapReader& r) { r.duration("x", &ns, 0, 1'000'000'000); }),
              HasSubstr("a duration from 0s to 1s"));
  EXPECT_THAT(error("x: 2KiB", [&](MapReader& r) { r.size("x", &ns, 0, 1024); }),
              HasSubstr("a size from 0 to 1KiB"));
  EXPECT_THAT(error("x: [1, b]", [&](MapReader& r) { r.integers("x", &list, 0, 9, 5); }),
              HasSubstr("a list of integers from 0 to 9, not \"b\""));
  EXPECT_THAT(error("x: [1, 2, 3]", [&](MapReader& r) { r.integers("x", &list, 0, 9, 2); }),
              HasSubstr("3 entries; the limit is 2"));
  EXPECT_THAT(error("x: 5", [&](MapReader& r) { r.map("x", [](MapReader&) {}); }),
              HasSubstr("`section.x` must be a mapping"));
  EXPECT_THAT(error("tq: 2", integer),
              HasSubstr("unknown key \"tq\" in `section`; did you mean \"tp\"?"));
  EXPECT_THAT(error("colour: 2", integer), HasSubstr("known keys are tp"));
}

}  // namespace
}  // namespace trireme::yaml
