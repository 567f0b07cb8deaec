// From request to token ids and sampling: context to the token, precedence of defaults, texts of a
// real tokenizer.
#include "router/api/prepare.h"

#include <gtest/gtest.h>

#include "router/api/choice_text.h"

namespace trireme::router {
namespace {

ServedModel bare_model() {
  ServedModel model;
  model.name = "m";
  model.context = 32;
  model.vocab = 100;
  model.eos_ids = {2};
  return model;
}

PrepareContext context_of(const ServedModel& model) {
  PrepareContext context;
  context.model = &model;
  context.context = model.context;
  context.random_seed = 99;
  return context;
}

GenerationRequest ids_request(size_t n_prompt, int64_t max_tokens) {
  GenerationRequest request;
  request.prompts = {std::vector<int32_t>(n_prompt, 5)};
  request.max_tokens = max_tokens;
  return request;
}

TEST(Prepare, ContextIsExact) {
  const ServedModel model = bare_model();
  const auto status = [&](size_t n_prompt, int64_t max_tokens, bool echo = false) -> std::string {
    GenerationRequest request = ids_request(n_prompt, max_tokens);
    request.echo = echo;
    PreparedRequest out;
    const auto error = prepare(request, context_of(model), &out);
    return error ? error->code : "ok";
  };
  EXPECT_EQ(status(31, 1), "ok");
  EXPECT_EQ(status(32, 1), "context_length_exceeded");
  EXPECT_EQ(status(33, 1), "context_length_exceeded");
  EXPECT_EQ(status(16, 16), "ok");
  EXPECT_EQ(status(16, 17), "context_length_exceeded");
  EXPECT_EQ(status(1, 1'000'000'000'000), "context_length_exceeded");
  EXPECT_EQ(status(32, 0, true), "ok") << "scoring a full context generates nothing";
  EXPECT_EQ(status(0, 1), "") << "an empty prompt is no context error";
}

TEST(Prepare, DefaultMaxTokensFillsTheContext) {
  ServedModel model = bare_model();
  GenerationRequest request = ids_request(10, 1);
  request.max_tokens.reset();
  PreparedRequest out;
  ASSERT_FALSE(prepare(request, context_of(model), &out));
  EXPECT_EQ(out.prompts[0].max_tokens, 22);
  model.defaults.max_new_tokens = 7;
  PreparedRequest with_default;
  ASSERT_FALSE(prepare(request, context_of(model), &with_default));
  EXPECT_EQ(with_default.prompts[0].max_tokens, 7);
}

TEST(Prepare, PrecedenceIsRequestThenModelThenOurs) {
  ServedModel model = bare_model();
  model.defaults.temperature = 0.6;
  model.defaults.top_p = 0.9;
  GenerationRequest request = ids_request(3, 4);
  request.sampling.temperature = 0.1;
  request.sampling.top_k = 1'000'000;
  request.min_tokens = 2;
  request.stop_token_ids = {8, 2};
  PreparedRequest out;
  ASSERT_FALSE(prepare(request, context_of(model), &out));
  EXPECT_FLOAT_EQ(out.sampling.temperature, 0.1F);
  EXPECT_FLOAT_EQ(out.sampling.top_p, 0.9F);
  EXPECT_FLOAT_EQ(out.sampling.min_p, 0.0F);
  EXPECT_EQ(out.sampling.top_k, 100);
  EXPECT_EQ(out.sampling.seed, 99U);
  EXPECT_EQ(out.stop_token_ids, (std::vector<int32_t>{2, 8}));
  EXPECT_EQ(out.sampling.banned_until_min_tokens, out.stop_token_ids);
  request.ignore_eos = true;
  request.stop_token_ids.clear();
  PreparedRequest ignoring;
  ASSERT_FALSE(prepare(request, context_of(model), &ignoring));
  EXPECT_TRUE(ignoring.stop_token_ids.empty());
}

TEST(Prepare, LimitsAndTruncation) {
  const ServedModel model = bare_model();
  PrepareContext context = context_of(model);
  context.limits.n_times_max_tokens = 20;
  GenerationRequest request = ids_request(3, 8);
  request.n = 3;
  PreparedRequest out;
  const auto error = prepare(request, context, &out);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "max_tokens");
  GenerationRequest cut = ids_request(60, 4);
  std::get<1>(cut.prompts[0]).back() = 7;
  cut.truncate_prompt_tokens = 5;
  PreparedRequest shorter;
  ASSERT_FALSE(prepare(cut, context_of(model), &shorter));
  EXPECT_EQ(*shorter.prompts[0].ids, (std::vector<int32_t>{5, 5, 5, 5, 7}));
  cut.truncate_prompt_tokens = -1;
  PreparedRequest fitting;
  ASSERT_FALSE(prepare(cut, context_of(model), &fitting));
  EXPECT_EQ(fitting.prompts[0].ids->size(), 28U);
  GenerationRequest impatient = ids_request(3, 4);
  impatient.min_tokens = 5;
  PreparedRequest none;
  EXPECT_TRUE(prepare(impatient, context_of(model), &none));
}

TEST(Prepare, TextNeedsATokenizer) {
  const ServedModel model = bare_model();
  GenerationRequest request;
  request.prompts = {std::string("text")};
  request.max_tokens = 1;
  PreparedRequest out;
  auto error = prepare(request, context_of(model), &out);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 400);
  EXPECT_NE(error->message.find("tokenizer"), std::string::npos);
  request.chat = true;
  error = prepare(request, context_of(model), &out);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 400);
  GenerationRequest stops = ids_request(3, 1);
  stops.stop = {"x"};
  EXPECT_TRUE(prepare(stops, context_of(model), &out))
      << "a stop string cannot be found without text";
}

class DemoModel : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = load_served_model({.path = TRIREME_SOURCE_DIR "/configs/models/trireme-demo"});
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    model_ = std::move(*loaded);
    ASSERT_TRUE(model_.tokenizer);
  }
  std::vector<int32_t> encode(const std::string& text) {
    std::vector<int32_t> ids;
    EXPECT_FALSE(encode_text(model_, text, false, &ids));
    return ids;
  }
  ServedModel model_;
};

TEST_F(DemoModel, ChatIsRenderedAndEncoded) {
  EXPECT_EQ(model_.name, "trireme-demo");
  GenerationRequest request;
  request.chat = true;
  request.messages_json = R"([{"role":"user","content":"Hello"}])";
  PreparedRequest out;
  const auto error = prepare(request, context_of(model_), &out);
  ASSERT_FALSE(error) << error->message;
  const std::string text = model_.tokenizer->decode(*out.prompts[0].ids, false);
  EXPECT_NE(text.find("Hello"), std::string::npos);
  EXPECT_EQ(out.stop_token_ids, model_.eos_ids);
}

TEST_F(DemoModel, BadWordsAreOneToken) {
  GenerationRequest request = ids_request(3, 1);
  request.sampling.bad_words = {"the"};
  PreparedRequest out;
  ASSERT_FALSE(prepare(request, context_of(model_), &out));
  EXPECT_FALSE(out.sampling.logit_bias.empty());
  for (const auto& [id, bias] : out.sampling.logit_bias) EXPECT_LT(bias, -1e6F);
  request.sampling.bad_words = {"antidisestablishmentarianism and more"};
  PreparedRequest none;
  EXPECT_TRUE(prepare(request, context_of(model_), &none));
}

TEST_F(DemoModel, StopStringAcrossTokensIsNeverShown) {
  const std::string text = "Trireme answers 世界 quickly, then it stops here. And goes on.";
  const std::vector<int32_t> ids = encode(text);
  ASSERT_GT(ids.size(), 8U);
  for (const bool include : {false, true}) {
    ChoiceTextOptions options;
    options.tokenizer = &*model_.tokenizer;
    options.stop = {"never", "it stops he"};
    options.include_stop = include;
    auto choice = ChoiceText::create(options, encode("x"));
    ASSERT_TRUE(choice.ok());
    std::string out;
    int which = -1;
    size_t used = 0;
    for (const int32_t id : ids) {
      ++used;
      const auto step = choice->push(std::vector{id}, -1, out);
      which = step.stop_string;
      if (which >= 0) break;
      EXPECT_EQ(text.compare(0, out.size(), out), 0) << "only a prefix of the text was ever shown";
    }
    EXPECT_EQ(which, 1);
    EXPECT_LT(used, ids.size());
    const std::string shown = text.substr(0, text.find("it stops he"));
    EXPECT_EQ(out, include ? shown + "it stops he" : shown);
  }
}

TEST_F(DemoModel, MinTokensDefersStopStrings) {
  const std::vector<int32_t> ids = encode("stop stop stop stop");
  ChoiceTextOptions options;
  options.tokenizer = &*model_.tokenizer;
  options.stop = {"stop"};
  options.min_tokens = static_cast<int32_t>(ids.size());
  auto choice = ChoiceText::create(options, encode("x"));
  ASSERT_TRUE(choice.ok());
  std::string out;
  const auto early = choice->push(std::span(ids).first(ids.size() - 1), -1, out);
  EXPECT_EQ(early.stop_string, -1);
  const auto late = choice->push(std::span(ids).last(1), -1, out);
  EXPECT_EQ(late.stop_string, 0);
}

TEST_F(DemoModel, StopTokenIsHiddenUnlessAsked) {
  const std::vector<int32_t> ids = encode("one two three");
  for (const bool include : {false, true}) {
    ChoiceTextOptions options;
    options.tokenizer = &*model_.tokenizer;
    options.include_stop = include;
    auto choice = ChoiceText::create(options, {});
    ASSERT_TRUE(choice.ok());
    std::string out;
    choice->push(ids, ids.back(), out);
    choice->finish(out);
    const std::vector<int32_t> shown(ids.begin(), ids.end() - (include ? 0 : 1));
    EXPECT_EQ(out, model_.tokenizer->decode(shown));
  }
}

}  // namespace
}  // namespace trireme::router
