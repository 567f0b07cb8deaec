// Kimi's tokenizer: a rank file, and a pattern that stands in Python code of the folder. The golden
// has a small rank file, and what tiktoken makes of it with that pattern.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/text/folder_fixture.h"
#include "tests/unit/text/tokenizer_goldens.h"
#include "text/model_text.h"

namespace trireme::text {
namespace {

class KimiFilesTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    for (const char* file : {"tiktoken.model", "tokenizer_config.json"}) {
      std::filesystem::copy_file(golden(std::string("kimi/") + file), folder_ / file);
    }
  }
  // Puts another name of the code into the config.
  void rename_code(const std::string& name) const {
    std::string config = read_all(golden("kimi/tokenizer_config.json"));
    const std::string kimi = "tokenization_kimi.TikTokenTokenizer";
    config.replace(config.find(kimi), kimi.size(), name);
    write("tokenizer_config.json", config);
  }
};

TEST_F(KimiFilesTest, IdsAndTextsOfTheReference) {
  const auto tokenizer = ModelText::load_tokenizer(folder_.string(), true);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const GoldenReport encoded = check_ids(*tokenizer, golden("kimi/cases.jsonl"), "ids");
  EXPECT_EQ(encoded.failed, 0) << encoded.summary();
  EXPECT_GT(encoded.cases, 300);
  const GoldenReport decoded = check_decode(*tokenizer, golden("kimi/cases.jsonl"), true);
  EXPECT_EQ(decoded.failed, 0) << decoded.summary();
  EXPECT_TRUE(tokenizer->prefix_ids().empty());
}

TEST_F(KimiFilesTest, TheConfigNamesSpecialTokensAndTheRestAreReserved) {
  const auto text = ModelText::load(folder_.string());
  ASSERT_TRUE(text.ok()) << text.error().message;
  const Tokenizer& tokenizer = text->tokenizer();
  const int32_t first = tokenizer.token_to_id("[BOS]");
  ASSERT_GT(first, 256);
  EXPECT_EQ(tokenizer.vocab_size(), first + 256);
  EXPECT_EQ(text->eos_ids(), std::vector<int32_t>{tokenizer.token_to_id("[EOS]")});
  const std::string reserved = "<|reserved_token_" + std::to_string(first + 5) + "|>";
  EXPECT_EQ(tokenizer.encode(reserved)->ids, std::vector<int32_t>{first + 5});
  EXPECT_TRUE(tokenizer.is_special(tokenizer.token_to_id("<|im_end|>")));
  EXPECT_FALSE(tokenizer.is_special(tokenizer.token_to_id("<|tool_call_begin|>")));
  // Neither may come from a message's content.
  for (const std::string& token : {reserved, std::string("<|tool_call_begin|>")}) {
    EXPECT_GT(tokenizer.encode_spans(token, {{0, token.size()}})->ids.size(), 1u);
  }
}

TEST_F(KimiFilesTest, CodeIsKnownByItsNameAndNeverRun) {
  for (const char* known : {"tokenization_moonshot.TikTokenTokenizer",
                            "someone/model--tokenization_kimi.TikTokenTokenizer"}) {
    rename_code(known);
    EXPECT_TRUE(ModelText::load_tokenizer(folder_.string()).ok()) << known;
  }
  rename_code("tokenization_other.TikTokenTokenizer");
  EXPECT_EQ(ModelText::load_tokenizer(folder_.string()).error().message,
            "tiktoken.model of the tokenizer 'tokenization_other.TikTokenTokenizer' does not say "
            "how text is split, and code of a folder is never run");
  write("tokenizer_config.json", "{}");
  EXPECT_EQ(ModelText::load(folder_.string()).error().code, ErrorCode::kUnimplemented);
}

// Kimi's tokenizer sorts a tool's keys before the template sees them; Moonlight's does not.
TEST_F(KimiFilesTest, ToolsAreSortedByTheirKeys) {
  write("chat_template.jinja", "{{ tools | tojson }}");
  const ChatRequest request{.messages_json = "[]",
                            .tools_json = R"([{"b": {"z": 1, "B": [{"y": 2, "x": 3}]}, "a": 4}])"};
  EXPECT_EQ(ModelText::load(folder_.string())->render_chat(request)->text,
            R"([{"a": 4, "b": {"B": [{"x": 3, "y": 2}], "z": 1}}])");
  rename_code("tokenization_moonshot.TikTokenTokenizer");
  EXPECT_EQ(ModelText::load(folder_.string())->render_chat(request)->text,
            R"([{"b": {"z": 1, "B": [{"y": 2, "x": 3}]}, "a": 4}])");
}

}  // namespace
}  // namespace trireme::text
