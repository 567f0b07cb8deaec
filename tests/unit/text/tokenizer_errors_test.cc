// Tokenizer files that are broken in every way we could think of: an error that says what, never a
// crash.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/unit/text/tokenizer_goldens.h"
#include "text/tokenizer.h"

namespace trireme::text {
namespace {

using Json = nlohmann::json;

Json small() {
  return Json::parse(R"({
    "added_tokens": [{"id": 6, "content": "<s>", "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5},
              "merges": ["a b", "ab c"]}})");
}

std::string error_of(const Json& json) {
  const auto tokenizer = Tokenizer::from_json(json.dump());
  return tokenizer.ok() ? "" : tokenizer.error().message;
}

TEST(TokenizerErrors, TheSmallFileIsFine) {
  const auto tokenizer = Tokenizer::from_json(small().dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("abc<s>bc")->ids, (std::vector<int32_t>{4, 6, 1, 2}));
  EXPECT_EQ(tokenizer->vocab_size(), 7);
}

struct Broken {
  const char* pointer;
  Json value;
  const char* says;
};

TEST(TokenizerErrors, EveryWrongFieldIsNamed) {
  const Broken cases[] = {
      {"/model", nullptr, "model"},
      {"/model", 3, "model"},
      {"/model/vocab", nullptr, "vocab"},
      {"/model/vocab", Json::object(), "vocab"},
      {"/model/vocab/a", "zero", "\"a\""},
      {"/model/vocab/a", -1, "\"a\""},
      {"/model/vocab/a", 1.5, "\"a\""},
      {"/model/vocab/a", 4000000000u, "\"a\""},
      {"/model/vocab/a", 1e300, "\"a\""},
      {"/model/vocab/a", 9223372036854775808u, "\"a\""},
      {"/model/merges", nullptr, "merges"},
      {"/model/merges/0", "a", "merge 0"},
      {"/model/merges/0", "a b c", "merge 0"},
      {"/model/merges/0", 7, "merge 0"},
      {"/model/merges/0", {"a"}, "merge 0"},
      {"/model/merges/0", {"a", 1}, "merge 0"},
      {"/model/merges/0", "a x", "not in the vocabulary"},
      {"/model/merges/0", "b a", "not in the vocabulary"},
      {"/model/unk_token", "<none>", "unknown token"},
      {"/model/byte_fallback", "yes", "byte_fallback"},
      {"/model/type", "Unigram", "Unigram"},
      {"/model/type", "WordPiece", "unknown token"},
      {"/model/type", "Nonsense", "Nonsense"},
      {"/model", Json::parse(R"({"type": "Unigram", "vocab": [["a", -1.0]]})"), "unk_id"},
      {"/model", Json::parse(R"({"type": "Unigram", "vocab": [["a"]], "unk_id": 0})"), "entry 0"},
      {"/model", Json::parse(R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1})"),
       "not in the vocabulary"},
      {"/model/type", 1, "type"},
      {"/model/end_of_word_suffix", 1, "end_of_word_suffix"},
      {"/added_tokens", 1, "added_tokens"},
      {"/added_tokens/0/id", -1, "id"},
      {"/added_tokens/0/id", 1 << 30, "id"},
      {"/added_tokens/0/id", "6", "id"},
      {"/added_tokens/0/content", nullptr, "content"},
      {"/added_tokens/0/special", 1, "special"},
      {"/pre_tokenizer", "ByteLevel", "pre_tokenizer"},
      {"/pre_tokenizer/type", "Nonsense", "Nonsense"},
      {"/pre_tokenizer", {{"type", "Sequence"}}, "pretokenizers"},
      {"/pre_tokenizer", {{"type", "Split"}}, "pattern"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}},
       "pattern"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", ""}}}, {"behavior", "Isolated"}},
       "empty"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Odd"}},
       "Odd"},
      {"/normalizer",
       {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", "x"}},
       "empty"},
      {"/normalizer", {{"type", "Precompiled"}}, "precompiled_charsmap"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "!"}}, "base64"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}, "header"},
      {"/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}}, "fit"},
      {"/normalizer", {{"type", "Nonsense"}}, "Nonsense"},
      {"/pre_tokenizer", {{"type", "CharDelimiterSplit"}, {"delimiter", "ab"}}, "one character"},
      {"/pre_tokenizer", {{"type", "FixedLength"}, {"length", 0}}, "length"},
      {"/decoder", {{"type", "Nonsense"}}, "Nonsense"},
      {"/decoder", {{"type", "Strip"}, {"content", ""}, {"start", 1}, {"stop", 1}}, "Strip"},
      {"/decoder",
       Json::parse(
           R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "WordPiece"}]})"),
       "WordPiece"},
      {"/post_processor", {{"type", "Nonsense"}}, "Nonsense"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "single"},
      {"/post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "x"}}}}}},
        {"special_tokens", Json::object()}},
       "\"x\""},
  };
  for (const Broken& broken : cases) {
    Json json = small();
    json[Json::json_pointer(broken.pointer)] = broken.value;
    const std::string error = error_of(json);
    EXPECT_NE(error.find(broken.says), std::string::npos)
        << broken.pointer << " " << broken.value << ": " << error;
  }
}

TEST(TokenizerErrors, DuplicateMergesAndIdsAreHarmless) {
  Json json = small();
  json["model"]["merges"] = {"a b", "a b", "b c", "ab c", "a b"};
  json["model"]["vocab"]["bc"] = 3;  // two spellings of one id
  json["added_tokens"].push_back(json["added_tokens"][0]);
  const auto tokenizer = Tokenizer::from_json(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_FALSE(tokenizer->encode("abcabc<s>")->ids.empty());
}

TEST(TokenizerErrors, DeepAndTruncatedJson) {
  EXPECT_NE(error_of(Json()), "");
  for (const char* text : {"", "{", "[]", "nul", "{\"model\":", "\xFF", "{\"model\": 1e999}"}) {
    EXPECT_FALSE(Tokenizer::from_json(text).ok()) << text;
  }
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_FALSE(Tokenizer::from_json(deep).ok());
  Json nested = {{"type", "ByteLevel"}};
  for (int i = 0; i < 20; ++i) nested = {{"type", "Sequence"}, {"pretokenizers", {nested}}};
  Json json = small();
  json["pre_tokenizer"] = nested;
  EXPECT_NE(error_of(json).find("deep"), std::string::npos);
}

// Cut at many places and with random bytes changed, a file is refused or loads; nothing else may
// happen.
TEST(TokenizerErrors, MutatedFilesNeverCrash) {
  const std::string good = small().dump();
  std::mt19937 random(1);
  for (size_t cut = 0; cut < good.size(); cut += 3)
    EXPECT_FALSE(Tokenizer::from_json(good.substr(0, cut)).ok());
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (int i = 0; i < 3; ++i) bad[random() % bad.size()] = static_cast<char>(random() % 128);
    const auto tokenizer = Tokenizer::from_json(bad);
    EXPECT_TRUE(!tokenizer.ok() || tokenizer->encode("abc <s> cab").ok());
  }
}

TEST(TokenizerErrors, MutatedSentencePieceFilesNeverCrash) {
  const std::string good = read_all(std::string(TRIREME_SOURCE_DIR) +
                                    "/tests/golden/tokenizers/mistral/tokenizer.model");
  ASSERT_TRUE(Tokenizer::from_sentencepiece(good).ok());
  EXPECT_FALSE(Tokenizer::from_sentencepiece("").ok());
  EXPECT_FALSE(Tokenizer::from_sentencepiece(std::string(20, '\xFF')).ok());
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    std::string bad = good.substr(0, random() % good.size());
    for (int i = 0; i < 4 && !bad.empty(); ++i)
      bad[random() % bad.size()] = static_cast<char>(random());
    const auto tokenizer = Tokenizer::from_sentencepiece(bad);
    EXPECT_TRUE(!tokenizer.ok() || tokenizer->encode("hello world").ok());
  }
}

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  return out + static_cast<char>(value);
}
std::string number_field(uint64_t number, uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string text_field(uint64_t number, const std::string& text) {
  return varint(number << 3 | 2) + varint(text.size()) + text;
}

// A number that a field cannot hold is no other number that it can.
TEST(TokenizerErrors, NumbersOfASentencePieceFileThatDoNotFit) {
  const auto file = [](const std::string& piece_type, const std::string& trainer) {
    return text_field(1, text_field(1, "<unk>") + number_field(3, 2)) +
           text_field(1, text_field(1, "a") + piece_type) +
           text_field(2, number_field(3, 2) + trainer);
  };
  const auto error = [](const std::string& bytes) {
    const auto tokenizer = Tokenizer::from_sentencepiece(bytes);
    return tokenizer.ok() ? std::string("accepted") : tokenizer.error().message;
  };
  const uint64_t beyond = uint64_t{1} << 32;
  EXPECT_EQ(error(file(number_field(3, 1), number_field(41, UINT64_MAX))), "accepted");  // -1
  EXPECT_EQ(error(file(number_field(3, beyond + 1), "")),
            "tokenizer.model: field 3 is out of range");
  EXPECT_EQ(error(file("", number_field(3, beyond + 2))),
            "tokenizer.model: field 3 is out of range");
  EXPECT_EQ(error(file("", number_field(41, beyond))), "tokenizer.model: field 41 is out of range");
  EXPECT_EQ(error(file("", number_field(42, uint64_t{1} << 31))),
            "tokenizer.model: field 42 is out of range");
  EXPECT_EQ(error(file("", number_field(35, 2))),
            "tokenizer.model: field 35 is neither true nor false");
  EXPECT_EQ(error(file(number_field(2, 7), "")), "tokenizer.model: field 2 is no 32-bit number");
  EXPECT_EQ(error(file(number_field(1, 7), "")), "tokenizer.model: field 1 is no text");
  EXPECT_EQ(error(file("", varint(41 << 3) + std::string(9, '\xFF') + '\x02')),
            "tokenizer.model has a number of more than 64 bits");
  EXPECT_EQ(error(file("", varint(beyond << 3) + varint(0))),
            "tokenizer.model has a field with an absurd number");
  EXPECT_NE(error(file("", varint(44 << 3 | 2) + varint(UINT64_MAX))), "accepted");
}

TEST(TokenizerErrors, NumbersOfATokenizerJsonThatDoNotFit) {
  for (const uint64_t beyond : {uint64_t{1} << 32, uint64_t{1} << 63, UINT64_MAX}) {
    for (const char* path :
         {"/added_tokens/0/id", "/model/vocab/a", "/post_processor/special_tokens/<s>/ids/0"}) {
      Json json = small();
      json["post_processor"] = {
          {"type", "TemplateProcessing"},
          {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
          {"special_tokens", {{"<s>", {{"ids", {6}}}}}}};
      ASSERT_EQ(error_of(json), "");
      json[Json::json_pointer(path)] = beyond;
      EXPECT_NE(error_of(json), "") << path << " " << beyond;
    }
  }
}

TEST(TokenizerErrors, APatternThatBacktracksForEverIsAnError) {
  Json json = small();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a|aa)+(a|aa)+$"}}}, {"behavior", "Isolated"}};
  const auto tokenizer = Tokenizer::from_json(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto encoding = tokenizer->encode(std::string(5000, 'a') + "ca");
  ASSERT_FALSE(encoding.ok());
  EXPECT_EQ(encoding.error().code, ErrorCode::kResourceExhausted);
}

TEST(TokenizerErrors, AFolderWithoutFiles) {
  const auto tokenizer = Tokenizer::load("/nonexistent/folder");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
}

// A fuzzer's 15 bytes that made tables of four million ids.
TEST(TokenizerErrors, RanksThatLeaveMostIdsOutAreRefused) {
  for (const bool qwen : {false, true}) {
    EXPECT_EQ(Tokenizer::from_ranks("Y4w9 3992867\n", qwen).error().message,
              "rank 3992867 is too high for 1 tokens");
  }
  EXPECT_TRUE(Tokenizer::from_ranks("YQ== 4000\n", true).ok());
}

}  // namespace
}  // namespace trireme::text
