// The coordinator against ranks that check every plan: thousands of steps of random arrivals,
// cancellations, preemptions, priorities, resumes and router losses, with seeds. Outputs equal
// those of a lone run, nothing leaks, and the ledger's identity is exact.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <sstream>

#include "base/clock.h"
#include "base/metrics.h"
#include "coordinator/coordinator.h"
#include "tests/sim/coordinator/fake_ranks.h"

namespace trireme::coordinator::testing {
namespace {

struct Sent {
  wire::Submit submit;
  Expected expected;
  std::vector<int32_t> got;  // outputs on this replica and before
  std::vector<step::PositionLogprobs> prompt_logprobs;
  bool finished = false;
  bool cancelled = false;
  bool orphaned = false;  // its router was lost
  wire::TokenUpdate last;
};

struct Totals {
  int64_t n_steps = 0, n_finished = 0, n_cancelled = 0, n_cached = 0, n_refused = 0, n_orphaned = 0,
          n_expired = 0;
  int64_t preemptions = 0, recompute_nano = 0, resume_nano = 0;
  size_t most_in_flight = 0;
  int most_chunks_in_flight = 0;
  int64_t n_unseen = 0;            // rows planned before their token was known
  int64_t n_longer_than_pool = 0;  // sequences of more tokens than the pool has places for
};

int64_t metric(const MetricsRegistry& registry, const std::string& name) {
  std::istringstream lines(registry.serialize());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + "{")) return std::stoll(line.substr(line.rfind(' ') + 1));
  }
  return -1;
}

class Simulation : public RouterSink {
 public:
  Simulation(uint64_t seed, bool lose_routers, Totals& totals, bool slides = false)
      : rng_(seed), lose_routers_(lose_routers), totals_(totals) {
    if (slides) draw_groups();
    options_.scheduler.block_size = pick({1, 4, 16});
    options_.scheduler.max_step_tokens = pick({1, 7, 64, 512});
    options_.scheduler.max_running = pick({1, 3, 8, 32});
    options_.scheduler.max_waiting = 40;
    options_.scheduler.prefix_cache = chance(80);
    options_.pp = pick({1, 1, 2, 4});
    options_.run_ahead = options_.pp == 1 && seed % 2 == 0;
    options_.vocab = kVocab;
    options_.context = pick({40, 120});
    options_.epoch = 5;
    options_.price.usd_per_device_hour = pick({0, 1, 7, 900}) * 0.0171;
    options_.model = "fake";
    options_.replica = "replica-0";
    options_.max_tenants = pick({1, 2, 64});
    n_ranks_ = options_.pp * pick({1, 2});
    n_blocks_ = between(4, 90) * 16 / options_.scheduler.block_size / pick({1, 4}) + 1;
    if (slides) n_blocks_ = draw_blocks();
    ranks_ = std::make_unique<FakeRanks>(n_ranks_, options_.scheduler.block_size,
                                         options_.scheduler.max_step_tokens,
                                         options_.scheduler.max_running, options_.kv_groups);
    ranks_->runs_ahead = options_.run_ahead;
    coordinator_ = std::make_unique<Coordinator>(options_, clock_, *ranks_, *this, registry_);
    for (int rank = 0; rank < n_ranks_; ++rank) {
      clock_.advance_ns(between(0, 1'000'000));
      step::RankReady ready;
      ready.worker_rank = rank;
      ready.n_kv_blocks = n_blocks_ + rank;
      EXPECT_TRUE(coordinator_->on_rank_event(ready).ok());
    }
    for (int family = 0; family < 4; ++family) {
      std::vector<int32_t> tokens;
      tokens.reserve(static_cast<size_t>(options_.context));
      for (int i = 0; i < options_.context; ++i) tokens.push_back(between(0, kVocab - 1));
      families_.push_back(std::move(tokens));
    }
  }

  void run(int n_events) {
    for (int event = 0; event < n_events; ++event) {
      const int dice = between(0, 99);
      if (dice < 22) {
        submit();
      } else if (dice < 26) {
        cancel_one();
      } else if (dice < 27 && lose_routers_ && chance(20)) {
        lose_router();
      } else if (dice < 90 && ranks_->has_result()) {
        clock_.advance_ns(between(0, 3'000'000));
        ASSERT_TRUE(coordinator_->on_rank_event(ranks_->pop_result()).ok());
      }
      clock_.advance_ns(between(0, 10'000));
      if (chance(90)) tick();
      check_ledger();
      if (HasFailure()) return;
    }
    drain();
  }

 private:
  int64_t most_in_flight() const { return options_.pp + (options_.run_ahead ? 1 : 0); }

  // Often just enough for the longest sequence.
  int64_t draw_blocks() {
    const KvBudget budget(options_.kv_groups, options_.scheduler.block_size,
                          most_in_flight() * options_.scheduler.max_step_tokens);
    if (chance(60)) return budget.most_blocks(options_.context) + between(0, 9);
    return n_blocks_ * pick({1, budget.n_groups()}) + budget.n_groups();
  }

  // All sliding, or some of each.
  void draw_groups() {
    options_.kv_groups.assign(static_cast<size_t>(between(0, 2)), plan::KvGroup());
    for (int i = between(options_.kv_groups.empty() ? 1 : 0, 4); i > 0; --i) {
      const auto kind = chance(70) ? plan::AttentionKind::kSliding : plan::AttentionKind::kChunked;
      options_.kv_groups.push_back({kind, pick({1, 2, 5, 12, 24, 60})});
    }
  }

  static bool HasFailure() { return ::testing::Test::HasFailure(); }
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng_); }
  bool chance(int percent) { return between(0, 99) < percent; }
  int pick(std::initializer_list<int> of) {
    return *(of.begin() + between(0, static_cast<int>(of.size()) - 1));
  }

  void publish(RouterId router, wire::TokenBatch& batch) override {
    EXPECT_EQ(batch.epoch, options_.epoch);
    EXPECT_TRUE(told_.insert(router).second) << "two batches to one router in a tick";
    for (wire::TokenUpdate& update : batch.updates) take(router, update);
  }

  void take(RouterId router, wire::TokenUpdate& update) {
    const auto found = sent_.find({router, update.request});
    ASSERT_NE(found, sent_.end());
    Sent& sent = found->second;
    ASSERT_FALSE(sent.finished) << "news after the finish";
    ASSERT_FALSE(sent.orphaned) << "news to a router that is gone";
    ASSERT_EQ(update.first_index, static_cast<int32_t>(sent.got.size()));
    sent.got.insert(sent.got.end(), update.tokens.begin(), update.tokens.end());
    if (sent.submit.sampling.n_logprobs >= 0) {
      EXPECT_EQ(update.logprobs.size(), update.tokens.size());
    }
    if (!update.prompt_logprobs.empty()) {
      EXPECT_TRUE(sent.prompt_logprobs.empty()) << "prompt logprobs twice";
      sent.prompt_logprobs = update.prompt_logprobs;
    }
    if (update.finish == wire::FinishReason::kNone) return;
    sent.finished = true;
    sent.last = update;
    cost_told_ += update.cost_nano_usd;
    totals_.n_cached += update.cached_tokens;
    const int64_t n_places =
        n_blocks_ * options_.scheduler.block_size / static_cast<int64_t>(options_.kv_groups.size());
    const int64_t n_tokens = sent.submit.n_prompt + static_cast<int64_t>(sent.got.size());
    totals_.n_longer_than_pool += n_tokens > n_places ? 1 : 0;
    check_finish(sent);
  }

  void check_finish(const Sent& sent) {
    const wire::TokenUpdate& last = sent.last;
    if (last.finish == wire::FinishReason::kError) {
      ASSERT_TRUE(last.error.has_value());
      if (last.error->code == ErrorCode::kDeadlineExceeded) {
        EXPECT_NE(sent.submit.deadline_unix_ns, 0);
        EXPECT_GE(clock_.unix_ns(), sent.submit.deadline_unix_ns);
        ++totals_.n_expired;
        return;
      }
      EXPECT_EQ(last.error->code, ErrorCode::kResourceExhausted) << last.error->message;
      ++totals_.n_refused;
      return;
    }
    const auto& want = sent.expected.outputs;
    ASSERT_LE(sent.got.size(), want.size());
    EXPECT_TRUE(std::equal(sent.got.begin(), sent.got.end(), want.begin()))
        << "request " << sent.submit.request << " differs from its lone run";
    if (last.finish == wire::FinishReason::kCancelled) {
      EXPECT_TRUE(sent.cancelled);
      ++totals_.n_cancelled;
      return;
    }
    ++totals_.n_finished;
    EXPECT_EQ(sent.got.size(), want.size());
    EXPECT_EQ(last.finish, sent.expected.finish);
    if (last.finish == wire::FinishReason::kStop) {
      EXPECT_EQ(last.stop_token, sent.got.back());
    }
    if (sent.submit.sampling.n_prompt_logprobs >= 0 && !sent.submit.resumed) {
      ASSERT_EQ(sent.prompt_logprobs.size(), static_cast<size_t>(sent.submit.n_prompt - 1));
      for (int32_t p = 0; p + 1 < sent.submit.n_prompt; ++p) {
        EXPECT_EQ(sent.prompt_logprobs[static_cast<size_t>(p)].actual.logprob,
                  prompt_logprob(sent.submit.tokens, p));
      }
    }
    EXPECT_GE(last.queue_ns, 0);
    EXPECT_GE(last.prefill_ns, 0);
    EXPECT_GE(last.decode_ns, 0);
  }

  void submit() {
    Sent sent;
    wire::Submit& s = sent.submit;
    const RouterId router(between(0, 2));
    s.request = ++last_request_;
    s.tenant = "tenant-" + std::to_string(between(0, 3));
    s.cache_salt = chance(50) ? "a" : "b";
    s.priority = chance(70) ? 0 : between(-1, 2);
    const int32_t context = coordinator_->context();
    const auto& family = families_[static_cast<size_t>(between(0, 3))];
    s.n_prompt = between(1, std::max(1, context - 1));
    if (chance(60)) s.n_prompt = std::min(s.n_prompt, between(1, 12));
    s.tokens.assign(family.begin(), family.begin() + s.n_prompt);
    for (int i = between(0, 3); i > 0 && s.n_prompt > i; --i) {
      s.tokens[static_cast<size_t>(s.n_prompt - i)] = between(0, kVocab - 1);
    }
    s.max_tokens = chance(5) ? 0 : between(1, 40);
    s.sampling.seed = static_cast<uint64_t>(between(0, 5));
    if (chance(70)) s.stop_token_ids = {between(0, kVocab - 1), 1, 2, 3};
    if (chance(30)) {
      s.sampling.min_tokens = between(1, 10);
      if (chance(70)) s.sampling.banned_until_min_tokens = s.stop_token_ids;
    }
    if (chance(20)) s.sampling.n_logprobs = 1;
    if (chance(10)) s.sampling.n_prompt_logprobs = 0;
    s.continuous_usage = chance(20);
    if (chance(5)) s.deadline_unix_ns = clock_.unix_ns() + between(0, 60'000'000);
    sent.expected = expected_outputs(s, context);
    if (chance(25) && !sent.expected.outputs.empty()) {
      s.resumed = true;
      const int n = between(0, static_cast<int>(sent.expected.outputs.size()) - 1);
      sent.got.assign(sent.expected.outputs.begin(), sent.expected.outputs.begin() + n);
      s.tokens.insert(s.tokens.end(), sent.got.begin(), sent.got.end());
    }
    wire::Submit copy = s;
    sent_.emplace(std::make_pair(router, s.request), std::move(sent));
    coordinator_->submit(router, std::move(copy));
  }

  void cancel_one() {
    if (sent_.empty()) return;
    auto at = sent_.begin();
    std::advance(at, between(0, static_cast<int>(sent_.size()) - 1));
    at->second.cancelled = true;
    coordinator_->cancel(at->first.first, {at->first.second});
  }

  void lose_router() {
    const RouterId router(between(0, 2));
    for (auto& [key, sent] : sent_) {
      if (key.first == router && !sent.finished) {
        sent.orphaned = true;
        ++totals_.n_orphaned;
      }
    }
    if (chance(50)) {
      coordinator_->router_lost(router);
    } else {
      coordinator_->router_epoch(router, ++router_epoch_);
      coordinator_->router_epoch(router, ++router_epoch_);
    }
  }

  void tick() {
    told_.clear();
    ASSERT_TRUE(coordinator_->tick(clock_.now_ns()).ok());
    ASSERT_TRUE(ranks_->complaints.empty()) << ranks_->complaints.front();
    ASSERT_LE(ranks_->n_in_flight(), static_cast<size_t>(most_in_flight()));
  }

  void check_ledger() {
    const wire::LedgerReport r = coordinator_->ledger();
    const auto price = static_cast<int64_t>(std::llround(options_.price.usd_per_device_hour * 1e9));
    const auto want =
        static_cast<int64_t>(static_cast<__int128>(r.device_ns) * price / 3'600'000'000'000);
    ASSERT_EQ(r.total_nano_usd, want);
    ASSERT_EQ(r.prefill_nano_usd + r.decode_nano_usd + r.idle_nano_usd + r.startup_nano_usd +
                  r.recompute_nano_usd + r.resume_nano_usd,
              want);
  }

  void drain() {
    coordinator_->drain();
    for (int i = 0; i < 200'000 && !coordinator_->drained(); ++i) {
      tick();
      if (HasFailure()) return;
      clock_.advance_ns(1000);
      if (ranks_->has_result()) {
        ASSERT_TRUE(coordinator_->on_rank_event(ranks_->pop_result()).ok());
      }
    }
    ASSERT_TRUE(coordinator_->drained()) << "it does not come to an end";
    while (ranks_->has_result()) {  // of rows that nobody wants
      ASSERT_TRUE(options_.run_ahead);
      ASSERT_TRUE(coordinator_->on_rank_event(ranks_->pop_result()).ok());
    }
    tick();
    const wire::Load load = coordinator_->load();
    EXPECT_EQ(load.kv_blocks_used, 0);
    EXPECT_EQ(load.running, 0);
    EXPECT_EQ(load.waiting, 0);
    EXPECT_EQ(load.waiting_tokens, 0);
    for (const auto& [key, sent] : sent_) EXPECT_TRUE(sent.finished || sent.orphaned);
    check_ledger();
    const wire::LedgerReport ledger = coordinator_->ledger();
    EXPECT_EQ(ledger.device_ns, (clock_.now_ns() - 1) * n_ranks_);
    if (!lose_routers_) {
      EXPECT_EQ(cost_told_, ledger.prefill_nano_usd + ledger.decode_nano_usd);
    }
    totals_.n_steps += coordinator_->n_steps();
    totals_.preemptions += metric(registry_, "trireme_preemptions_total");
    totals_.recompute_nano += ledger.recompute_nano_usd;
    totals_.resume_nano += ledger.resume_nano_usd;
    totals_.n_unseen += ranks_->n_unseen;
    totals_.most_in_flight = std::max(totals_.most_in_flight, ranks_->most_in_flight);
    totals_.most_chunks_in_flight =
        std::max(totals_.most_chunks_in_flight, ranks_->most_chunks_in_flight);
  }

  std::mt19937_64 rng_;
  const bool lose_routers_;
  Totals& totals_;
  CoordinatorOptions options_;
  int n_ranks_ = 1;
  int64_t n_blocks_ = 0;
  ManualClock clock_;
  MetricsRegistry registry_;
  std::unique_ptr<FakeRanks> ranks_;
  std::unique_ptr<Coordinator> coordinator_;
  std::vector<std::vector<int32_t>> families_;
  std::map<std::pair<RouterId, uint64_t>, Sent> sent_;
  std::set<RouterId> told_;
  uint64_t last_request_ = 0;
  uint64_t router_epoch_ = 0;
  int64_t cost_told_ = 0;
};

TEST(CoordinatorSimulation, OutputsEqualLoneRunsAndNothingLeaks) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 240; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(seed, seed % 3 == 0, totals).run(1000);
    if (HasFailure()) return;
  }
  // The simulation reaches what it is there for.
  RecordProperty("steps", std::to_string(totals.n_steps));
  EXPECT_GT(totals.n_steps, 10'000);
  EXPECT_GT(totals.n_finished, 5'000);
  EXPECT_GT(totals.n_cancelled, 100);
  EXPECT_GT(totals.n_cached, 1'000);
  EXPECT_GT(totals.n_refused, 10);
  EXPECT_GT(totals.n_orphaned, 10);
  EXPECT_GT(totals.n_expired, 10);
  EXPECT_GT(totals.preemptions, 100);
  EXPECT_GT(totals.n_unseen, 1'000);
  EXPECT_GT(totals.recompute_nano, 0);
  EXPECT_GT(totals.resume_nano, 0);
  EXPECT_EQ(totals.most_in_flight, 4u);
  EXPECT_EQ(totals.most_chunks_in_flight, 4);
}

// The same where layers slide: every group of them has a table of its own, blocks go back when they
// leave the window, and prompts may be longer than the pool.
TEST(CoordinatorSimulation, WindowsGiveBackWhatNobodySeesAndNothingElse) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 240; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(1000 + seed, seed % 3 == 0, totals, /*slides=*/true).run(1000);
    if (HasFailure()) return;
  }
  EXPECT_GT(totals.n_finished, 5'000);
  EXPECT_GT(totals.n_cached, 1'000);
  EXPECT_GT(totals.preemptions, 100);
  EXPECT_GT(totals.n_longer_than_pool, 100);
  EXPECT_GT(totals.n_unseen, 1'000);
  EXPECT_EQ(totals.most_in_flight, 4u);
  EXPECT_EQ(totals.most_chunks_in_flight, 4);
}

}  // namespace
}  // namespace trireme::coordinator::testing
