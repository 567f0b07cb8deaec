// `trireme chat`: a conversation with a served model in the terminal; tokens/s and cost of each
// answer.
//
// Reads lines from stdin, streams the answer to stdout, keeps the conversation. Ctrl-C ends an
// answer; an empty line or the end of the input ends the chat.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/http_stream.h"
#include "cli/usage_error.h"

namespace trireme::cli {
namespace {

struct Options {
  std::string url = "http://127.0.0.1:8000";
  std::string key;
  std::string system;
  std::string message;
  double temperature = -1;
  int max_tokens = 0;
  bool json = false;
};

volatile sig_atomic_t g_interrupted = 0;  // a signal handler has no other place to write to

void on_interrupt(int) { g_interrupted = 1; }

struct Answer {
  std::string text;
  int64_t n_output = 0;
  double cost_usd = 0;
  int64_t begin_ns = 0;
  int64_t last_ns = 0;
  std::string error;
};

void take_event(std::string_view payload, int64_t now_ns, bool print, Answer* answer) {
  const auto event = parse_json(payload, JsonLimits{});
  if (!event.ok()) {
    answer->error = "the server sent an event that is " + event.error().message;
    return;
  }
  if (event->contains("error")) {
    answer->error = (*event)["error"].value("message", "the server failed");
    return;
  }
  if (event->contains("usage") && (*event)["usage"].is_object()) {
    const Json& usage = (*event)["usage"];
    answer->n_output = usage.value("completion_tokens", int64_t{0});
    if (usage.contains("cost")) answer->cost_usd = usage["cost"].value("usd", 0.0);
  }
  if (!event->contains("choices") || (*event)["choices"].empty()) return;
  const Json& delta = (*event)["choices"][0].value("delta", Json::object());
  const std::string piece = delta.contains("content") && delta["content"].is_string()
                                ? delta["content"].get<std::string>()
                                : "";
  if (piece.empty()) return;
  answer->last_ns = now_ns;
  answer->text += piece;
  if (!print) return;
  std::fwrite(piece.data(), 1, piece.size(), stdout);
  std::fflush(stdout);
}

Json request_of(const Options& options, const Json& messages) {
  Json request = {
      {"messages", messages}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  if (options.temperature >= 0) request["temperature"] = options.temperature;
  if (options.max_tokens > 0) request["max_completion_tokens"] = options.max_tokens;
  return request;
}

Result<Answer> ask(const Url& url, const Options& options, const Json& messages) {
  const SystemClock clock;
  HttpStream http;
  TRY(http.connect(url));
  const std::string headers =
      options.key.empty() ? "" : "Authorization: Bearer " + options.key + "\r\n";
  TRY(http.send("POST", "/v1/chat/completions", request_of(options, messages).dump(), headers));
  Answer answer;
  answer.begin_ns = clock.now_ns();
  g_interrupted = 0;
  auto state = HttpStream::State::kRunning;
  while (state == HttpStream::State::kRunning && g_interrupted == 0) {
    state = http.feed(true, [&](std::string_view payload) {
      take_event(payload, clock.now_ns(), !options.json, &answer);
    });
  }
  if (g_interrupted != 0) return answer;  // hanging up cancels what is left
  if (http.status() != 200) {
    const auto reply = parse_json(http.body(), JsonLimits{});
    if (reply.ok() && reply->is_object() && reply->contains("error")) {
      return failed_precondition(
          (*reply)["error"].value("message", "the server refused the request"));
    }
    return unavailable(fmt::format("the server answered with status {}", http.status()));
  }
  if (state == HttpStream::State::kFailed) return unavailable("the server closed the connection");
  if (!answer.error.empty()) return unavailable(answer.error);
  return answer;
}

// The rate counts from the question on: pieces may arrive in bursts, and a burst must not look like
// speed.
void print_figures(const Answer& answer, bool json) {
  const double seconds = static_cast<double>(answer.last_ns - answer.begin_ns) * 1e-9;
  const double rate =
      answer.last_ns > answer.begin_ns ? static_cast<double>(answer.n_output) / seconds : 0;
  if (json) {
    const Json line = {{"text", answer.text},
                       {"tokens", answer.n_output},
                       {"tokens_per_s", rate},
                       {"cost_usd", answer.cost_usd}};
    std::printf("%s\n", line.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    return;
  }
  std::printf("\n");
  std::fflush(stdout);
  if (answer.n_output == 0) return;  // interrupted: nobody knows
  std::fprintf(stderr, "  [%lld tokens, %.1f tokens/s, $ %.9f]\n",
               static_cast<long long>(answer.n_output), rate, answer.cost_usd);
}

int run(const Options& options) {
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.message.c_str());
    return 1;
  };
  const auto url = parse_url(options.url);
  if (!url.ok()) return fail(url.error());
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  Json messages = Json::array();
  if (!options.system.empty())
    messages.push_back({{"role", "system"}, {"content", options.system}});
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  const bool once = !options.message.empty();
  while (true) {
    std::string line = options.message;
    if (!once) {
      if (terminal) std::fprintf(stderr, "> ");
      if (!std::getline(std::cin, line) || line.empty()) break;
    }
    messages.push_back({{"role", "user"}, {"content", line}});
    const auto answer = ask(*url, options, messages);
    if (!answer.ok()) return fail(answer.error());
    print_figures(*answer, options.json);
    messages.push_back({{"role", "assistant"}, {"content", answer->text}});
    if (once) break;
  }
  return 0;
}

}  // namespace

int run_chat(int argc, char** argv) {
  Options options;
  CLI::App app{"Talk to a served model; an empty line ends the chat.", "trireme chat"};
  app.add_option("--url", options.url, "the server, http://HOST:PORT");
  app.add_option("--key", options.key, "API key");
  app.add_option("--system", options.system, "system message");
  app.add_option("--message,-m", options.message, "ask this one question and end");
  app.add_option("--temperature", options.temperature)->check(CLI::Range(0.0, 2.0));
  app.add_option("--max-tokens", options.max_tokens)->check(CLI::Range(1, 1'000'000));
  app.add_flag("--json", options.json, "one JSON line per answer");
  app.footer("Example: trireme chat --url http://127.0.0.1:8000 -m \"What is Trireme?\"");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  return run(options);
}

}  // namespace trireme::cli
