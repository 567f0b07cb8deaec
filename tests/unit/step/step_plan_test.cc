#include "parallel/step/step_plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace trireme::step {
namespace {

StepPlan two_spans() {
  StepPlan plan;
  plan.header.step = StepId(3);
  SequenceStart start;
  start.id = SequenceId(8);
  start.tokens = {1, 2, 3};
  start.n_prompt = 3;
  plan.starts.push_back(start);
  SequenceSpan decode;
  decode.id = SequenceId(7);
  decode.first_position = 12;
  decode.n_tokens = 1;
  decode.token = 99;
  decode.sample = true;
  SequenceSpan prefill;
  prefill.id = SequenceId(8);
  prefill.n_tokens = 3;
  plan.spans = {decode, prefill};
  return plan;
}

TEST(StepPlan, CountsItsTokens) {
  EXPECT_EQ(StepPlan{}.n_tokens(), 0);
  EXPECT_EQ(two_spans().n_tokens(), 4);
}

TEST(ShapeHash, IsTheSameForTheSameShapes) {
  EXPECT_EQ(shape_hash(two_spans()), shape_hash(two_spans()));
  // Token ids and the step's number decide no shape.
  StepPlan other = two_spans();
  other.spans[0].token = 5;
  other.header.step = StepId(4);
  EXPECT_EQ(shape_hash(other), shape_hash(two_spans()));
}

TEST(ShapeHash, EveryFieldThatDecidesAShapeChangesIt) {
  const std::vector<std::function<void(StepPlan&)>> changes = {
      [](StepPlan& p) { p.spans[0].id = SequenceId(9); },
      [](StepPlan& p) { p.spans[0].first_position = 13; },
      [](StepPlan& p) { p.spans[1].n_tokens = 2; },
      [](StepPlan& p) { p.spans[1].sample = true; },
      [](StepPlan& p) { p.spans[1].first_logprob_position = 1; },
      [](StepPlan& p) { p.spans[1].n_logprob_positions = 1; },
      [](StepPlan& p) { p.spans[1].new_blocks.push_back(BlockId(1)); },
      [](StepPlan& p) {
        p.n_group_blocks = {1, 1};
      },
      [](StepPlan& p) {
        p.n_group_blocks = {2, 0};
      },
      [](StepPlan& p) { std::swap(p.spans[0], p.spans[1]); },
      [](StepPlan& p) { p.spans.pop_back(); },
      [](StepPlan& p) { p.starts[0].tokens.push_back(4); },
      [](StepPlan& p) { p.starts[0].sampling.n_logprobs = 3; },
      [](StepPlan& p) { p.starts.clear(); },
      [](StepPlan& p) { p.releases.push_back(SequenceId(1)); },
  };
  std::set<uint64_t> seen = {shape_hash(two_spans())};
  for (size_t i = 0; i < changes.size(); ++i) {
    StepPlan plan = two_spans();
    changes[i](plan);
    EXPECT_TRUE(seen.insert(shape_hash(plan)).second) << "change " << i;
  }
}

TEST(ShapeHash, DoesNotChangeBetweenBuilds) {
  // The digest crosses the wire: ranks of different builds must agree on it.
  EXPECT_EQ(shape_hash(StepPlan{}), 6714313886179611272u);
}

}  // namespace
}  // namespace trireme::step
