// Every part that a tokenizer.json may have, one at a time, against the reference library: the
// cases of tests/golden/tokenizers/parts.jsonl (made by tools/goldens/make_tokenizer_parts.py). And
// the rank files, made here from the byte-level goldens.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/text/tokenizer_goldens.h"
#include "text/detokenizer.h"
#include "text/tokenize/byte_alphabet.h"
#include "text/tokenize/regex.h"
#include "text/unicode/bert_classes.h"
#include "text/unicode/classes.h"
#include "text/unicode/normalize.h"
#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

using Json = nlohmann::json;

std::string golden(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/golden/" + name;
}

// What of one line differs, up to three differences.
std::string differences(const Json& line) {
  std::string out;
  int n = 0;
  const auto tokenizer = Tokenizer::from_json(line["tokenizer"].dump());
  if (!tokenizer.ok()) return tokenizer.error().message;
  for (const Json& c : line["encode"]) {
    const auto got = tokenizer->encode(c["text"].get<std::string>(), {.offsets = true});
    if (!got.ok()) {
      out += "\n  " + c["text"].dump() + ": " + got.error().message;
    } else if ((Json(got->ids) != c["ids"] || Json(got->offsets) != c["offsets"]) && ++n < 4) {
      out += "\n  " + c["text"].dump() + "\n    got  " + Json(got->ids).dump() + " " +
             Json(got->offsets).dump() + "\n    want " + c["ids"].dump() + " " +
             c["offsets"].dump();
    }
  }
  for (const Json& c : line["decode"]) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    const std::string got = tokenizer->decode(ids, false);
    if (got != c["decoded"].get<std::string>() && ++n < 4) {
      out += "\n  " + c["ids"].dump() + "\n    got  " + Json(got).dump() + "\n    want " +
             c["decoded"].dump();
    }
    // A stream shows the same, except where a run of bytes turns out to be broken too late.
    Detokenizer stream(*tokenizer, false);
    std::string streamed;
    for (const int32_t id : ids) {
      streamed += stream.push(id);
      if (!is_valid_utf8(streamed)) out += "\n  a stream shows half a character";
    }
    streamed += stream.flush();
    const bool broken_run = got.find("\uFFFD") != std::string::npos;
    if (streamed != got && !broken_run && ++n < 4) {
      out += "\n  " + c["ids"].dump() + "\n    streamed " + Json(streamed).dump();
    }
  }
  return out;
}

TEST(TokenizerParts, EachIsTheReferences) {
  std::ifstream file(golden("tokenizers/parts.jsonl"));
  int n = 0;
  for (std::string text; std::getline(file, text); ++n) {
    const Json line = Json::parse(text);
    const std::string wrong = differences(line);
    EXPECT_EQ(wrong, "") << line["name"];
  }
  EXPECT_GT(n, 90);
}

// A rank file of the vocabulary of a byte-level tokenizer.json, without its added tokens.
std::string rank_file(const Json& json) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::pair<int, std::string>> ranks;
  for (const auto& [piece, id] : json["model"]["vocab"].items()) {
    if (const auto bytes = from_byte_alphabet(piece)) ranks.emplace_back(id.get<int>(), *bytes);
  }
  std::sort(ranks.begin(), ranks.end());
  std::string out;
  for (const auto& [rank, bytes] : ranks) {
    for (size_t at = 0; at < bytes.size(); at += 3) {
      uint32_t bits = 0;
      for (size_t i = 0; i < 3; ++i) {
        bits = bits << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u);
      }
      const size_t n = std::min<size_t>(3, bytes.size() - at);
      for (size_t i = 0; i < 4; ++i) out += i <= n ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
    }
    out += ' ' + std::to_string(rank) + '\n';
  }
  return out;
}

class RankFiles : public testing::TestWithParam<std::pair<const char*, bool>> {};

TEST_P(RankFiles, EncodeAsTheTokenizerJsonOfTheSameVocabulary) {
  const auto [name, qwen] = GetParam();
  const std::string folder = golden("tokenizers/") + name;
  const Json json = Json::parse(read_all(folder + "/tokenizer.json"));
  const auto whole = Tokenizer::from_json(json.dump());
  const auto ranked = Tokenizer::from_ranks(rank_file(json), qwen);
  ASSERT_TRUE(ranked.ok()) << ranked.error().message;
  int n = 0;
  std::ifstream cases(folder + "/cases.jsonl");
  for (std::string line; std::getline(cases, line);) {
    const auto text = Json::parse(line)["text"].get<std::string>();
    const auto want = whole->encode(text, {.add_special_tokens = false})->ids;
    // What the two do not share: added tokens, and the file's normalization.
    const auto is_added = [&](int32_t id) {
      return static_cast<size_t>(id) >= json["model"]["vocab"].size();
    };
    if (std::any_of(want.begin(), want.end(), is_added)) continue;
    if (whole->decode(want, false) != text) continue;
    ++n;
    EXPECT_EQ(ranked->encode(text, {.add_special_tokens = false})->ids, want) << text;
    EXPECT_EQ(ranked->decode(want, false), text);
  }
  EXPECT_GT(n, 200);
}

INSTANTIATE_TEST_SUITE_P(All, RankFiles,
                         testing::Values(std::pair{"llama3", false}, std::pair{"qwen2", true}),
                         [](const auto& param) { return std::string(param.param.first); });

TEST(RankFiles, HaveTheSpecialTokensOfTheirFamily) {
  const std::string ranks = "YQ== 0\nYg== 1\nYWI= 2\nPA== 3\nfA== 4\nPg== 5\n";
  const auto llama = Tokenizer::from_ranks(ranks, false);
  ASSERT_TRUE(llama.ok()) << llama.error().message;
  EXPECT_EQ(llama->encode("ab<|eot_id|>")->ids, (std::vector<int32_t>{6, 2, 6 + 9}));
  EXPECT_EQ(llama->vocab_size(), 6 + 256);
  const auto qwen = Tokenizer::from_ranks(ranks, true);
  EXPECT_EQ(qwen->encode("<|im_start|>ab")->ids, (std::vector<int32_t>{7, 2}));
  for (const char* bad :
       {"", "YQ==", "YQ== x", "YQ== -1", "Y 0", "YQ== 99999999999", "!! 0", " 0"}) {
    EXPECT_FALSE(Tokenizer::from_ranks(bad, false).ok()) << bad;
  }
}

TEST(Tekken, IsReadWithItsSpecialTokensInFront) {
  const auto tokenizer = Tokenizer::from_tekken(R"({
      "config": {"pattern": "\\p{L}+|.", "default_vocab_size": 6, "default_num_special_tokens": 3},
      "vocab": [{"rank": 0, "token_bytes": "YQ=="}, {"rank": 1, "token_bytes": "Yg=="},
                {"rank": 2, "token_bytes": "YWI="}, {"rank": 3, "token_bytes": "YWJi"}]})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("abb</s>")->ids, (std::vector<int32_t>{1, 5, 4, 2}));
  EXPECT_EQ(tokenizer->vocab_size(), 6);
}

// [first, last] ranges as a set of flags.
std::vector<bool> flags_of(const Json& ranges) {
  std::vector<bool> flags(0x110000, false);
  for (const Json& range : ranges) {
    for (uint32_t c = range[0]; c <= range[1].get<uint32_t>(); ++c) flags[c] = true;
  }
  return flags;
}

bool is_scalar(uint32_t c) { return c < 0xD800 || c > 0xDFFF; }

TEST(UnicodeGoldens, BertClasses) {
  const Json json = Json::parse(read_all(golden("unicode/bert.json")));
  const auto isolated = flags_of(json["pre_tokenizer_isolates"]);
  const auto accents = flags_of(json["strip_accents_drops"]);
  const auto spaces = flags_of(json["pre_tokenizer_drops"]);
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (!is_scalar(c)) continue;
    ASSERT_EQ(bert_punctuation(c), isolated[c]) << c;
    ASSERT_EQ(bert_accent(c), accents[c]) << c;
    ASSERT_EQ(is_white_space(c), spaces[c]) << c;
  }
}

TEST(UnicodeGoldens, RegexClasses) {
  const Json classes = Json::parse(read_all(golden("unicode/regex_classes.json")))["classes"];
  const ClassTable& table = ClassTable::get();
  const auto check = [&](const char* name, uint16_t bit) {
    ASSERT_TRUE(classes.contains(name)) << name;
    const auto flags = flags_of(classes[name]);
    for (uint32_t c = 0; c < 0x110000; ++c) {
      if (!is_scalar(c)) continue;
      ASSERT_EQ((table.bits(c) & bit) != 0, flags[c]) << name << " " << c;
    }
  };
  check("\\s", kSpace);
  check("\\p{L}", kLetter);
  check("\\p{N}", kNumber);
  check("\\p{M}", kMark);
  check("\\p{P}", kPunctuation);
  check("\\p{S}", kSymbol);
}

// The regex engine itself, by the runs that it finds in a text of all characters in order.
TEST(UnicodeGoldens, RegexEngine) {
  const Json classes = Json::parse(read_all(golden("unicode/regex_classes.json")))["classes"];
  std::string text;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (is_scalar(c)) append_utf8(c, &text);
  }
  for (const char* name :
       {"\\w", "\\d", "\\s", "\\p{L}", "\\p{Lu}", "\\p{M}", "\\p{N}", "\\p{P}"}) {
    const auto regex = Regex::compile(std::string(name) + "+");
    ASSERT_TRUE(regex.ok()) << name;
    Regex::Matcher matcher(*regex, text);
    ByteSpan match;
    Json found = Json::array();
    while (*matcher.next(&match)) {
      uint32_t last = match.end - 1;
      while (is_continuation(text[last])) --last;
      found.push_back({static_cast<uint32_t>(decode_at(text, match.begin).value),
                       static_cast<uint32_t>(decode_at(text, last).value)});
    }
    EXPECT_EQ(found, classes[name]) << name;
  }
}

}  // namespace
}  // namespace trireme::text
