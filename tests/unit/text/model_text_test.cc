#include "text/model_text.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/text/folder_fixture.h"
#include "tests/unit/text/tokenizer_goldens.h"

namespace trireme::text {
namespace {

namespace fs = std::filesystem;

class ModelTextTest : public FolderTest {
 protected:
  void copy_tokenizer(const std::string& name, const std::string& file = "tokenizer.json") {
    fs::copy_file(golden(name + "/" + file), folder_ / file);
  }
  Result<ModelText> load() const { return ModelText::load(folder_.string()); }
};

TEST_F(ModelTextTest, AnEmptyFolderServesIdsOnly) {
  const auto model = load();
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_FALSE(model->has_tokenizer());
  EXPECT_FALSE(model->has_chat_template());
  EXPECT_TRUE(model->eos_ids().empty());
  EXPECT_EQ(model->encode_chat({.messages_json = "[]"}).error().code,
            ErrorCode::kFailedPrecondition);
}

TEST_F(ModelTextTest, ReadsEverything) {
  copy_tokenizer("llama3");
  write(
      "tokenizer_config.json",
      R"({"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}, "chat_template": "unused"})");
  write("chat_template.jinja",
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
  write("generation_config.json", R"({"eos_token_id": [9, 3, 9]})");
  const auto model = load();
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->eos_ids(), (std::vector<int32_t>{3, 9}));
  EXPECT_EQ(model->eos_token(), "<|eot_id|>");
  const Tokenizer& t = model->tokenizer();
  const auto ids =
      model->encode_chat({.messages_json = R"([{"role":"user","content":"a<|eot_id|>"}])"});
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_EQ(ids->front(), t.token_to_id("<|begin_of_text|>"));
  EXPECT_EQ(ids->back(), t.token_to_id("<|eot_id|>"));
  EXPECT_EQ(std::count(ids->begin(), ids->end(), t.token_to_id("<|eot_id|>")), 1);
  EXPECT_EQ(t.decode(*ids, false), "<|begin_of_text|>a<|eot_id|><|eot_id|>");
}

TEST_F(ModelTextTest, TemplateListsAndEosFromTheTokenizer) {
  copy_tokenizer("llama3");
  write("tokenizer_config.json", R"({"eos_token": "<|eot_id|>", "chat_template": [
      {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain {{ x }}"}]})");
  const auto model = load();
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->render_chat({.messages_json = "[]", .kwargs_json = R"({"x": 5})"})->text,
            "plain 5");
  EXPECT_EQ(model->eos_ids(), std::vector<int32_t>{model->tokenizer().token_to_id("<|eot_id|>")});
}

TEST_F(ModelTextTest, SentencePieceAloneAddsTheBosThatTheConfigWants) {
  copy_tokenizer("llama2", "tokenizer.model");
  EXPECT_EQ(load()->tokenizer().encode("a")->ids.front(), 1);
  write("tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_NE(load()->tokenizer().encode("a")->ids.front(), 1);
}

TEST_F(ModelTextTest, ABadTemplateDoesNotStopPlainCompletion) {
  copy_tokenizer("gpt2");
  write("chat_template.jinja", "{% if %}");
  const auto model = load();
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_TRUE(model->has_chat_template());  // there is one: whoever asks is told what is wrong
  EXPECT_NE(model->render_chat({.messages_json = "[]"}).error().message.find("line 1"),
            std::string::npos);
}

TEST_F(ModelTextTest, NamedTemplatesServeToolsAndTheRest) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "plain"},
      {"name": "tool_use", "template": "tools {{ tools | length }}"}]})");
  const auto model = load();
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->render_chat({.messages_json = "[]"})->text, "plain");
  EXPECT_EQ(model->render_chat({.messages_json = "[]", .tools_json = "[]"})->text, "plain");
  EXPECT_EQ(model->render_chat({.messages_json = "[]", .tools_json = "[{}]"})->text, "tools 1");
  // Files beside the config win.
  write("chat_template.jinja", "file");
  fs::create_directories(folder_ / "additional_chat_templates");
  write("additional_chat_templates/tool_use.jinja", "file for tools");
  EXPECT_EQ(load()->render_chat({.messages_json = "[]"})->text, "file");
  EXPECT_EQ(load()->render_chat({.messages_json = "[]", .tools_json = "[{}]"})->text,
            "file for tools");
}

TEST_F(ModelTextTest, TheConfigMayAskForABosThatTheTokenizerDoesNotAdd) {
  const fs::path folder = golden("deepseek_v3");
  const auto served = ModelText::load(folder.string());
  ASSERT_TRUE(served.ok()) << served.error().message;
  const GoldenReport report =
      check_ids(served->tokenizer(), (folder / "cases.jsonl").string(), "ids_config_bos");
  EXPECT_GT(report.cases, 100);
  EXPECT_EQ(report.failed, 0) << report.summary();
  EXPECT_TRUE(ModelText::load_tokenizer(folder.string())->prefix_ids().empty());
  EXPECT_EQ(ModelText::load_tokenizer(folder.string(), true)->prefix_ids().size(), 1u);
}

TEST_F(ModelTextTest, AConfigTakesABosAwayOnlyWhereTheReferenceLetsIt) {
  copy_tokenizer("llama3");
  const std::string config = R"({"add_bos_token": false, "bos_token": "<|begin_of_text|>")";
  write("tokenizer_config.json", config + R"(, "tokenizer_class": "LlamaTokenizer"})");
  EXPECT_TRUE(load()->tokenizer().prefix_ids().empty());
  write("tokenizer_config.json", config + R"(, "tokenizer_class": "PreTrainedTokenizerFast"})");
  EXPECT_EQ(load()->tokenizer().prefix_ids().size(), 1u);
}

TEST_F(ModelTextTest, ARequestMayHaveItsControlTokensParsed) {
  copy_tokenizer("llama3");
  write("chat_template.jinja", "{{ messages[0].content }}");
  const auto model = load();
  ChatRequest request{.messages_json = R"([{"content": "a<|eot_id|>"}])"};
  const int32_t eot = model->tokenizer().token_to_id("<|eot_id|>");
  EXPECT_NE(model->encode_chat(request)->back(), eot);
  request.parse_content = true;
  EXPECT_EQ(model->encode_chat(request)->back(), eot);
}

TEST_F(ModelTextTest, AProcessorsTemplateCountsWhereThereIsNoOther) {
  write("chat_template.json", R"({"chat_template": "of the processor"})");
  EXPECT_EQ(load()->render_chat({.messages_json = "[]"})->text, "of the processor");
  write("tokenizer_config.json", R"({"chat_template": "of the tokenizer"})");
  EXPECT_EQ(load()->render_chat({.messages_json = "[]"})->text, "of the tokenizer");
}

TEST_F(ModelTextTest, SpecialTokensMayStandInAFileOfTheirOwn) {
  write("special_tokens_map.json", R"({"bos_token": {"content": "<a>"}, "eos_token": "<b>"})");
  EXPECT_EQ(load()->bos_token(), "<a>");
  write("tokenizer_config.json", R"({"bos_token": null, "eos_token": "<c>"})");
  EXPECT_EQ(load()->bos_token(), "");
  EXPECT_EQ(load()->eos_token(), "<c>");
}

TEST_F(ModelTextTest, AGitLfsPointerIsCalledOne) {
  for (const char* file : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"}) {
    write(file, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
    EXPECT_EQ(load().error().message,
              std::string(file) +
                  " is a git-lfs pointer, not the file itself; fetch it with `git lfs pull`");
    fs::remove(folder_ / file);
  }
}

TEST_F(ModelTextTest, WrongFilesAreErrors) {
  for (const auto& [file, text] : {std::pair{"tokenizer_config.json", "[1]"},
                                   {"tokenizer_config.json", "{"},
                                   {"tokenizer_config.json", "{\"chat_template\": 5}"},
                                   {"generation_config.json", "{\"eos_token_id\": \"x\"}"},
                                   {"generation_config.json", "{\"eos_token_id\": [1, 1e9]}"},
                                   {"generation_config.json", "{\"eos_token_id\": 4294967297}"},
                                   {"config.json", "{\"eos_token_id\": [18446744073709551615]}"},
                                   {"tokenizer.json", "{}"},
                                   {"tekken.json", "{}"},
                                   {"qwen.tiktoken", "not ranks"},
                                   {"tokenizer.model", "IQ== x"},
                                   {"tokenizer.model", "x"}}) {
    write(file, text);
    EXPECT_FALSE(load().ok()) << file << " " << text;
    fs::remove(folder_ / file);
  }
}

TEST_F(ModelTextTest, WrongRequestsAreErrors) {
  write("chat_template.jinja", "{{ messages | length }}");
  const auto model = load();
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE(model->render_chat({.messages_json = "[]"}).ok());
  EXPECT_FALSE(model->render_chat({.messages_json = "{}"}).ok());
  EXPECT_FALSE(model->render_chat({.messages_json = "["}).ok());
  EXPECT_FALSE(model->render_chat({.messages_json = "[]", .tools_json = "3"}).ok());
  EXPECT_FALSE(
      model->render_chat({.messages_json = "[]", .kwargs_json = R"({"messages": []})"}).ok());
}

}  // namespace
}  // namespace trireme::text
