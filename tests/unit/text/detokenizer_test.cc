#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

Tokenizer load(const std::string& name) {
  return Tokenizer::load(std::string(TRIREME_SOURCE_DIR) + "/tests/golden/tokenizers/" + name)
      .value();
}

// Random ids are mostly broken characters: each piece must be UTF-8, and all of them the whole.
TEST(Detokenizer, PiecesAreValidAndAddUp) {
  std::mt19937 random(5);
  for (const char* name : {"llama3", "gpt2", "qwen2", "starcoder"}) {
    const Tokenizer tokenizer = load(name);
    for (int round = 0; round < 300; ++round) {
      std::vector<int32_t> ids;
      for (int i = 0; i < 30; ++i) {
        const int32_t bound = random() % 2 == 0 ? 256 : tokenizer.vocab_size();
        ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(bound)));
      }
      for (const bool skip : {false, true}) {
        Detokenizer stream(tokenizer, skip);
        std::string text;
        for (const int32_t id : ids) {
          const std::string piece = stream.push(id);
          EXPECT_TRUE(is_valid_utf8(piece));
          EXPECT_LE(stream.held_bytes(), 3u);
          text += piece;
        }
        text += stream.flush();
        EXPECT_EQ(text, tokenizer.decode(ids, skip)) << name;
      }
    }
  }
}

TEST(Detokenizer, HoldsHalfACharacterAndNoMore) {
  const Tokenizer tokenizer = load("llama3");
  const auto ids = tokenizer.encode("\U0001F680", {.add_special_tokens = false})->ids;
  ASSERT_GT(ids.size(), 1u);
  Detokenizer stream(tokenizer);
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_GT(stream.held_bytes(), 0u);
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Detokenizer, RoundTripsTextThroughByteFallback) {
  for (const char* name : {"llama2", "mistral", "gemma"}) {
    const Tokenizer tokenizer = load(name);
    const std::string text = "Héllo wörld, 世界 \U0001F680\U0001F1E9\U0001F1EA end";
    Detokenizer stream(tokenizer);
    std::string out;
    const std::vector<int32_t> ids = tokenizer.encode(text, {.add_special_tokens = false})->ids;
    for (const int32_t id : ids) out += stream.push(id);
    out += stream.flush();
    EXPECT_EQ(out, text) << name;
  }
}

TEST(Detokenizer, UnknownIdsAreNothing) {
  Detokenizer stream(load("llama2"));
  EXPECT_EQ(stream.push(-1), "");
  EXPECT_EQ(stream.push(1 << 30), "");
}

}  // namespace
}  // namespace trireme::text
