// `trireme bench serve`: load on a running server, and what its users felt.
//
// N requests, either `--concurrency` at a time (closed loop) or `--rate` per second whatever the
// server does (open loop, exponential gaps from a seed). Times are the client's own: TTFT to the
// first text, ITL per gap between two events, TPOT = (E2E - TTFT) / (tokens - 1); goodput counts
// requests that met every SLO. One JSON line at the end.
#include <fmt/format.h>
#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/commands.h"
#include "cli/http_stream.h"
#include "cli/usage_error.h"

namespace trireme::cli {
namespace {

constexpr int64_t kStallNs = 300'000'000'000;  // a request that is silent for so long has failed

struct Options {
  std::string url = "http://127.0.0.1:8000";
  std::string key;
  int n_requests = 64;
  int concurrency = 8;
  double rate = 0;  // requests per second; 0: closed loop
  int prompt_tokens = 64;
  int output_tokens = 64;
  double slo_ttft_ms = 1000;
  double slo_tpot_ms = 100;
  uint64_t seed = 1;
};

struct Running {
  HttpStream http;
  int64_t begin_ns = 0;
  int64_t first_ns = 0;
  int64_t last_ns = 0;
  int64_t n_output = 0;
  double cost_usd = 0;
  bool failed = false;
};

struct Totals {
  std::vector<double> ttft_ms, tpot_ms, itl_ms, e2e_ms;
  int64_t n_output = 0;
  int64_t n_failed = 0;
  int64_t n_good = 0;
  double cost_usd = 0;
  std::string first_failure;
};

Json percentiles(std::vector<double>& values) {
  if (values.empty()) return nullptr;
  std::sort(values.begin(), values.end());
  const auto at = [&](double p) {
    return values[static_cast<size_t>(p * static_cast<double>(values.size() - 1))];
  };
  double sum = 0;
  for (const double v : values) sum += v;
  return {{"mean", sum / static_cast<double>(values.size())},
          {"p50", at(0.5)},
          {"p90", at(0.9)},
          {"p99", at(0.99)}};
}

// The model that the server names, and what it can hold.
struct Served {
  std::string model;
  int64_t context = 0;
  int32_t vocab_guess = 256;
};

std::string auth(const Options& options) {
  return options.key.empty() ? "" : "Authorization: Bearer " + options.key + "\r\n";
}

Result<Served> ask_model(const Url& url, const Options& options) {
  HttpStream http;
  TRY(http.connect(url));
  TRY(http.send("GET", "/v1/models", "", auth(options)));
  while (http.feed(true, [](std::string_view) {}) == HttpStream::State::kRunning) {
  }
  const auto reply = parse_json(http.body(), JsonLimits{});
  if (http.status() != 200 || !reply.ok() || !reply->contains("data") || (*reply)["data"].empty()) {
    return unavailable(
        fmt::format("GET /v1/models answers {}: {}", http.status(), http.body().substr(0, 200)));
  }
  const Json& model = (*reply)["data"][0];
  return Served{model.value("id", ""), model.value("max_model_len", int64_t{0})};
}

// Prompts share no prefix but by chance, so that the prefix cache does not answer for the model.
std::string make_body(const Served& served, const Options& options, std::mt19937_64& random) {
  Json prompt = Json::array();
  for (int i = 0; i < options.prompt_tokens; ++i)
    prompt.push_back(random() % static_cast<uint64_t>(served.vocab_guess));
  return Json{{"model", served.model},
              {"prompt", prompt},
              {"max_tokens", options.output_tokens},
              {"stream", true},
              {"ignore_eos", true},
              {"temperature", 0},
              {"return_token_ids", true},
              {"stream_options", {{"include_usage", true}}}}
      .dump();
}

void take_event(Running& running, std::string_view payload, int64_t now_ns, Totals& totals) {
  const auto event = parse_json(payload, JsonLimits{});
  if (!event.ok() || event->contains("error")) {
    running.failed = true;
    if (totals.first_failure.empty()) totals.first_failure = std::string(payload.substr(0, 300));
    return;
  }
  if (event->contains("usage") && (*event)["usage"].is_object()) {
    const Json& usage = (*event)["usage"];
    if (usage.contains("cost")) running.cost_usd = usage["cost"].value("usd", 0.0);
  }
  if (!event->contains("choices") || (*event)["choices"].empty()) return;
  const Json& choice = (*event)["choices"][0];
  const auto n =
      choice.contains("token_ids") ? static_cast<int64_t>(choice["token_ids"].size()) : int64_t{0};
  if (n == 0) return;
  if (running.first_ns == 0) {
    running.first_ns = now_ns;
  } else {
    totals.itl_ms.push_back(static_cast<double>(now_ns - running.last_ns) * 1e-6);
  }
  running.last_ns = now_ns;
  running.n_output += n;
}

void settle(const Running& running, HttpStream::State state, const Options& options,
            Totals& totals) {
  if (state != HttpStream::State::kDone || running.http.status() != 200 || running.failed ||
      running.first_ns == 0) {
    ++totals.n_failed;
    if (totals.first_failure.empty()) {
      totals.first_failure =
          fmt::format("status {}: {}", running.http.status(), running.http.body().substr(0, 300));
    }
    return;
  }
  const double ttft_ms = static_cast<double>(running.first_ns - running.begin_ns) * 1e-6;
  const double e2e_ms = static_cast<double>(running.last_ns - running.begin_ns) * 1e-6;
  totals.ttft_ms.push_back(ttft_ms);
  totals.e2e_ms.push_back(e2e_ms);
  totals.n_output += running.n_output;
  totals.cost_usd += running.cost_usd;
  double tpot_ms = 0;
  if (running.n_output > 1) {
    tpot_ms = (e2e_ms - ttft_ms) / static_cast<double>(running.n_output - 1);
    totals.tpot_ms.push_back(tpot_ms);
  }
  if (ttft_ms <= options.slo_ttft_ms && tpot_ms <= options.slo_tpot_ms) ++totals.n_good;
}

class Load {
 public:
  Load(const Options& options, const Url& url, const Served& served)
      : options_(options), url_(url), served_(served), random_(options.seed) {}

  Result<Totals> run() {
    int64_t next_ns = clock_.now_ns();
    while (n_started_ < options_.n_requests || !running_.empty()) {
      const int64_t now_ns = clock_.now_ns();
      while (n_started_ < options_.n_requests && may_start(now_ns, next_ns)) {
        TRY(start());
        if (options_.rate > 0) {
          std::exponential_distribution<double> gap(options_.rate);
          next_ns += static_cast<int64_t>(gap(random_) * 1e9);
        }
      }
      wait(next_ns);
    }
    return std::move(totals_);
  }

 private:
  bool may_start(int64_t now_ns, int64_t next_ns) const {
    if (options_.rate > 0) return now_ns >= next_ns;
    return static_cast<int>(running_.size()) < options_.concurrency;
  }

  Status start() {
    auto running = std::make_unique<Running>();
    TRY(running->http.connect(url_));
    running->begin_ns = clock_.now_ns();
    running->last_ns = running->begin_ns;
    TRY(running->http.send("POST", "/v1/completions", make_body(served_, options_, random_),
                           auth(options_)));
    ++n_started_;
    running_.push_back(std::move(running));
    return {};
  }

  void wait(int64_t next_ns) {
    std::vector<pollfd> fds;
    for (const auto& running : running_) fds.push_back({running->http.fd(), POLLIN, 0});
    int timeout_ms = 1000;
    if (options_.rate > 0 && n_started_ < options_.n_requests) {
      timeout_ms =
          static_cast<int>(std::clamp<int64_t>((next_ns - clock_.now_ns()) / 1'000'000, 0, 1000));
    }
    ::poll(fds.data(), fds.size(), timeout_ms);
    for (size_t i = 0; i < fds.size(); ++i) {
      Running& running = *running_[i];
      auto state = HttpStream::State::kRunning;
      if (fds[i].revents != 0) {
        state = running.http.feed(false, [&](std::string_view payload) {
          take_event(running, payload, clock_.now_ns(), totals_);
        });
      } else if (clock_.now_ns() - running.last_ns > kStallNs) {
        state = HttpStream::State::kFailed;
      }
      if (state == HttpStream::State::kRunning) continue;
      settle(running, state, options_, totals_);
      running_[i].reset();
    }
    std::erase(running_, nullptr);
  }

  const Options& options_;
  const Url& url_;
  const Served& served_;
  SystemClock clock_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Running>> running_;
  int n_started_ = 0;
  Totals totals_;
};

Status run(const Options& options) {
  ASSIGN_OR_RETURN(const Url url, parse_url(options.url));
  ASSIGN_OR_RETURN(const Served served, ask_model(url, options));
  if (served.context > 0 && options.prompt_tokens + options.output_tokens > served.context) {
    return invalid_argument(fmt::format("{} + {} tokens do not fit the context of {}",
                                        options.prompt_tokens, options.output_tokens,
                                        served.context));
  }
  const SystemClock clock;
  const int64_t begin_ns = clock.now_ns();
  Load load(options, url, served);
  ASSIGN_OR_RETURN(Totals totals, load.run());
  const double seconds = static_cast<double>(clock.now_ns() - begin_ns) * 1e-9;
  Json line;
  line["what"] = "serve";
  line["shape"] = fmt::format("{} requests, {}, {} prompt and {} output tokens", options.n_requests,
                              options.rate > 0 ? fmt::format("{} per second", options.rate)
                                               : fmt::format("{} at a time", options.concurrency),
                              options.prompt_tokens, options.output_tokens);
  line["figure"] = static_cast<double>(totals.n_output) / seconds;
  line["unit"] = "output tokens/s";
  line["seconds"] = seconds;
  line["requests_per_s"] = static_cast<double>(options.n_requests - totals.n_failed) / seconds;
  line["ttft_ms"] = percentiles(totals.ttft_ms);
  line["tpot_ms"] = percentiles(totals.tpot_ms);
  line["itl_ms"] = percentiles(totals.itl_ms);
  line["e2e_ms"] = percentiles(totals.e2e_ms);
  line["goodput_per_s"] = static_cast<double>(totals.n_good) / seconds;
  line["slo"] = {{"ttft_ms", options.slo_ttft_ms}, {"tpot_ms", options.slo_tpot_ms}};
  line["failed"] = totals.n_failed;
  line["cost_usd"] = totals.cost_usd;
  line["machine"] = machine_description();
  line["commit"] = checkout_commit();
  std::printf("%s\n", line.dump().c_str());
  if (totals.n_failed > 0) {
    return unavailable(
        fmt::format("{} requests failed; the first: {}", totals.n_failed, totals.first_failure));
  }
  return {};
}

}  // namespace

int run_bench_serve(int argc, char** argv) {
  Options options;
  CLI::App app{"Load on a running server: TTFT, TPOT, ITL percentiles and goodput.",
               "trireme bench serve"};
  app.add_option("--url", options.url, "the server, http://HOST:PORT");
  app.add_option("--key", options.key, "API key");
  app.add_option("--requests", options.n_requests, "how many in all")
      ->check(CLI::Range(1, 10'000'000));
  app.add_option("--concurrency", options.concurrency, "how many at a time")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--rate", options.rate, "how many per second, instead")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--prompt-tokens", options.prompt_tokens)->check(CLI::Range(1, 1'000'000));
  app.add_option("--output-tokens", options.output_tokens)->check(CLI::Range(1, 1'000'000));
  app.add_option("--slo-ttft-ms", options.slo_ttft_ms, "a good request's TTFT is at most this");
  app.add_option("--slo-tpot-ms", options.slo_tpot_ms, "a good request's TPOT is at most this");
  app.add_option("--seed", options.seed, "of prompts and arrivals");
  bool json = true;
  app.add_flag("--json", json, "the line is always JSON");
  app.footer(
      "Example: trireme bench serve --url http://127.0.0.1:8000 --requests 200 --concurrency 32");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const Status status = run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", status.error().message.c_str());
  return 1;
}

}  // namespace trireme::cli
