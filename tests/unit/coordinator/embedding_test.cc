// Encoders: texts are embedded whole, several in a step where they fit, and nothing is kept of
// them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/coordinator/harness.h"

namespace trireme::coordinator::testing {
namespace {

constexpr int32_t kWidth = 3;

class EmbeddingTest : public ::testing::Test, public Harness {
 protected:
  void begin(int n_ranks = 1) {
    options.embedding_width = kWidth;
    options.scheduler.prefix_cache = false;
    options.context = options.scheduler.max_step_tokens;
    start(100, n_ranks);
    ranks->embedding_width = kWidth;
  }
  static wire::Submit text(uint64_t id, int32_t n_prompt) {
    wire::Submit submit = make(id, n_prompt, 0);
    submit.embed = true;
    return submit;
  }
  void expect_embedded(uint64_t id, int32_t n_prompt) {
    const wire::TokenUpdate& update = last(id);
    EXPECT_EQ(update.finish, wire::FinishReason::kStop);
    EXPECT_TRUE(update.tokens.empty());
    ASSERT_EQ(update.embedding.size(), static_cast<size_t>(kWidth));
    const wire::Submit submit = make(id, n_prompt, 0);
    for (int32_t i = 0; i < kWidth; ++i) {
      const int32_t token = submit.tokens[static_cast<size_t>(i % n_prompt)];
      EXPECT_EQ(update.embedding[static_cast<size_t>(i)],
                static_cast<float>(n_prompt * 1000 + token));
    }
  }
};

TEST_F(EmbeddingTest, TextsThatFitShareAStepAndNoneIsCut) {
  begin();
  const std::vector<int32_t> lengths = {9, 6, 5, 16, 1};
  for (size_t i = 0; i < lengths.size(); ++i) submit(text(i + 1, lengths[i]));
  run_all();
  for (size_t i = 0; i < lengths.size(); ++i) expect_embedded(i + 1, lengths[i]);
  // 9 + 6, then 5 (16 does not fit beside it), then 16, then 1.
  std::vector<int32_t> steps;
  for (const step::StepPlan& plan : ranks->plans) steps.push_back(plan.n_tokens());
  EXPECT_THAT(steps, ::testing::ElementsAre(15, 5, 16, 1));
  EXPECT_EQ(coordinator->load().kv_blocks_used, 0);
  EXPECT_GT(last(4).cost_nano_usd, 0);
}

TEST_F(EmbeddingTest, StepsOverlapOverStages) {
  options.pp = 2;
  begin(2);
  for (uint64_t id = 1; id <= 4; ++id) submit(text(id, 16));
  run_all();
  for (uint64_t id = 1; id <= 4; ++id) expect_embedded(id, 16);
  EXPECT_EQ(ranks->most_in_flight, 2);
}

TEST_F(EmbeddingTest, ACancelledTextIsToldAndItsVectorDropped) {
  begin();
  submit(text(1, 8));
  tick();
  coordinator->cancel(RouterId(0), wire::Cancel{1});
  run_all();
  EXPECT_EQ(last(1).finish, wire::FinishReason::kCancelled);
  EXPECT_TRUE(last(1).embedding.empty());
}

TEST_F(EmbeddingTest, WhatAModelDoesNotMakeIsRefused) {
  begin();
  submit(make(1, 4, 5));
  wire::Submit both = text(2, 4);
  both.max_tokens = 3;
  submit(both);
  submit(text(3, 17));
  run_all();
  EXPECT_THAT(last(1).error->message, ::testing::HasSubstr("embeddings and no tokens"));
  EXPECT_THAT(last(2).error->message, ::testing::HasSubstr("asks for tokens besides"));
  EXPECT_THAT(last(3).error->message, ::testing::HasSubstr("17 tokens"));
}

TEST_F(EmbeddingTest, ADecoderEmbedsNothing) {
  start();
  submit(text(1, 4));
  run_all();
  EXPECT_THAT(last(1).error->message, ::testing::HasSubstr("tokens and no embeddings"));
}

TEST_F(EmbeddingTest, AVectorOfAnotherWidthEndsTheReplica) {
  begin();
  ranks->embedding_width = kWidth + 1;
  submit(text(1, 4));
  tick();
  const Status status = coordinator->on_rank_event(ranks->pop_result());
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, ::testing::HasSubstr("of a wrong width"));
}

}  // namespace
}  // namespace trireme::coordinator::testing
