// The bytes of events and responses, exactly.
#include "router/api/response.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "router/api/logprob_text.h"

namespace trireme::router {
namespace {

ResponseIdentity identity(bool chat) { return {chat, chat ? "chatcmpl-1" : "cmpl-1", "m", 17}; }

TEST(Events, ChatStreamBytes) {
  const ChoiceEvents events(identity(true), 0, false);
  std::string out;
  events.role(out, {});
  events.text(out, "Hi \"you\"", {});
  events.finish(out, "stop", "null", {});
  append_done_event(out);
  const std::string head =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m","system_fingerprint":null,"choices":[{"index":0,"delta":{)";
  EXPECT_EQ(out, head +
                     R"("role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})"
                     "\n\n" +
                     head +
                     R"("content":"Hi \"you\""},"logprobs":null,"finish_reason":null}]})"
                     "\n\n" +
                     head +
                     R"(},"logprobs":null,"finish_reason":"stop","stop_reason":null}]})"
                     "\n\n" +
                     "data: [DONE]\n\n");
}

TEST(Events, CompletionStreamBytes) {
  const ChoiceEvents events(identity(false), 2, true);
  std::string out;
  events.text(out, "a\n", {.token_ids = "[5]", .prompt_token_ids = "[1,2]"});
  const std::string head =
      R"(data: {"id":"cmpl-1","object":"text_completion","created":17,"model":"m","system_fingerprint":null,"choices":[{"index":2,"text":")";
  EXPECT_EQ(
      out,
      head +
          R"(a\n","logprobs":null,"finish_reason":null,"stop_reason":null,"token_ids":[5],"prompt_token_ids":[1,2]}],"usage":null})"
          "\n\n");
  out.clear();
  events.finish(out, "length", "\"x\"", {.usage = "{}"});
  EXPECT_EQ(out, head +
                     R"(","logprobs":null,"finish_reason":"length","stop_reason":"x"}],"usage":{}})"
                     "\n\n");
}

TEST(Events, UsageAndError) {
  std::string out;
  append_usage_event(out, identity(true), {10, 5, 8, 1'234'567'890'123});
  EXPECT_EQ(
      out,
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m","system_fingerprint":null,"choices":[],)"
      R"("usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8},)"
      R"("cost":{"usd":1234.567890123,"nano_usd":1234567890123}}})"
      "\n\n");
  out.clear();
  append_error_event(out, {503, "gone", "", "", "unavailable", 1});
  EXPECT_EQ(out,
            "data: "
            "{\"error\":{\"message\":\"gone\",\"type\":\"service_unavailable_error\",\"param\":"
            "null,\"code\":\"unavailable\"}}\n\n");
}

TEST(Responses, WholeChoiceParses) {
  for (const bool chat : {true, false}) {
    std::string out;
    append_response_head(out, identity(chat));
    out += R"(,"choices":[)";
    WholeChoice choice;
    choice.text = "tab\tquote\" \x01";
    choice.finish_reason = "stop";
    choice.stop_reason = "128";
    append_whole_choice(out, identity(chat), choice);
    out += "]}";
    const auto parsed = parse_json(out, JsonLimits{});
    ASSERT_TRUE(parsed.ok()) << out;
    const Json& c = (*parsed)["choices"][0];
    EXPECT_EQ(chat ? c["message"]["content"] : c["text"], choice.text);
    EXPECT_EQ(c["stop_reason"], 128);
  }
}

TEST(Responses, ErrorShape) {
  const HttpResponse response =
      error_response({429, "slow \"down\"", "", "n", "rate_limit_exceeded", 7});
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(
      response.body,
      R"({"error":{"message":"slow \"down\"","type":"rate_limit_error","param":"n","code":"rate_limit_exceeded"}})");
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0], (std::pair<std::string, std::string>{"Retry-After", "7"}));
}

TEST(Responses, WhatIsNotServedIsNotAskedAgain) {
  const HttpResponse response = error_response(not_implemented("no", "n"));
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0], (std::pair<std::string, std::string>{"x-should-retry", "false"}));
}

step::PositionLogprobs position(int32_t actual, float logprob,
                                std::vector<step::TokenLogprob> top) {
  return {{actual, logprob, 3}, std::move(top)};
}

TEST(Logprobs, TokensAsIds) {
  const TokenNames names(nullptr, false);
  std::string chat;
  append_chat_logprob(chat, names, position(7, -1.5F, {{1, -0.1F, 1}, {2, -0.25F, 2}}), 1);
  EXPECT_EQ(
      chat,
      R"({"token":"token_id:7","logprob":-1.5,"bytes":null,"top_logprobs":[{"token":"token_id:1","logprob":-0.1,"bytes":null}]})");
  CompletionLogprobs completion(2);
  completion.add(names, 9, nullptr);
  const auto p = position(7, -1.5F, {{1, -0.1F, 1}, {2, -0.25F, 2}});
  completion.add(names, 7, &p);
  std::string out;
  completion.take(out);
  EXPECT_EQ(
      out,
      R"({"tokens":["token_id:9","token_id:7"],"token_logprobs":[null,-1.5],"top_logprobs":[null,)"
      R"({"token_id:1":-0.1,"token_id:2":-0.25,"token_id:7":-1.5}],"text_offset":[0,0]})");
  EXPECT_TRUE(completion.empty());
  std::string prompt;
  append_prompt_logprobs(prompt, names, std::vector{p}, 1);
  EXPECT_EQ(
      prompt,
      R"([null,{"7":{"logprob":-1.5,"rank":3,"decoded_token":"token_id:7"},"1":{"logprob":-0.1,"rank":1,"decoded_token":"token_id:1"}}])");
}

}  // namespace
}  // namespace trireme::router
