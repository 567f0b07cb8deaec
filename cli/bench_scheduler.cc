// `trireme bench scheduler`: the time to plan one step, and the coordinator's whole cycle around
// it.
//
// schedule: the pure function alone, on a snapshot of N running sequences. cycle: everything that a
// coordinator does for one step of N decoding sequences: check and apply the result, book its
// costs, commit the next plan and hash its shape, hand the plan and the tokens to their links, plan
// ahead. The links take what they are given; wire adds to the cycle what the real ones do besides
// writing to a socket: decode the result, check and encode the plan and the token batch. Figures
// are medians over steps; the limit is the budget that the project set for a step.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "coordinator/coordinator.h"
#include "coordinator/schedule/schedule.h"
#include "parallel/wire/codec.h"

namespace trireme::cli {
namespace {

using coordinator::RunningSequence;

constexpr double kLimitUs = 100;  // per step at 1,024 running sequences
constexpr int32_t kBlockSize = 16;
constexpr int32_t kContext = 4096;
constexpr int32_t kPrompt = 100;

int64_t now_ns() { return SystemClock().now_ns(); }

struct Percentiles {
  double median_us = 0, p99_us = 0;
};

Percentiles measure(int n_rounds, const std::function<void()>& before,
                    const std::function<void()>& timed) {
  std::vector<double> us;
  for (int i = 0; i < n_rounds; ++i) {
    before();
    const int64_t start = now_ns();
    timed();
    us.push_back(static_cast<double>(now_ns() - start) * 1e-3);
  }
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us[us.size() * 99 / 100]};
}

void print(const std::string& what, const char* includes, int n_running, int n_waiting,
           const Percentiles& p) {
  Json line;
  line["what"] = "scheduler." + what;
  line["includes"] = includes;
  line["shape"] = fmt::format("{} running, {} waiting, decode", n_running, n_waiting);
  line["figure"] = p.median_us;
  line["p99"] = p.p99_us;
  line["unit"] = "us/step";
  line["limit"] = kLimitUs;
  line["percent_of_limit"] = p.median_us / kLimitUs * 100;
  line["machine"] = machine_description();
  line["commit"] = checkout_commit();
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

SchedulerConfig config_for(int n_running) {
  SchedulerConfig config;
  config.block_size = kBlockSize;
  config.max_running = n_running;
  config.max_waiting = 2 * n_running;
  config.max_step_tokens = n_running + 512;
  return config;
}

Percentiles bench_schedule(int n_running, int n_rounds) {
  const SchedulerConfig config = config_for(n_running);
  std::vector<RunningSequence> running;
  for (int i = 0; i < n_running; ++i) {
    RunningSequence r;
    r.slot = static_cast<uint32_t>(i);
    r.sequence = SequenceId(static_cast<uint64_t>(i) + 1);
    r.arrival = static_cast<uint64_t>(i);
    r.n_computed = r.n_planned = kPrompt + i % 1000;
    r.n_goal = r.n_computed + 1;
    r.n_limit = kContext;
    r.n_blocks = coordinator::blocks_for(r.n_computed, kBlockSize);
    running.push_back(r);
  }
  const std::vector<coordinator::TenantShare> tenants(1);
  coordinator::Snapshot snapshot;
  snapshot.running = running;
  snapshot.tenants = tenants;
  snapshot.n_blocks = snapshot.n_free_blocks = 1 << 20;
  snapshot.n_resident = n_running;
  size_t n_spans = 0;
  const Percentiles p = measure(
      n_rounds, [] {}, [&] { n_spans += coordinator::schedule(snapshot, config).spans.size(); });
  CHECK_EQ(n_spans, static_cast<size_t>(n_rounds) * static_cast<size_t>(n_running));
  return p;
}

// Ranks that answer every plan with a token per sequence. The answer is made when it is asked for,
// so that its making is no part of the cycle.
class EchoRanks final : public step::CoordinatorLink {
 public:
  explicit EchoRanks(bool encodes) : encodes_(encodes) {}

  int n_ranks() const override { return 1; }
  Status send(const step::RankCommand& command) override {
    if (encodes_) {
      TRY(wire::check(command));
      n_bytes += wire::encode(command).size();
    }
    if (const auto* plan = std::get_if<step::StepPlan>(&command)) {
      header_ = plan->header;
      sampled_.clear();
      for (const step::SequenceSpan& span : plan->spans) {
        if (span.sample) sampled_.push_back(span.id);
      }
    }
    return {};
  }
  std::optional<step::RankEvent> receive(int64_t) override { return std::nullopt; }
  int event_fd() const override { return -1; }

  size_t n_sampled() const { return sampled_.size(); }
  step::RankEvent answer() const {
    step::StepResult result;
    result.header = header_;
    result.outputs.reserve(sampled_.size());
    for (const SequenceId id : sampled_) result.outputs.push_back({id, 7, {}, {}});
    return result;
  }

  size_t n_bytes = 0;

 private:
  const bool encodes_;
  step::StepHeader header_;
  std::vector<SequenceId> sampled_;
};

class NullSink final : public coordinator::RouterSink {
 public:
  explicit NullSink(bool encodes) : encodes_(encodes) {}
  void publish(coordinator::RouterId, wire::TokenBatch& batch) override {
    n_tokens += batch.updates.size();
    if (!encodes_) return;
    wire::FromReplica message(std::move(batch));
    CHECK(wire::check(message).ok());
    n_bytes += wire::encode(message).size();
    batch = std::get<wire::TokenBatch>(std::move(message));
  }
  size_t n_tokens = 0;
  size_t n_bytes = 0;

 private:
  const bool encodes_;
};

Percentiles bench_cycle(int n_running, int n_waiting, int n_rounds, bool wire) {
  coordinator::CoordinatorOptions options;
  options.scheduler = config_for(n_running);
  options.model = "bench";
  options.replica = "replica-0";
  options.vocab = 1000;
  options.context = kContext;
  const SystemClock clock;
  EchoRanks ranks(wire);
  NullSink sink(wire);
  MetricsRegistry metrics;
  coordinator::Coordinator c(options, clock, ranks, sink, metrics);
  const auto must = [](const Status& status) { CHECK(status.ok()) << status.error().message; };
  must(c.on_rank_event(step::RankReady{.worker_rank = 0, .n_kv_blocks = 1 << 20}));
  for (int i = 0; i < n_running + n_waiting; ++i) {
    wire::Submit submit;
    submit.request = static_cast<uint64_t>(i);
    for (int k = 0; k < kPrompt; ++k) submit.tokens.push_back((i * 31 + k) % 1000);
    submit.n_prompt = kPrompt;
    submit.max_tokens = kContext;
    c.submit(coordinator::RouterId(0), std::move(submit));
  }
  step::RankEvent event;
  std::string encoded;
  const auto before = [&] {
    event = ranks.answer();
    if (wire) encoded = wire::encode(event);
  };
  const auto cycle = [&] {
    if (wire) {
      Result<step::RankEvent> decoded = wire::decode_rank_event(encoded);
      CHECK(decoded.ok()) << decoded.error().message;
      event = std::move(*decoded);
    }
    must(c.on_rank_event(std::move(event)));
    must(c.tick(clock.now_ns()));
  };
  must(c.tick(clock.now_ns()));
  while (ranks.n_sampled() < static_cast<size_t>(n_running)) {
    before();
    cycle();
  }
  return measure(n_rounds, before, cycle);
}

}  // namespace

int run_bench_scheduler(int argc, char** argv) {
  std::vector<int> sizes = {64, 256, 1024};
  int n_rounds = 2000;
  CLI::App app{"The time to plan one step, as JSON lines.", "trireme bench scheduler"};
  app.footer("Example: trireme bench scheduler --running 1024");
  app.add_option("--running", sizes, "running sequences")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--rounds", n_rounds, "steps per figure")->check(CLI::Range(1, 3000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  for (const int n_running : sizes) {
    print("schedule", "the choice of the next step's tokens", n_running, 0,
          bench_schedule(n_running, n_rounds));
    for (const int n_waiting : {0, n_running}) {
      print("cycle", "apply, book, plan, publish, plan ahead: the whole of a step", n_running,
            n_waiting, bench_cycle(n_running, n_waiting, n_rounds, false));
    }
    print("cycle_with_wire", "the cycle, and the codecs of the step link and the router link",
          n_running, 0, bench_cycle(n_running, 0, n_rounds, true));
  }
  return 0;
}

}  // namespace trireme::cli
