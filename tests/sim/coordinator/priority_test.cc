// A request of a better priority against replicas that others fill, for random plans: what is in
// its way goes within a bounded number of steps, and everybody's tokens are those of a lone run.
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

class Crowd : public Harness {
 public:
  explicit Crowd(uint64_t seed) : rng_(seed) {
    options.pp = pick({1, 2, 2, 3, 4});
    options.scheduler.block_size = pick({1, 4});
    options.scheduler.prefix_cache = false;
    options.context = 120;
    n_running_ = pick({1, 1, 2, 3, 5, 8});
    // One token beside all decodes, or room for prompts.
    options.scheduler.max_step_tokens = pick({n_running_ + 1, 64});
    by_slots_ = between(0, 2) == 0;
    options.scheduler.max_running = by_slots_ ? n_running_ : 32;
  }

  void run() {
    const int32_t n_prompt = between(1, 12);
    const int32_t n_output = 60;
    const int64_t per_sequence =
        blocks_for(n_prompt + n_output + 3, options.scheduler.block_size) + 1;
    // All of them fit to their ends, and not one more.
    const int64_t n_blocks = by_slots_ ? 4096 : n_running_ * per_sequence;
    start(n_blocks, options.pp);
    for (int i = 0; i < n_running_; ++i) {
      requests_.push_back(make(static_cast<uint64_t>(i + 1), n_prompt, n_output));
      requests_.back().priority = between(1, 3);
      submit(requests_.back());
    }
    tick();
    // Until all of them decode, and for a while: the place of each in the stages is anyone's.
    const auto all_decode = [&] {
      for (const wire::Submit& s : requests_) {
        if (tokens(s.request).empty()) return false;
      }
      return true;
    };
    while (!all_decode() && !::testing::Test::HasFatalFailure()) step();
    for (int i = between(0, 2 * options.pp); i > 0; --i) step();

    wire::Submit urgent = make(100, between(2, by_slots_ ? 8 : n_prompt + n_output), 3);
    urgent.cache_salt = "its own";
    requests_.push_back(urgent);
    submit(urgent);
    const size_t n_before = ranks->plans.size();
    // A victim goes when its own step is done, the worst first: each may cost a round of the
    // stages.
    const size_t bound = static_cast<size_t>((n_running_ + 2) * options.pp);
    tick();
    size_t started = 0;
    while (started == 0 && ranks->has_result() && !::testing::Test::HasFatalFailure()) {
      for (size_t i = n_before; i < ranks->plans.size() && started == 0; ++i) {
        for (const step::SequenceStart& s : ranks->plans[i].starts) {
          if (s.tokens == urgent.tokens) started = i + 1 - n_before;
        }
      }
      if (started == 0) step();
    }
    EXPECT_GT(started, 0u);
    EXPECT_LE(started, bound) << n_running_ << " running, pp " << options.pp << ", "
                              << options.scheduler.max_step_tokens << " tokens a step, "
                              << (by_slots_ ? "no slot" : "no block") << " free";
    run_all();
    for (const wire::Submit& s : requests_) {
      EXPECT_EQ(tokens(s.request), expected_outputs(s, options.context).outputs);
    }
    EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  }

 private:
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng_); }
  int pick(std::initializer_list<int> of) {
    return *(of.begin() + between(0, static_cast<int>(of.size()) - 1));
  }

  std::mt19937_64 rng_;
  int n_running_ = 0;
  bool by_slots_ = false;  // the places are what is short, not the blocks
  std::vector<wire::Submit> requests_;
};

TEST(PrioritySimulation, WhatIsInTheWayOfABetterPriorityGoesWithinItsRounds) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Crowd(seed).run();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace trireme::coordinator::testing
