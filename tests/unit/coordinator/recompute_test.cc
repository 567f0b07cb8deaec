// Models whose keys change when a sequence grows past a length (longrope): it is computed again
// from its start, and the prefix cache never mixes the two kinds of keys.
#include <gtest/gtest.h>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

constexpr int32_t kLength = 10;

class RecomputeTest : public ::testing::Test, public Harness {
 protected:
  void begin(int n_ranks = 1) {
    options.recompute_length = kLength;
    start(100, n_ranks);
    ranks->recompute_length = kLength;
  }
  // Starts of the plans so far, by their number of tokens.
  std::vector<size_t> starts() const {
    std::vector<size_t> sizes;
    for (const step::StepPlan& plan : ranks->plans) {
      for (const step::SequenceStart& entering : plan.starts) {
        sizes.push_back(entering.tokens.size());
      }
    }
    return sizes;
  }
};

TEST_F(RecomputeTest, ASequenceThatOutgrowsTheLengthStartsAgainOnce) {
  begin();
  const wire::Submit s = make(1, 7, 9);
  submit(s);
  run_all();
  EXPECT_EQ(tokens(1), expected_outputs(s, 64).outputs);
  EXPECT_EQ(starts(), (std::vector<size_t>{7, kLength + 1}));
  EXPECT_EQ(metric("trireme_preemptions_total{model=\"fake\",replica=\"replica-0\"}"), 1);
}

TEST_F(RecomputeTest, OneThatEndsAtTheLengthOrStartsBehindItDoesNot) {
  begin();
  submit(make(1, 7, 4));   // ends with 11 known tokens, the last of them never computed
  submit(make(2, 11, 8));  // long from its start
  run_all();
  EXPECT_EQ(starts(), (std::vector<size_t>{7, 11}));
}

TEST_F(RecomputeTest, BlocksOfTheTwoKindsAreKeptApart) {
  begin();
  submit(make(1, 9, 1));
  run_all();
  submit(make(2, 9, 1));  // finds both blocks of the first
  run_all();
  EXPECT_EQ(ranks->plans.back().spans[0].first_position, 8);
  submit(make(3, 12, 1));  // the same first tokens, other keys
  run_all();
  EXPECT_EQ(ranks->plans.back().spans[0].first_position, 0);
  submit(make(4, 13, 1));
  run_all();
  EXPECT_EQ(ranks->plans.back().spans[0].first_position, 12);
}

TEST_F(RecomputeTest, ManyTogetherUnderAPipeline) {
  options.pp = 2;
  begin(2);
  std::vector<wire::Submit> all;
  for (uint64_t i = 0; i < 6; ++i) {
    all.push_back(make(i, static_cast<int32_t>(5 + i), 12));
    submit(all.back());
  }
  run_all();
  for (const wire::Submit& s : all) {
    EXPECT_EQ(tokens(s.request), expected_outputs(s, 64).outputs) << "request " << s.request;
  }
}

// A base that follows the length (dynamic NTK) turns all of a prompt alike, so that long prompts
// share blocks only with those of their own length; nothing is computed again.
TEST_F(RecomputeTest, PromptsBehindAGrowingBaseShareTheirOwnLengthsBlocks) {
  options.rope_growth.from = kLength;
  start(100);
  const auto cached_of = [&](uint64_t id, int32_t n_prompt, int32_t n_new) {
    submit(make(id, n_prompt, n_new));
    const size_t first = ranks->plans.size();
    run_all();
    return ranks->plans[first].spans[0].first_position;
  };
  EXPECT_EQ(cached_of(1, 7, 20), 0);  // grows behind the length
  EXPECT_EQ(starts(), (std::vector<size_t>{7}));
  EXPECT_EQ(cached_of(2, 9, 1), 4);   // a short prompt: the keys of any other
  EXPECT_EQ(cached_of(3, 13, 1), 0);  // turned by the base of 13
  EXPECT_EQ(cached_of(4, 14, 1), 0);  // of 14
  EXPECT_EQ(cached_of(5, 13, 1), 12);
}

}  // namespace
}  // namespace trireme::coordinator::testing
