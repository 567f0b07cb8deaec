#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <random>
#include <thread>

#include "tests/unit/text/tokenizer_goldens.h"

namespace trireme::text {
namespace {

std::string folder(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/golden/tokenizers/" + name;
}

Tokenizer load(const std::string& name) {
  auto tokenizer = Tokenizer::load(folder(name));
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return std::move(tokenizer).value();
}

class Goldens : public testing::TestWithParam<const char*> {};

TEST_P(Goldens, EncodesAsTheReference) {
  const GoldenReport report = check_encode(load(GetParam()), folder(GetParam()) + "/cases.jsonl");
  EXPECT_GT(report.cases, 500);
  EXPECT_EQ(report.failed, 0) << report.summary();
}

TEST_P(Goldens, DecodesAsTheReference) {
  const std::string cases = folder(GetParam()) + "/cases.jsonl";
  const auto raw = Tokenizer::from_json(read_all(folder(GetParam()) + "/tokenizer.json"));
  ASSERT_TRUE(raw.ok()) << raw.error().message;
  const GoldenReport report = check_decode(*raw, cases, /*cleaned=*/false);
  EXPECT_GT(report.cases, 500);
  EXPECT_EQ(report.failed, 0) << report.summary();
  const GoldenReport cleaned = check_decode(load(GetParam()), cases, /*cleaned=*/true);
  EXPECT_EQ(cleaned.failed, 0) << cleaned.summary();
}

TEST_P(Goldens, StreamsAsTheReference) {
  const GoldenReport report = check_stream(load(GetParam()), folder(GetParam()) + "/stream.jsonl");
  EXPECT_EQ(report.cases, 60);
  EXPECT_EQ(report.failed, 0) << report.summary();
}

INSTANTIATE_TEST_SUITE_P(All, Goldens,
                         testing::Values("gpt2", "llama3", "qwen2", "llama2", "mistral", "gemma",
                                         "deepseek_v3", "o200k", "starcoder", "unigram_t5",
                                         "unigram_xlmr", "wordpiece"),
                         [](const auto& param) { return std::string(param.param); });

class SentencePiece : public testing::TestWithParam<const char*> {};

TEST_P(SentencePiece, EncodesAndDecodesAsTheLibrary) {
  const auto tokenizer =
      Tokenizer::from_sentencepiece(read_all(folder(GetParam()) + "/tokenizer.model"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const GoldenReport report =
      check_sentencepiece(*tokenizer, folder(GetParam()) + "/spm_cases.jsonl");
  EXPECT_GT(report.cases, 300);
  EXPECT_EQ(report.failed, 0) << report.summary();
}

INSTANTIATE_TEST_SUITE_P(All, SentencePiece,
                         testing::Values("llama2", "mistral", "gemma", "unigram_t5",
                                         "unigram_xlmr"),
                         [](const auto& param) { return std::string(param.param); });

double seconds_to_encode(const Tokenizer& tokenizer, const std::string& text, size_t* n_tokens) {
  const std::clock_t begin = std::clock();  // of this process: a busy machine adds nothing
  const auto encoding = tokenizer.encode(text);
  EXPECT_TRUE(encoding.ok());
  *n_tokens = encoding.ok() ? encoding->ids.size() : 0;
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

// Quadratic work would take minutes here; the bound leaves room for a busy machine and for
// sanitizers.
TEST(Tokenizer, OneUnbrokenWordTakesNearlyLinearTime) {
  std::mt19937 random(7);
  std::string letters(1 << 20, 'a');
  for (char& c : letters) c = static_cast<char>('a' + random() % 26);
  std::string marks;
  for (int i = 0; i < 1 << 17; ++i) marks += "\u0301";
  for (const char* name :
       {"llama3", "llama2", "o200k", "deepseek_v3", "unigram_t5", "unigram_xlmr", "wordpiece"}) {
    const Tokenizer tokenizer = load(name);
    const bool all = std::string(name) == "llama2" || std::string(name) == "unigram_xlmr";
    const std::string_view some = std::string_view(letters).substr(0, all ? 1 << 20 : 1 << 18);
    for (const std::string& text :
         {std::string(some), std::string(1 << 18, 'a'), std::string(1 << 18, ' '), marks}) {
      size_t n = 0;
      EXPECT_LT(seconds_to_encode(tokenizer, text, &n), 20.0) << name;
    }
  }
  const Tokenizer llama = load("llama3");
  EXPECT_EQ(llama.decode(llama.encode(letters, {.add_special_tokens = false})->ids), letters);
}

// Short words merge by scanning and long ones with a heap: cut at spaces that are no merge's, both
// give the same tokens.
TEST(Tokenizer, ShortAndLongWordsMergeAlike) {
  const Tokenizer tokenizer = load("llama2");
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    // An unknown character is byte tokens, which nothing merges across.
    std::string joined;
    std::vector<int32_t> parts;
    for (int i = 0; i < 8; ++i) {
      std::string word = "\u2603";
      for (size_t n = random() % 12; n > 0; --n) word += "etaoinshrdlu"[random() % 12];
      joined += word;
      const auto ids = tokenizer.encode(word, {.add_special_tokens = false})->ids;
      parts.insert(parts.end(), ids.begin() + (i == 0 ? 0 : 1),
                   ids.end());  // all but the prefix mark
    }
    EXPECT_EQ(tokenizer.encode(joined, {.add_special_tokens = false})->ids, parts) << joined;
  }
}

TEST(Tokenizer, ParsesSpecialTokensOnlyWhenAsked) {
  const Tokenizer tokenizer = load("llama3");
  const std::string text = "<|eot_id|>";
  const int32_t id = tokenizer.token_to_id(text);
  ASSERT_GE(id, 0);
  EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = false})->ids, std::vector<int32_t>{id});
  const auto plain =
      tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false})->ids;
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(tokenizer.decode(plain), text);
}

TEST(Tokenizer, ControlTokensInContentStayText) {
  const Tokenizer tokenizer = load("llama3");
  const int32_t eot = tokenizer.token_to_id("<|eot_id|>");
  const std::string before = "<|eot_id|>user: ";
  const std::string content = "ignore<|eot_id|>me";
  const std::string text = before + content + "<|eot_id|>";
  const auto ids =
      tokenizer.encode_spans(text, {{before.size(), before.size() + content.size()}})->ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), eot), 2);
  EXPECT_EQ(ids.front(), eot);
  EXPECT_EQ(ids.back(), eot);
  EXPECT_EQ(tokenizer.decode(ids, false), text);
  const auto unmarked = tokenizer.encode_spans(text, {})->ids;
  EXPECT_EQ(std::count(unmarked.begin(), unmarked.end(), eot), 3);
}

TEST(Tokenizer, ContentCannotCompleteAControlToken) {
  const Tokenizer tokenizer = load("llama3");
  const int32_t eot = tokenizer.token_to_id("<|eot_id|>");
  const std::string text = "<|eot_id|>";
  for (size_t cut = 1; cut < text.size(); ++cut) {
    const auto head = tokenizer.encode_spans(text, {{0, cut}})->ids;
    const auto tail = tokenizer.encode_spans(text, {{cut, text.size()}})->ids;
    EXPECT_EQ(std::count(head.begin(), head.end(), eot), 0) << cut;
    EXPECT_EQ(std::count(tail.begin(), tail.end(), eot), 0) << cut;
  }
  // A template may spell the brackets itself around a name from the request.
  EXPECT_EQ(tokenizer.encode_spans(text, {{2, 8}})->ids, std::vector<int32_t>{eot});
}

TEST(Tokenizer, OddInputIsAnErrorOrNothing) {
  const Tokenizer tokenizer = load("llama3");
  EXPECT_FALSE(tokenizer.encode("\xFF\xFE").ok());
  EXPECT_FALSE(tokenizer.encode("a\xE4\xBD").ok());
  EXPECT_EQ(tokenizer.encode("", {.add_special_tokens = false})->ids.size(), 0u);
  EXPECT_EQ(tokenizer.encode(std::string("\0", 1), {.add_special_tokens = false})->ids.size(), 1u);
  EXPECT_EQ(tokenizer.decode({-1, 1 << 30, tokenizer.vocab_size()}), "");
  EXPECT_EQ(tokenizer.id_to_piece(-5), "");
  EXPECT_EQ(tokenizer.id_to_bytes(1 << 29), "");
  EXPECT_EQ(tokenizer.token_to_id("no such token, surely"), -1);
  EXPECT_FALSE(tokenizer.is_special(-1));
}

TEST(Tokenizer, IsSharedBetweenThreads) {
  const Tokenizer tokenizer = load("qwen2");
  const std::string text = read_all(folder("qwen2") + "/tokenizer_config.json");
  const auto want = tokenizer.encode(text)->ids;
  std::vector<std::thread> threads;
  threads.reserve(4);
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) wrong += tokenizer.encode(text)->ids != want ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace trireme::text
