// A Coordinator over fake ranks, with its news kept: what the unit tests of the coordinator share.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "coordinator/coordinator.h"
#include "tests/sim/coordinator/fake_ranks.h"

namespace trireme::coordinator::testing {

class Harness : public RouterSink {
 public:
  CoordinatorOptions options;
  ManualClock clock;
  MetricsRegistry registry;
  std::unique_ptr<FakeRanks> ranks;
  std::unique_ptr<Coordinator> coordinator;
  std::map<std::pair<int, uint64_t>, std::vector<wire::TokenUpdate>> updates;  // (router, request)
  int n_batches = 0;

  Harness() {
    options.scheduler.block_size = 4;
    options.scheduler.max_step_tokens = 16;
    options.scheduler.max_running = 8;
    options.vocab = kVocab;
    options.context = 64;
    options.epoch = 77;
    options.model = "fake";
    options.replica = "replica-0";
    options.price.usd_per_device_hour = 3600;  // a nano-dollar per device-nanosecond
  }

  void start(int64_t n_blocks = 100, int n_ranks = 1) {
    ranks = std::make_unique<FakeRanks>(n_ranks, options.scheduler.block_size,
                                        options.scheduler.max_step_tokens,
                                        options.scheduler.max_running, options.kv_groups);
    ranks->keep_plans = true;
    coordinator = std::make_unique<Coordinator>(options, clock, *ranks, *this, registry);
    for (int rank = 0; rank < n_ranks; ++rank) {
      step::RankReady ready;
      ready.worker_rank = rank;
      ready.n_kv_blocks = n_blocks;
      ASSERT_TRUE(coordinator->on_rank_event(ready).ok());
    }
    tick();
  }

  void publish(RouterId router, wire::TokenBatch& batch) override {
    ++n_batches;
    EXPECT_EQ(batch.epoch, options.epoch);
    for (wire::TokenUpdate& update : batch.updates) {
      updates[{router.value(), update.request}].push_back(std::move(update));
    }
  }

  static wire::Submit make(uint64_t id, int32_t n_prompt, int32_t max_tokens) {
    wire::Submit submit;
    submit.request = id;
    submit.tenant = "t";
    submit.n_prompt = n_prompt;
    submit.max_tokens = max_tokens;
    for (int32_t i = 0; i < n_prompt; ++i) submit.tokens.push_back((i * 7 + 3) % kVocab);
    return submit;
  }

  void submit(const wire::Submit& submit, int router = 0) {
    coordinator->submit(RouterId(router), submit);
  }
  void tick() {
    const Status status = coordinator->tick(clock.now_ns());
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_TRUE(ranks->complaints.empty()) << ranks->complaints.front();
  }
  // The oldest step in flight takes `ns` and is applied; the next plans go out.
  void step(int64_t ns = 1'000'000) {
    ASSERT_TRUE(ranks->has_result());
    clock.advance_ns(ns);
    const Status status = coordinator->on_rank_event(ranks->pop_result());
    ASSERT_TRUE(status.ok()) << status.error().message;
    tick();
  }
  void run_all() {
    tick();
    while (ranks->has_result() && !::testing::Test::HasFatalFailure()) step();
  }

  std::vector<int32_t> tokens(uint64_t id, int router = 0) {
    std::vector<int32_t> all;
    for (const auto& update : updates[{router, id}]) {
      all.insert(all.end(), update.tokens.begin(), update.tokens.end());
    }
    return all;
  }
  const wire::TokenUpdate& last(uint64_t id, int router = 0) {
    return updates.at({router, id}).back();
  }
  // The value of a series by its full name with labels, or -1.
  double metric(const std::string& series) {
    std::istringstream lines(registry.serialize());
    for (std::string line; std::getline(lines, line);) {
      const auto space = line.rfind(' ');
      if (line.substr(0, space) == series) return std::stod(line.substr(space + 1));
    }
    return -1;
  }
};

}  // namespace trireme::coordinator::testing
