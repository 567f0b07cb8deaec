// Request parsing: every wrong value has its status, its field and a sentence; every right one its
// meaning.
#include "router/api/request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace trireme::router {
namespace {

RequestBounds bounds() {
  RequestBounds b;
  b.vocab = 1000;
  b.context = 128;
  return b;
}

std::optional<ApiError> completion(const std::string& fields, GenerationRequest* out = nullptr) {
  GenerationRequest local;
  const std::string body =
      R"({"model":"m","prompt":"hi")" + (fields.empty() ? "" : "," + fields) + "}";
  return parse_completion_request(body, bounds(), out != nullptr ? out : &local);
}

std::optional<ApiError> chat(const std::string& fields, GenerationRequest* out = nullptr) {
  GenerationRequest local;
  const std::string body = R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
                           (fields.empty() ? "" : "," + fields) + "}";
  return parse_chat_request(body, bounds(), out != nullptr ? out : &local);
}

struct Bad {
  const char* fields;
  const char* param;
  int status = 400;
};

TEST(CompletionRequest, RefusesWrongFields) {
  const std::string long_stop = R"("stop":[")" + std::string(1'000'000, 'x') + "\"]";
  std::string many_biases = R"("logit_bias":{)";
  for (int i = 0; i < 1025; ++i)
    many_biases += (i > 0 ? ",\"" : "\"") + std::to_string(i % 1000 + i / 1000 * 7919) + "\":1";
  many_biases += "}";
  const std::vector<Bad> cases = {
      {R"("temperature":-1)", "temperature"},
      {R"("temperature":"hot")", "temperature"},
      {R"("temperature":2.5)", "temperature"},
      {R"("temperature":true)", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.5)", "top_p"},
      {R"("top_p":[])", "top_p"},
      {R"("top_k":-5)", "top_k"},
      {R"("top_k":1.5)", "top_k"},
      {R"("min_p":-0.1)", "min_p"},
      {R"("min_p":2)", "min_p"},
      {R"("presence_penalty":9)", "presence_penalty"},
      {R"("frequency_penalty":-9)", "frequency_penalty"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("repetition_penalty":-1)", "repetition_penalty"},
      {R"("n":0)", "n"},
      {R"("n":1000000000)", "n"},
      {R"("n":-1)", "n"},
      {R"("n":"2")", "n"},
      {R"("n":18446744073709551615)", "n"},
      {R"("best_of":5)", "best_of", 501},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":1.5)", "max_tokens"},
      {R"("logprobs":-2)", "logprobs"},
      {R"("logprobs":1000000)", "logprobs"},
      {R"("logprobs":true)", "logprobs"},
      {R"("stop":5)", "stop"},
      {R"("stop":[1])", "stop"},
      {R"("stop":"")", "stop"},
      {R"("stop":["a",""])", "stop"},
      {R"("stop":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"])", "stop"},
      {long_stop.c_str(), "stop"},
      {many_biases.c_str(), "logit_bias"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"1000":1})", "logit_bias"},
      {R"("logit_bias":{"-1":1})", "logit_bias"},
      {R"("logit_bias":{"5":101})", "logit_bias"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("seed":"seven")", "seed"},
      {R"("seed":1.5)", "seed"},
      {R"("seed":9223372036854775808)", "seed"},
      {R"("seed":-1e30)", "seed"},
      {R"("suffix":"end")", "suffix"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("stream":true,"stream_options":[])", "stream_options"},
      {R"("stream":true,"prompt_logprobs":1)", "prompt_logprobs"},
      {R"("echo":1)", "echo"},
      {R"("response_format":{"type":"json_object"})", "response_format", 501},
      {R"("response_format":{"type":"json_schema"})", "response_format", 501},
      {R"("response_format":"json")", "response_format"},
      {R"("guided_json":{})", "guided_json", 501},
      {R"("use_beam_search":true)", "use_beam_search", 501},
      {R"("json_schema":{})", "json_schema", 501},
      {R"("regex":"a+")", "regex", 501},
      {R"("n_predict":5)", "n_predict", 501},
      {R"("repeat_penalty":1.1)", "repeat_penalty", 501},
      {R"("typical_p":0.5)", "typical_p", 501},
      {R"("mirostat":2)", "mirostat", 501},
      {R"("top_n_sigma":1.5)", "top_n_sigma", 501},
      {R"("xtc_probability":0.5)", "xtc_probability", 501},
      {R"("dry_multiplier":"0.8")", "dry_multiplier", 501},
      {R"("lora":[{"id":0,"scale":1}])", "lora", 501},
      {R"("include_reasoning":false)", "include_reasoning", 501},
      {R"("modalities":["text","audio"])", "modalities", 501},
      {R"("length_penalty":2)", "length_penalty", 501},
      {R"("allowed_token_ids":[])", "allowed_token_ids"},
      {R"("allowed_token_ids":[1000])", "allowed_token_ids"},
      {R"("stop_token_ids":[-1])", "stop_token_ids"},
      {R"("stop_token_ids":"x")", "stop_token_ids"},
      {R"("truncate_prompt_tokens":0)", "truncate_prompt_tokens"},
      {R"("min_tokens":-1)", "min_tokens"},
      {R"("priority":"high")", "priority"},
      {R"("user":5)", "user"},
      {R"("cache_salt":[])", "cache_salt"},
  };
  for (const Bad& bad : cases) {
    const auto error = completion(bad.fields);
    ASSERT_TRUE(error) << std::string(bad.fields).substr(0, 80);
    EXPECT_EQ(error->status, bad.status) << std::string(bad.fields).substr(0, 80);
    EXPECT_EQ(error->param, bad.param) << std::string(bad.fields).substr(0, 80);
    EXPECT_FALSE(error->message.empty());
    EXPECT_LT(error->message.size(), 300U);
  }
}

TEST(CompletionRequest, RefusesWrongBodies) {
  std::string deep = R"({"prompt":)" + std::string(10'000, '[') + std::string(10'000, ']') + "}";
  const std::vector<std::string> bodies = {"",
                                           "{",
                                           "[]",
                                           "nul",
                                           "5",
                                           deep,
                                           R"({"prompt":"a","temperature":1e400})",
                                           "{\"prompt\":\"\xff\xfe\"}",
                                           R"({"prompt":NaN})",
                                           R"({"prompt":"a"}x)",
                                           R"({"prompt":"a","prompt":"b"})",
                                           R"({"model":"m"})",
                                           R"({"prompt":[]})",
                                           R"({"prompt":{}})",
                                           R"({"prompt":[1,1000]})",
                                           R"({"prompt":[-1]})",
                                           R"({"prompt":[1,"a"]})",
                                           R"({"prompt":["a",1]})",
                                           R"({"prompt":[[1],[1.5]]})",
                                           R"({"prompt":null})",
                                           R"({"prompt":true})",
                                           R"({"prompt":[1e300]})"};
  for (const std::string& body : bodies) {
    GenerationRequest request;
    const auto error = parse_completion_request(body, bounds(), &request);
    ASSERT_TRUE(error) << body.substr(0, 60);
    EXPECT_EQ(error->status, 400) << body.substr(0, 60);
  }
}

TEST(CompletionRequest, ReadsEveryFormOfPrompt) {
  GenerationRequest request;
  ASSERT_FALSE(parse_completion_request(R"({"prompt":[1,2.0,999]})", bounds(), &request));
  EXPECT_EQ(std::get<1>(request.prompts.at(0)), (std::vector<int32_t>{1, 2, 999}));
  request = {};
  ASSERT_FALSE(parse_completion_request(R"({"prompt":["a","b"],"n":2})", bounds(), &request));
  EXPECT_EQ(request.prompts.size(), 2U);
  request = {};
  ASSERT_FALSE(parse_completion_request(R"({"prompt":[[1],[2,3]]})", bounds(), &request));
  EXPECT_EQ(std::get<1>(request.prompts.at(1)), (std::vector<int32_t>{2, 3}));
  request = {};
  const auto error =
      parse_completion_request(R"({"prompt":["a","b"],"n":100})", bounds(), &request);
  ASSERT_TRUE(error) << "prompts x n is limited together";
  EXPECT_EQ(error->param, "n");
}

TEST(CompletionRequest, ReadsFieldsAndDefaults) {
  GenerationRequest request;
  ASSERT_FALSE(completion("", &request));
  EXPECT_EQ(request.max_tokens, 16);
  EXPECT_FALSE(request.sampling.temperature);
  EXPECT_EQ(request.n_logprobs, -1);
  request = {};
  ASSERT_FALSE(completion(
      R"("temperature":0,"top_k":-1,"seed":-7,"stop":"x","stop_token_ids":[5],"logit_bias":{"7":-100},
      "echo":true,"logprobs":1,"max_tokens":0,"include_stop_str_in_output":true,"ignore_eos":true,"min_tokens":3,
      "return_token_ids":true,"best_of":1,"length_penalty":1.0,"response_format":{"type":"text"},"unknown":{"a":[1]},
      "priority":-3,"top_p":null,"user":"u","metadata":{"a":"b"},"store":true,"service_tier":"auto",
      "typical_p":1,"mirostat":0,"repeat_penalty":1.0,"xtc_probability":0.0,"dry_multiplier":0,"top_n_sigma":-1,
      "use_beam_search":false,"include_reasoning":true,"modalities":["text"],"n_probs":0,"guided_json":null)",
      &request));
  EXPECT_EQ(request.sampling.temperature, 0.0);
  EXPECT_EQ(request.sampling.seed, -7);
  EXPECT_EQ(request.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(request.sampling.logit_bias.at(0), (std::pair<int32_t, float>{7, -100.0F}));
  EXPECT_EQ(request.n_prompt_logprobs, 1) << "echo with logprobs scores the prompt";
  EXPECT_EQ(request.max_tokens, 0);
  EXPECT_FALSE(request.sampling.top_p) << "null is absent";
  EXPECT_EQ(request.priority, -3);
}

TEST(CompletionRequest, SentencesNameTheFieldAndTheRemedy) {
  EXPECT_EQ(completion(R"("guided_regex":"a")")->message,
            "guided_regex is not served: output cannot be constrained by a grammar here");
  EXPECT_EQ(completion(R"("n_predict":5)")->message,
            "n_predict is not served: the field's name here is max_tokens");
  EXPECT_EQ(completion(R"("max_tokens":-1)")->message, "max_tokens must be at least 0");
  EXPECT_EQ(completion(R"("n":1000)")->message, "n must be between 1 and 128");
  GenerationRequest request;
  EXPECT_EQ(parse_completion_request(" \n", bounds(), &request)->message,
            "the body is empty: a JSON object is expected");
}

TEST(ChatRequest, RefusesWrongFields) {
  const std::vector<Bad> cases = {
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("logprobs":1)", "logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_completion_tokens":0)", "max_completion_tokens"},
      {R"("tools":{})", "tools"},
      {R"("tools":[{"type":"function"}])", "tools"},
      {R"("tool_choice":"required")", "tool_choice", 501},
      {R"("tool_choice":{"type":"function"})", "tool_choice", 501},
      {R"("chat_template":"{{ 1 }}")", "chat_template", 501},
      {R"("echo":true)", "echo", 501},
      {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
      {R"("documents":{})", "documents"},
      {R"("continue_final_message":true,"add_generation_prompt":true)", "continue_final_message"},
      {R"("functions":[])", "functions", 501},
  };
  for (const Bad& bad : cases) {
    const auto error = chat(bad.fields);
    ASSERT_TRUE(error) << bad.fields;
    EXPECT_EQ(error->status, bad.status) << bad.fields;
    EXPECT_EQ(error->param, bad.param) << bad.fields;
  }
}

TEST(ChatRequest, RefusesWrongMessages) {
  for (const char* messages :
       {"[]", "{}", "5", "[5]", R"([{"content":"x"}])", R"([{"role":5,"content":"x"}])",
        R"([{"role":"user"}])", R"([{"role":"user","content":5}])",
        R"([{"role":"user","content":[{"text":"x"}]}])",
        R"([{"role":"user","content":[{"type":"text"}]}])",
        R"([{"role":"assistant","content":null,"tool_calls":5}])"}) {
    GenerationRequest request;
    const auto error =
        parse_chat_request(std::string(R"({"messages":)") + messages + "}", bounds(), &request);
    ASSERT_TRUE(error) << messages;
    EXPECT_EQ(error->status, 400) << messages;
    EXPECT_EQ(error->param, "messages") << messages;
  }
  GenerationRequest request;
  const auto image = parse_chat_request(
      R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})",
      bounds(), &request);
  ASSERT_TRUE(image);
  EXPECT_EQ(image->status, 501);
}

TEST(ChatRequest, JoinsPartsAndOpensArguments) {
  GenerationRequest request;
  ASSERT_FALSE(parse_chat_request(
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
          {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]}],
          "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto","logprobs":true,"top_logprobs":3,
          "max_tokens":9,"max_completion_tokens":7,"reasoning_effort":"low"})",
      bounds(), &request));
  EXPECT_NE(request.messages_json.find(R"("content":"a\nb")"), std::string::npos);
  EXPECT_NE(request.messages_json.find(R"("arguments":{"x":1})"), std::string::npos);
  EXPECT_EQ(request.template_kwargs_json, R"({"reasoning_effort":"low"})");
  EXPECT_EQ(request.n_logprobs, 3);
  EXPECT_EQ(request.max_tokens, 7) << "max_completion_tokens wins";
  EXPECT_TRUE(request.add_generation_prompt);
}

TEST(TokenizeRequest, EitherPromptOrMessages) {
  TokenizeRequest request;
  ASSERT_FALSE(parse_tokenize_request(R"({"prompt":"x"})", bounds(), &request));
  EXPECT_EQ(request.prompt, "x");
  EXPECT_TRUE(parse_tokenize_request(R"({"prompt":5})", bounds(), &request));
  TokenizeRequest none;
  EXPECT_TRUE(parse_tokenize_request(R"({})", bounds(), &none));
  DetokenizeRequest ids;
  EXPECT_TRUE(parse_detokenize_request(R"({"tokens":[1000]})", bounds(), &ids));
  EXPECT_TRUE(parse_detokenize_request(R"({})", bounds(), &ids));
  EXPECT_FALSE(parse_detokenize_request(R"({"tokens":[1,2]})", bounds(), &ids));
}

}  // namespace
}  // namespace trireme::router
