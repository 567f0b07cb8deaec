// The text side of a GGUF file: vocabulary kinds, special tokens, template; and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/weights/file_builders.h"
#include "text/model_text.h"

namespace trireme::worker {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int32_t kNormal = 1;
constexpr int32_t kControl = 3;
constexpr int32_t kUserDefined = 4;

GgufBuilder byte_level(const std::string& pre = "llama-bpe") {
  GgufBuilder file;
  file.text("tokenizer.ggml.model", "gpt2")
      .text("tokenizer.ggml.pre", pre)
      .texts("tokenizer.ggml.tokens",
             {"a", "b", "c", "ab", "\xc4\xa0", "1", "2", "<|end|>", "<tag>", "abc"})
      .i32s("tokenizer.ggml.token_type", {kNormal, kNormal, kNormal, kNormal, kNormal, kNormal,
                                          kNormal, kControl, kUserDefined, kNormal})
      .texts("tokenizer.ggml.merges", {"a b"})
      .u32("tokenizer.ggml.bos_token_id", 7)
      .u32("tokenizer.ggml.eos_token_id", 7)
      .u32("tokenizer.ggml.eot_token_id", 5)
      .text("tokenizer.chat_template",
            "{% for m in messages %}[{{ m.content }}]{% endfor %}"
            "{{ eos_token }}");
  return file;
}

Result<text::ModelText> load(const GgufBuilder& file) {
  const TempDir dir;
  write_file(dir / "m.gguf", file.bytes());
  return text::ModelText::load(dir / "m.gguf");
}

std::string error_of(const GgufBuilder& file) {
  const auto text = load(file);
  return text.ok() ? "accepted" : text.error().to_string();
}

std::vector<int32_t> ids(const text::ModelText& text, const std::string& input, bool special) {
  const auto encoding = text.tokenizer().encode(input, {.add_special_tokens = special});
  CHECK(encoding.ok()) << encoding.error().message;
  return encoding->ids;
}

TEST(GgufText, ByteLevelVocabulary) {
  const auto text = load(byte_level());
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(ids(*text, "ab a", false), ElementsAre(3, 4, 0));
  // The file does not say, and this pre-tokenizer's models begin with a BOS.
  EXPECT_THAT(ids(*text, "a", true), ElementsAre(7, 0));
  // A word that is in the vocabulary is that token for this pre-tokenizer, and not for others.
  EXPECT_THAT(ids(*text, "abc", false), ElementsAre(9));
  const auto qwen = load(byte_level("qwen2"));
  ASSERT_TRUE(qwen.ok()) << qwen.error().message;
  EXPECT_THAT(ids(*qwen, "abc", true), ElementsAre(3, 2));
  EXPECT_THAT(ids(*text, "<tag>a<|end|>", false), ElementsAre(8, 0, 7));
  EXPECT_TRUE(text->tokenizer().is_special(7));
  EXPECT_FALSE(text->tokenizer().is_special(8));
  EXPECT_EQ(text->eos_token(), "<|end|>");
  EXPECT_THAT(text->eos_ids(), ElementsAre(5, 7));
}

TEST(GgufText, ChatTemplate) {
  const auto text = load(byte_level());
  ASSERT_TRUE(text.ok()) << text.error().message;
  ASSERT_TRUE(text->has_chat_template());
  text::ChatRequest request;
  request.messages_json = R"([{"role":"user","content":"a<|end|>"}])";
  const auto rendered = text->render_chat(request);
  ASSERT_TRUE(rendered.ok()) << rendered.error().message;
  EXPECT_EQ(rendered->text, "[a<|end|>]<|end|>");
  // The control token that a message spells is no control token.
  request.messages_json = R"([{"role":"user","content":"<|end|>"}])";
  const auto encoded = text->encode_chat(request);
  ASSERT_TRUE(encoded.ok()) << encoded.error().message;
  EXPECT_EQ(std::count(encoded->begin(), encoded->end(), 7), 1);
}

TEST(GgufText, SentencePieceVocabulary) {
  GgufBuilder file;
  file.text("tokenizer.ggml.model", "llama")
      .texts("tokenizer.ggml.tokens",
             {"<unk>", "<s>", "</s>", "<0x41>", "\xe2\x96\x81", "a", "b", "ab",
              "\xe2\x96\x81"
              "ab"})
      .i32s("tokenizer.ggml.token_type", {2, 3, 3, 6, 1, 1, 1, 1, 1})
      .f32s("tokenizer.ggml.scores", {0, 0, 0, 0, -4, -3, -3, -1, -2})
      .u32("tokenizer.ggml.bos_token_id", 1)
      .u32("tokenizer.ggml.eos_token_id", 2);
  const auto text = load(file);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_THAT(ids(*text, "ab", true), ElementsAre(1, 8));  // BOS and prefix space by default
  EXPECT_THAT(ids(*text, "A", false), ElementsAre(4, 3));  // a byte
  file.flag("tokenizer.ggml.add_space_prefix", false).flag("tokenizer.ggml.add_bos_token", false);
  const auto bare = load(file);
  ASSERT_TRUE(bare.ok()) << bare.error().message;
  EXPECT_THAT(ids(*bare, "ab", true), ElementsAre(7));
}

TEST(GgufText, AFileWithoutVocabularyServesIdsOnly) {
  const auto text = load(GgufBuilder().text("general.architecture", "llama"));
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_FALSE(text->has_tokenizer());
}

TEST(GgufText, WhatIsRefused) {
  EXPECT_THAT(error_of(byte_level("fancy-bpe")),
              AllOf(HasSubstr("unimplemented"), HasSubstr("fancy-bpe")));
  GgufBuilder other;
  other.text("tokenizer.ggml.model", "t5").texts("tokenizer.ggml.tokens", {"a"});
  EXPECT_THAT(error_of(other), AllOf(HasSubstr("unimplemented"), HasSubstr("t5")));
  GgufBuilder few = byte_level();
  few.f32s("tokenizer.ggml.scores", {1});
  EXPECT_THAT(error_of(few), HasSubstr("differ in number"));
  GgufBuilder twice;
  twice.text("tokenizer.ggml.model", "gpt2")
      .text("tokenizer.ggml.pre", "gpt-2")
      .texts("tokenizer.ggml.tokens", {"a", "a"})
      .texts("tokenizer.ggml.merges", {});
  EXPECT_THAT(error_of(twice), HasSubstr("token 1"));
  GgufBuilder bytes;
  bytes.text("tokenizer.ggml.model", "llama")
      .texts("tokenizer.ggml.tokens", {"\xff"})
      .f32s("tokenizer.ggml.scores", {1});
  EXPECT_THAT(error_of(bytes), HasSubstr("UTF-8"));
  GgufBuilder outside = byte_level("gpt-2");
  outside.u32("tokenizer.ggml.padding_token_id", 99);
  EXPECT_THAT(error_of(outside), HasSubstr("padding_token_id"));
}

}  // namespace
}  // namespace trireme::worker
