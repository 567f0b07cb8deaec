// The API end to end: streams, choices, log-probabilities, stop strings, keys and limits.
#include <set>

#include "router/admit/keys.h"
#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

using testing::expected_token;
using testing::HttpClient;
using testing::post;
using testing::TestReplica;
using testing::TestReplicaOptions;

class ApiTest : public RouterFixture {
 protected:
  Json ask(const std::string& path, const std::string& body, int status = 200,
           const std::string& headers = "") {
    HttpClient client(router_->port());
    const auto reply = client.request("POST", path, body, headers);
    EXPECT_EQ(reply.status, status) << reply.body;
    last_headers_ = reply.headers;
    return parse(reply.body);
  }
  std::vector<Json> stream(const std::string& path, const std::string& body) {
    HttpClient client(router_->port());
    client.send(post(path, body));
    const auto head = client.read_head();
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.at("content-type"), "text/event-stream; charset=utf-8");
    last_headers_ = head.headers;
    std::vector<Json> events;
    for (const std::string& event : client.read_events()) events.push_back(parse(event));
    EXPECT_TRUE(client.saw_done());
    return events;
  }
  // A replica that spells `text` over and over.
  TestReplicaOptions spelling(const std::string& text) {
    auto options = replica_options();
    options.script = encode(text);
    return options;
  }
  std::map<std::string, std::string> last_headers_;
};

TEST_F(ApiTest, ChatStreamEqualsWhole) {
  start_router();
  auto options = spelling("Hello wörld 世界! ");
  options.stop_at = 25;
  TestReplica replica(options);
  wait_ready(1);
  const std::string common =
      R"({"model":"trireme-demo","messages":[{"role":"user","content":"hi"}],"max_tokens":50)";
  const Json whole = ask("/v1/chat/completions", common + "}");
  const auto events = stream("/v1/chat/completions",
                             common + R"(,"stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_EQ(whole["object"], "chat.completion");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(whole["choices"][0]["stop_reason"], nullptr);
  EXPECT_EQ(whole["usage"]["completion_tokens"], 26);
  EXPECT_GT(whole["usage"]["cost"]["usd"], 0.0);
  ASSERT_GT(events.size(), 4U);
  EXPECT_EQ(events[0]["choices"][0]["delta"].dump(), R"({"role":"assistant","content":""})");
  std::string text;
  int n_finish = 0;
  for (size_t i = 1; i + 1 < events.size(); ++i) {
    const Json& choice = events[i]["choices"][0];
    if (choice["finish_reason"].is_null()) {
      EXPECT_FALSE(choice["delta"]["content"].get<std::string>().empty()) << "no empty delta";
      text += choice["delta"]["content"];
    } else {
      ++n_finish;
      EXPECT_EQ(choice["delta"].dump(), "{}");
    }
    EXPECT_EQ(events[i]["usage"], nullptr);
  }
  EXPECT_EQ(n_finish, 1);
  EXPECT_EQ(text, whole["choices"][0]["message"]["content"]);
  EXPECT_TRUE(text.starts_with("Hello wörld 世界!")) << text;
  EXPECT_EQ(events.back()["choices"].size(), 0U);
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 26);
  EXPECT_FALSE(last_headers_["x-request-id"].empty());
  EXPECT_FALSE(last_headers_["openai-processing-ms"].empty());
}

TEST_F(ApiTest, SeveralChoicesAndPrompts) {
  start_router();
  const auto options = replica_options();
  TestReplica replica(options);
  wait_ready(1);
  const Json reply = ask(
      "/v1/completions",
      R"({"model":"trireme-demo","prompt":[[5,6],[7]],"n":2,"seed":40,"max_tokens":6,"return_token_ids":true,"ignore_eos":true})");
  ASSERT_EQ(reply["choices"].size(), 4U);
  for (int i = 0; i < 4; ++i) {
    const std::vector<int32_t> prompt =
        i < 2 ? std::vector<int32_t>{5, 6} : std::vector<int32_t>{7};
    EXPECT_EQ(reply["choices"][i]["index"], i);
    EXPECT_EQ(reply["choices"][i]["prompt_token_ids"], Json(prompt));
    for (int k = 0; k < 6; ++k) {
      EXPECT_EQ(reply["choices"][i]["token_ids"][k],
                expected_token(options, prompt, 40 + static_cast<uint64_t>(i % 2), k));
    }
    EXPECT_EQ(reply["choices"][i]["finish_reason"], "length");
  }
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 24);
}

TEST_F(ApiTest, StopStringAcrossTokens) {
  start_router();
  TestReplica replica(spelling("one two three four five six seven "));
  wait_ready(1);
  const std::string body =
      R"({"model":"trireme-demo","prompt":"x","max_tokens":200,"ignore_eos":true,"stop":["e four f"])";
  Json reply = ask("/v1/completions", body + "}");
  EXPECT_EQ(reply["choices"][0]["text"], "one two thre");
  EXPECT_EQ(reply["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(reply["choices"][0]["stop_reason"], "e four f");
  EXPECT_GT(reply["usage"]["cost"]["usd"], 0.0)
      << "the cost of a sequence that was stopped here is known too";
  EXPECT_TRUE(eventually([&] { return replica.cancels().size() == 1; }))
      << "the replica does not go on";
  reply = ask("/v1/completions", body + R"(,"include_stop_str_in_output":true})");
  EXPECT_EQ(reply["choices"][0]["text"], "one two three four f");
  std::string text;
  for (const Json& event : stream("/v1/completions", body + R"(,"stream":true})"))
    text += event["choices"][0]["text"];
  EXPECT_EQ(text, "one two thre");
}

TEST_F(ApiTest, LogprobsInBothFormats) {
  start_router();
  TestReplica replica(spelling("alpha beta gamma "));
  wait_ready(1);
  Json reply = ask("/v1/completions",
                   R"({"model":"trireme-demo","prompt":"x","max_tokens":4,"logprobs":2})");
  const Json& completion = reply["choices"][0]["logprobs"];
  std::string joined;
  for (const Json& token : completion["tokens"]) joined += token;
  EXPECT_EQ(joined, reply["choices"][0]["text"]);
  EXPECT_EQ(completion["token_logprobs"].size(), 4U);
  EXPECT_EQ(completion["text_offset"][0], 0);
  for (const Json& top : completion["top_logprobs"]) EXPECT_EQ(top.size(), 2U);
  reply = ask(
      "/v1/chat/completions",
      R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"logprobs":true,"top_logprobs":3})");
  const Json& content = reply["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 4U);
  std::string bytes;
  for (const Json& entry : content) {
    EXPECT_EQ(entry["top_logprobs"].size(), 3U);
    for (const Json& byte : entry["bytes"]) bytes += static_cast<char>(byte.get<int>());
  }
  EXPECT_EQ(bytes, reply["choices"][0]["message"]["content"]);
  // In a stream, every token's entry arrives once.
  size_t n = 0;
  for (
      const Json& event : stream(
          "/v1/chat/completions",
          R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":9,"logprobs":true,"stream":true})")) {
    const Json& logprobs = event["choices"][0]["logprobs"];
    if (!logprobs.is_null()) n += logprobs["content"].size();
  }
  EXPECT_EQ(n, 9U);
}

TEST_F(ApiTest, EchoScoresAPrompt) {
  start_router();
  TestReplica replica(replica_options());
  wait_ready(1);
  const Json reply = ask(
      "/v1/completions",
      R"({"model":"trireme-demo","prompt":"score this prompt","max_tokens":0,"echo":true,"logprobs":1,"add_special_tokens":false})");
  const Json& choice = reply["choices"][0];
  EXPECT_EQ(choice["text"], "score this prompt");
  const size_t n = encode("score this prompt").size();
  EXPECT_EQ(choice["logprobs"]["tokens"].size(), n);
  EXPECT_EQ(choice["logprobs"]["token_logprobs"][0], nullptr);
  for (size_t i = 1; i < n; ++i) EXPECT_LT(choice["logprobs"]["token_logprobs"][i], 0.0);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 0);
  const Json one = ask(
      "/v1/completions",
      R"({"prompt":[5,6,7],"max_tokens":1,"echo":true,"logprobs":1,"return_tokens_as_token_ids":true})");
  EXPECT_EQ(one["choices"][0]["logprobs"]["tokens"].size(), 4U)
      << "three of the prompt and the new one";
  EXPECT_EQ(one["choices"][0]["logprobs"]["tokens"][0], "token_id:5");
  const Json prompt =
      ask("/v1/completions", R"({"prompt":[5,6,7],"max_tokens":1,"prompt_logprobs":1})");
  ASSERT_EQ(prompt["choices"][0]["prompt_logprobs"].size(), 3U);
  EXPECT_TRUE(prompt["choices"][0]["prompt_logprobs"][2].contains("7"));
}

TEST_F(ApiTest, ContinuousUsageAndTokenIds) {
  start_router();
  const auto options = replica_options();
  TestReplica replica(options);
  wait_ready(1);
  std::vector<int32_t> ids;
  int64_t last = 0;
  for (const Json& event :
       stream("/v1/completions",
              R"({"prompt":[9,9],"seed":3,"max_tokens":12,"stream":true,"ignore_eos":true,
      "stream_options":{"continuous_usage_stats":true},"return_token_ids":true})")) {
    const auto n = event["usage"]["completion_tokens"].get<int64_t>();
    EXPECT_GE(n, last);
    last = n;
    if (event["choices"][0].contains("token_ids")) {
      for (const Json& id : event["choices"][0]["token_ids"]) ids.push_back(id);
    }
  }
  EXPECT_EQ(last, 12);
  ASSERT_EQ(ids.size(), 12U);
  for (int k = 0; k < 12; ++k)
    EXPECT_EQ(ids[static_cast<size_t>(k)], expected_token(options, {9, 9}, 3, k));
}

TEST_F(ApiTest, ErrorsOfTheModelAndTheContext) {
  start_router();
  TestReplica replica(replica_options());
  wait_ready(1);
  EXPECT_EQ(ask("/v1/completions", R"({"model":"gpt-9","prompt":"x"})", 404)["error"]["code"],
            "model_not_found");
  std::string ids = "5";
  for (int32_t i = 1; i < model_.context; ++i) ids += ",5";
  EXPECT_EQ(
      ask("/v1/completions", "{\"prompt\":[" + ids + ",5],\"max_tokens\":1}", 400)["error"]["code"],
      "context_length_exceeded");
  EXPECT_EQ(
      ask("/v1/completions", "{\"prompt\":[" + ids + "],\"max_tokens\":1}", 400)["error"]["code"],
      "context_length_exceeded");
  ids.resize(ids.size() - 2);
  ask("/v1/completions", "{\"prompt\":[" + ids + "],\"max_tokens\":1}", 200);
  EXPECT_EQ(ask("/v1/completions", R"({"prompt":"x","n":1000000000})", 400)["error"]["param"], "n");
}

TEST_F(ApiTest, TokenizeRoundTrip) {
  start_router();
  for (const std::string text : {"hello world", "Grüße, 世界! 🙂", "  spaces\n\ttabs "}) {
    const Json tokens = ask(
        "/tokenize",
        Json{{"prompt", text}, {"add_special_tokens", false}, {"return_token_strs", true}}.dump());
    EXPECT_EQ(tokens["count"], tokens["tokens"].size());
    EXPECT_EQ(tokens["token_strs"].size(), tokens["tokens"].size());
    EXPECT_EQ(ask("/detokenize", Json{{"tokens", tokens["tokens"]}}.dump())["prompt"], text);
  }
  EXPECT_GT(ask("/tokenize", R"({"messages":[{"role":"user","content":"hi"}]})")["count"], 1);
  ask("/detokenize", R"({"tokens":[99999999]})", 400);
}

TEST_F(ApiTest, ModelsHealthPricingUsageExplainMetrics) {
  start_router();
  {
    HttpClient client(router_->port());
    EXPECT_EQ(client.request("GET", "/readiness").status, 503) << "no replica";
    EXPECT_EQ(client.request("GET", "/liveness").status, 200);
  }
  TestReplica replica(replica_options());
  wait_ready(1);
  EXPECT_EQ(get("/v1/models")["data"][0]["id"], "trireme-demo");
  EXPECT_EQ(get("/v1/models/trireme-demo")["id"], "trireme-demo");
  EXPECT_EQ(get("/version")["version"], "0.1.0");
  ask("/v1/completions", R"({"prompt":[5,6,7,8],"max_tokens":3})", 200,
      "x-request-id: my-request-1\r\n");
  EXPECT_EQ(last_headers_["x-request-id"], "my-request-1");
  EXPECT_TRUE(eventually(
      [&] { return get("/v1/pricing")["replicas"][0]["ledger_nano_usd"]["total"] == 100; }));
  const Json pricing = get("/v1/pricing");
  EXPECT_DOUBLE_EQ(pricing["measured_usd_per_million"]["floor"]["input"], 60 / 10.0 * 1e-3);
  EXPECT_EQ(get("/v1/usage")["tenants"][0]["completion_tokens"], 3);
  const Json explain = get("/v1/routing/explain/my-request-1", true);
  EXPECT_EQ(explain["attempts"][0]["chosen"], "replica-0");
  HttpClient admin(router_->admin_port());
  EXPECT_EQ(admin.request("GET", "/v1/routing/explain/unknown").status, 404);
  const std::string metrics = admin.request("GET", "/metrics").body;
  for (const char* series :
       {"trireme_router_requests_total{",
        "trireme_time_to_first_token_seconds_count{model=\"trireme-demo\"} 1",
        "trireme_requests_total{model=\"trireme-demo\",outcome=\"length\"} 1",
        "trireme_router_replicas{state=\"ready\"} 1", "trireme_router_overhead_seconds_count 1"}) {
    EXPECT_NE(metrics.find(series), std::string::npos) << series << "\n" << metrics.substr(0, 3000);
  }
}

std::string hex(const Sha256& hash) {
  std::string out;
  char digits[3];
  for (const uint8_t byte : hash) {
    std::snprintf(digits, sizeof(digits), "%02x", byte);
    out += digits;
  }
  return out;
}

TEST_F(ApiTest, TwoRoutersGrantALimitTogether) {
  config_.router.count = 2;
  config_.keys = {{.name = "alice", .sha256 = hex(sha256("alice-key")), .rpm = 6}};
  start_router();
  auto other = Router::create(config_, model_, {.index = 1, .handle_signals = false}, clock_);
  ASSERT_TRUE(other.ok()) << other.error().message;
  std::thread other_thread([&] { (*other)->run(); });
  TestReplica replica(replica_options());
  auto options = replica_options("replica-1");
  options.router_address = (*other)->wire_address();
  TestReplica other_replica(options);
  const std::string alice = "Authorization: Bearer alice-key\r\n";
  const auto status = [&](int port) {
    HttpClient client(port);
    return client.request("POST", "/v1/completions", R"({"prompt":[5],"max_tokens":5})", alice)
        .status;
  };
  for (const int port : {router_->port(), (*other)->port()}) {
    EXPECT_TRUE(eventually([&] {
      HttpClient client(port);
      return client.request("GET", "/readiness").status == 200;
    }));
  }
  const auto n_admitted = [&] {
    int n = 0;
    for (int i = 0; i < 6; ++i) {
      for (const int port : {router_->port(), (*other)->port()}) {
        const int got = status(port);
        EXPECT_TRUE(got == 200 || got == 429) << got;
        n += got == 200 ? 1 : 0;
      }
    }
    return n;
  };
  EXPECT_EQ(n_admitted(), 6) << "not six each";
  clock_.ahead_ns = 20 * kSecondNs;
  EXPECT_EQ(n_admitted(), 2) << "a third of a minute later";
  (*other)->stop();
  other_thread.join();
}

TEST_F(ApiTest, KeysAndTheirLimits) {
  config_.keys = {{.name = "alice", .sha256 = hex(sha256("alice-key")), .rpm = 3},
                  {.name = "bob", .sha256 = hex(sha256("bob-key")), .tpm = 120},
                  {.name = "root", .sha256 = hex(sha256("root-key")), .admin = true}};
  start_router();
  auto options = replica_options();
  options.hold_at = 5;  // the long streams below never end by themselves
  TestReplica replica(options);
  ASSERT_TRUE(eventually([&] {
    HttpClient client(router_->port());
    return client.request("GET", "/readiness").status == 200;
  })) << "a probe needs no key";
  const std::string body = R"({"prompt":[5],"max_tokens":5})";
  EXPECT_EQ(ask("/v1/completions", body, 401)["error"]["code"], "invalid_api_key");
  EXPECT_EQ(ask("/v1/completions", body, 401, "Authorization: Bearer wrong\r\n")["error"]["code"],
            "invalid_api_key");
  const std::string alice = "Authorization: Bearer alice-key\r\n";
  for (int left = 2; left >= 0; --left) {
    ask("/v1/completions", body, 200, alice);
    EXPECT_EQ(last_headers_["x-ratelimit-limit-requests"], "3");
    EXPECT_EQ(last_headers_["x-ratelimit-remaining-requests"], std::to_string(left));
  }
  EXPECT_EQ(ask("/v1/completions", body, 429, alice)["error"]["code"], "rate_limit_exceeded");
  EXPECT_GT(std::stoi(last_headers_["retry-after"]), 0);
  const std::string bob = "Authorization: Bearer bob-key\r\n";
  ask("/v1/completions", R"({"prompt":[5],"max_tokens":200})", 429, bob);
  // A stream is charged, and settled when its client hangs up.
  for (int i = 0; i < 3; ++i) {
    HttpClient client(router_->port());
    client.send(post(
        "/v1/completions",
        R"({"prompt":[5],"max_tokens":90,"stream":true,"return_token_ids":true,"ignore_eos":true})",
        bob));
    EXPECT_EQ(client.read_head().status, 200) << "what was not generated was given back";
    client.read_events([](const std::string&) { return false; });
    client.close();
    ASSERT_TRUE(eventually([&] {
      return replica.n_running() == 0 && replica.cancels().size() == static_cast<size_t>(i + 1);
    }));
  }
  const std::string root = "Authorization: Bearer root-key\r\n";
  HttpClient admin(router_->admin_port());
  EXPECT_EQ(admin.request("GET", "/metrics").status, 401);
  EXPECT_EQ(admin.request("GET", "/metrics", "", alice).status, 403);
  EXPECT_EQ(admin.request("GET", "/metrics", "", root).status, 200);
  HttpClient client(router_->port());
  const Json own = parse(client.request("GET", "/v1/usage", "", alice).body);
  ASSERT_EQ(own["tenants"].size(), 1U);
  EXPECT_EQ(own["tenants"][0]["tenant"], "alice");
  EXPECT_GE(parse(client.request("GET", "/v1/usage", "", root).body)["tenants"].size(), 2U);
}

TEST_F(ApiTest, StreamsPerKeyAndQueueTimeout) {
  config_.limits.streams_per_key = 2;
  start_router();
  HttpClient first(router_->port()), second(router_->port());
  const std::string body = R"({"prompt":[5],"max_tokens":5})";
  first.send(post("/v1/completions", body));
  second.send(post("/v1/completions", body));
  EXPECT_TRUE(eventually([&] {
    HttpClient client(router_->port());
    return parse(client.request("GET", "/health").body)["queued"] == 2;
  }));
  EXPECT_EQ(ask("/v1/completions", body, 429)["error"]["code"], "rate_limit_exceeded");
  clock_.ahead_ns = config_.limits.queue_timeout_ns;
  EXPECT_EQ(first.read_reply().status, 408) << "no replica came";
  EXPECT_EQ(second.read_reply().status, 408);
}

TEST_F(ApiTest, AReplicaOfAnotherModelIsRefused) {
  start_router();
  auto options = replica_options();
  options.vocab = 7;
  TestReplica replica(options);
  EXPECT_TRUE(
      eventually([&] { return replica.refusal().find("vocabulary") != std::string::npos; }));
}

TEST_F(ApiTest, NoTokenizerServesTokenIds) {
  model_.tokenizer.reset();
  model_.encode_chat = nullptr;
  start_router();
  const auto options = replica_options();
  TestReplica replica(options);
  wait_ready(1);
  const Json reply =
      ask("/v1/completions",
          R"({"prompt":[5],"seed":1,"max_tokens":4,"return_token_ids":true,"logprobs":1})");
  EXPECT_EQ(reply["choices"][0]["token_ids"][0], expected_token(options, {5}, 1, 0));
  EXPECT_TRUE(
      reply["choices"][0]["logprobs"]["tokens"][0].get<std::string>().starts_with("token_id:"));
  EXPECT_NE(ask("/v1/completions", R"({"prompt":"text"})", 400)["error"]["message"]
                .get<std::string>()
                .find("tokenizer"),
            std::string::npos);
  ask("/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}]})", 400);
  ask("/tokenize", R"({"prompt":"x"})", 400);
}

TEST_F(ApiTest, LongPromptsGoThroughThePool) {
  start_router();
  TestReplica replica(replica_options());
  wait_ready(1);
  std::string text;
  while (text.size() < 20'000) text += "words and more words ";
  const std::string body = Json{{"prompt", text}, {"max_tokens", 2}}.dump();
  EXPECT_EQ(ask("/v1/completions", body, 400)["error"]["code"], "context_length_exceeded");
  ask("/v1/completions",
      Json{{"prompt", text}, {"max_tokens", 2}, {"truncate_prompt_tokens", 100}}.dump(), 200);
  EXPECT_EQ(replica.submits().back().n_prompt, 100);
}

}  // namespace
}  // namespace trireme::router
