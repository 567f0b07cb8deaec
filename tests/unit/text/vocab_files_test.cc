// Tokenizers of folders without tokenizer.json: the goldens' vocabularies written as releases had
// them before it, held to the same cases.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/unit/text/folder_fixture.h"
#include "tests/unit/text/tokenizer_goldens.h"
#include "text/model_text.h"

namespace trireme::text {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class VocabFilesTest : public FolderTest {
 protected:
  static Json read_golden(const std::string& name) { return Json::parse(read_all(golden(name))); }

  // vocab.json, merges.txt and tokenizer_config.json of a byte-level golden.
  void write_merges(const std::string& name) {
    const Json model = read_golden(name + "/tokenizer.json")["model"];
    std::string merges = "#version: 0.2\n";
    for (const Json& merge : model["merges"]) merges += merge.get<std::string>() + "\n";
    write("vocab.json", model["vocab"].dump());
    write("merges.txt", merges);
    write("tokenizer_config.json", read_all(golden(name + "/tokenizer_config.json")));
  }
  void write_words() {
    const Json vocab = read_golden("wordpiece/tokenizer.json")["model"]["vocab"];
    std::vector<std::string> words(vocab.size());
    for (const auto& [word, id] : vocab.items()) words.at(id.get<size_t>()) = word;
    std::string text;
    for (const std::string& word : words) text += word + "\n";
    write("vocab.txt", text);
    write("tokenizer_config.json", read_all(golden("wordpiece/tokenizer_config.json")));
  }
  void check(const std::string& name) {
    const auto tokenizer = ModelText::load_tokenizer(folder_.string());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const GoldenReport encoded = check_encode(*tokenizer, golden(name + "/cases.jsonl"));
    EXPECT_EQ(encoded.failed, 0) << encoded.summary();
    EXPECT_GT(encoded.cases, 500);
    const GoldenReport decoded = check_decode(*tokenizer, golden(name + "/cases.jsonl"), true);
    EXPECT_EQ(decoded.failed, 0) << decoded.summary();
  }
  std::string error() const {
    const auto tokenizer = ModelText::load_tokenizer(folder_.string());
    return tokenizer.ok() ? "no error" : tokenizer.error().message;
  }
};

TEST_F(VocabFilesTest, Gpt2) {
  write_merges("gpt2");
  check("gpt2");
}

TEST_F(VocabFilesTest, Qwen2) {
  write_merges("qwen2");
  check("qwen2");
}

TEST_F(VocabFilesTest, Bert) {
  write_words();
  check("wordpiece");
}

// The first GPT-2 folders have no tokenizer_config.json: the model's kind says whose files these
// are.
TEST_F(VocabFilesTest, WithoutAConfigTheModelSaysWhoseTheyAre) {
  write_merges("gpt2");
  fs::remove(folder_ / "tokenizer_config.json");
  write("config.json", R"({"model_type": "gpt2"})");
  const auto text = ModelText::load(folder_.string());
  ASSERT_TRUE(text.ok()) << text.error().message;
  ASSERT_TRUE(text->has_tokenizer());
  const auto json = Tokenizer::from_json(read_all(golden("gpt2/tokenizer.json")));
  ASSERT_TRUE(json.ok());
  const std::string said = "Once upon a time, 42 ships<|endoftext|> rowed.";
  EXPECT_EQ(text->tokenizer().encode(said)->ids, json->encode(said)->ids);
}

TEST_F(VocabFilesTest, OlderFoldersListAddedTokensApart) {
  write_merges("gpt2");
  write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  write("added_tokens.json", R"({"<tool>": 2000})");
  const auto tokenizer = ModelText::load_tokenizer(folder_.string());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("<tool>")->ids, std::vector<int32_t>{2000});
}

TEST_F(VocabFilesTest, ErrorsNameTheFileAndTheLine) {
  write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  write("merges.txt", "#version: 0.2\na b\nab\n");
  write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  EXPECT_EQ(error(), "merges.txt, line 3: not two tokens");
  write("merges.txt", "a b\n");
  EXPECT_EQ(error(), "no error");
  write("vocab.json", R"(["a"])");
  EXPECT_EQ(error(), "vocab.json is not an object");
  write("vocab.json", R"({"a": 4294967296})");
  EXPECT_NE(error(), "no error");
  write("vocab.json", R"({"a": 0})");
  write("tokenizer_config.json", R"({"tokenizer_class": "OtherTokenizer"})");
  EXPECT_EQ(error(),
            "the folder has no tokenizer.json, and vocab.json of a 'OtherTokenizer' does not say "
            "how text is split");
  write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  write("added_tokens.json", R"({"<tool>": 4294967296})");
  EXPECT_EQ(error(), "added_tokens.json: \"<tool>\" has no id of a vocabulary");
}

TEST_F(VocabFilesTest, AWordListNeedsItsSpecialTokens) {
  write("vocab.txt", "[UNK]\n[CLS]\nship\n");
  write("config.json", R"({"model_type": "bert"})");
  EXPECT_EQ(error(), "vocab.txt has no [SEP]");
  write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\nship\nship\n");
  EXPECT_EQ(error(), "vocab.txt, line 5: as an earlier line");
}

}  // namespace
}  // namespace trireme::text
