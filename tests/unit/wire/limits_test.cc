// Each limit of limits.h, at it and one beyond it, for a sender and for a receiver.
#include "parallel/wire/limits.h"

#include <gtest/gtest.h>

#include <limits>

#include "parallel/wire/codec.h"
#include "tests/unit/wire/random_messages.h"

namespace trireme::wire {
namespace {

Submit small_submit() {
  Submit submit;
  submit.tokens = {1, 2, 3};
  submit.n_prompt = 3;
  submit.max_tokens = 1;
  return submit;
}

// Both the sender's check and the receiver's decoder say no.
void expect_refused(const FromRouter& message, const std::string& word) {
  const Status status = check(message);
  ASSERT_FALSE(status.ok()) << word;
  EXPECT_NE(status.error().message.find(word), std::string::npos) << status.error().message;
  EXPECT_FALSE(decode_from_router(encode(message)).ok()) << word;
}
void expect_refused(const FromReplica& message, const std::string& word) {
  const Status status = check(message);
  ASSERT_FALSE(status.ok()) << word;
  EXPECT_NE(status.error().message.find(word), std::string::npos) << status.error().message;
  EXPECT_FALSE(decode_from_replica(encode(message)).ok()) << word;
}

TEST(WireLimits, SubmitTokens) {
  Submit submit = small_submit();
  submit.tokens.assign(kMaxTokensPerSequence, 1);
  EXPECT_TRUE(decode_from_router(encode(submit)).ok());
  submit.tokens.push_back(1);
  expect_refused(submit, "the limit is");
  submit = small_submit();
  submit.tokens[1] = -5;
  expect_refused(submit, "negative id -5");
}

TEST(WireLimits, SubmitPromptLength) {
  for (const int32_t n_prompt : {0, -1, 4, INT32_MAX}) {
    Submit submit = small_submit();
    submit.n_prompt = n_prompt;
    expect_refused(submit, "prompt");
  }
}

TEST(WireLimits, NamesAreShortAndPrintable) {
  Submit submit = small_submit();
  submit.tenant = std::string(kMaxNameBytes, 't');
  EXPECT_TRUE(decode_from_router(encode(submit)).ok());
  submit.tenant += "t";
  expect_refused(submit, "tenant");
  for (const char* bad : {"line\nbreak", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\x7f"}) {
    submit = small_submit();
    submit.trace = bad;
    expect_refused(submit, "trace");
  }
  submit = small_submit();
  submit.cache_salt = std::string(32, '\xff');  // raw digest bytes are fine
  EXPECT_TRUE(decode_from_router(encode(submit)).ok());
  submit.cache_salt = std::string(kMaxNameBytes + 1, 's');
  expect_refused(submit, "salt");
}

TEST(WireLimits, SamplingIsFiniteAndInRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const auto with = [](auto change) {
    Submit submit = small_submit();
    change(submit.sampling);
    return submit;
  };
  using Params = step::SamplingParams;
  for (const float bad : {nan, inf, -inf, -1.0f}) {
    expect_refused(with([&](Params& s) { s.temperature = bad; }), "sampling");
    expect_refused(with([&](Params& s) { s.top_p = bad; }), "sampling");
    expect_refused(with([&](Params& s) { s.min_p = bad; }), "sampling");
    expect_refused(with([&](Params& s) { s.repetition_penalty = bad; }), "sampling");
  }
  expect_refused(with([&](Params& s) { s.presence_penalty = nan; }), "sampling");
  expect_refused(with([&](Params& s) { s.frequency_penalty = inf; }), "sampling");
  expect_refused(with([](Params& s) { s.top_k = -1; }), "top_k");
  expect_refused(with([](Params& s) { s.n_logprobs = kMaxTopLogprobs + 1; }), "logprobs");
  expect_refused(with([](Params& s) { s.n_prompt_logprobs = -2; }), "logprobs");
  expect_refused(with([&](Params& s) { s.logit_bias = {{1, nan}}; }), "logit bias");
  expect_refused(with([](Params& s) { s.logit_bias = {{-1, 0.0f}}; }), "logit bias");
  expect_refused(with([](Params& s) {
                   s.logit_bias.assign(kMaxLogitBias + 1, {1, 1.0f});
                 }),
                 "logit bias");
  expect_refused(with([](Params& s) { s.allowed_token_ids.assign(kMaxAllowedTokenIds + 1, 1); }),
                 "allowed");
  expect_refused(
      with([](Params& s) { s.banned_until_min_tokens.assign(kMaxBannedTokenIds + 1, 1); }),
      "banned");
}

TEST(WireLimits, StopTokenIds) {
  Submit submit = small_submit();
  submit.stop_token_ids.assign(kMaxStopTokenIds, 2);
  EXPECT_TRUE(decode_from_router(encode(submit)).ok());
  submit.stop_token_ids.push_back(2);
  expect_refused(submit, "stop token ids");
}

TEST(WireLimits, UpdatesPerBatchAreCountedBeforeTheyAreBuilt) {
  TokenBatch batch;
  batch.updates.resize(kMaxUpdatesPerBatch);
  EXPECT_TRUE(decode_from_replica(encode(batch)).ok());
  batch.updates.resize(kMaxUpdatesPerBatch + 1);
  expect_refused(batch, "updates");
  // 8 MiB of empty updates would be gigabytes in memory.
  std::string body;
  for (size_t i = 0; i < (4 << 20); ++i) body += std::string("\x12\x00", 2);
  std::string bytes = "\x1a";
  for (size_t n = body.size(); n > 0; n >>= 7) {
    bytes += static_cast<char>((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
  }
  const auto decoded = decode_from_replica(bytes + body);
  ASSERT_FALSE(decoded.ok());
  EXPECT_EQ(decoded.error().code, ErrorCode::kResourceExhausted);
}

TEST(WireLimits, UpdateTokensAndLogprobs) {
  TokenBatch batch;
  batch.updates.resize(1);
  TokenUpdate& update = batch.updates[0];
  update.tokens.assign(kMaxTokensPerUpdate + 1, 5);
  expect_refused(batch, "tokens of one update");
  update.tokens = {1, 2};
  update.logprobs.resize(1);
  expect_refused(batch, "some of its tokens");
  update.logprobs.resize(2);
  update.logprobs[1].top.resize(static_cast<size_t>(kMaxTopLogprobs) + 1);
  expect_refused(batch, "logprobs of one position");
  update.logprobs[1].top.resize(static_cast<size_t>(kMaxTopLogprobs));
  EXPECT_TRUE(decode_from_replica(encode(batch)).ok());
}

TEST(WireLimits, OversizeBytesAreRefusedUnread) {
  const std::string bytes(kMaxMessageBytes + 1, '\0');
  EXPECT_EQ(decode_from_router(bytes).error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(decode_from_replica(bytes).error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(decode_rank_command(bytes).error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(decode_rank_event(bytes).error().code, ErrorCode::kResourceExhausted);
}

TEST(WireLimits, AHelloNamesItselfAndCountsFromZero) {
  Hello hello;
  expect_refused(hello, "names no replica");
  hello.replica = "replica-0";
  hello.model = "m";
  EXPECT_TRUE(decode_from_replica(encode(hello)).ok());
  hello.n_kv_blocks = -1;
  expect_refused(hello, "KV block count is -1");
}

void expect_refused_plan(const step::StepPlan& plan, const char* why) {
  const Status status = check(step::RankCommand(plan));
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find(why), std::string::npos) << status.error().message;
}

TEST(WireLimits, StepPlansAndResults) {
  step::StepPlan plan;
  plan.spans.resize(1);
  plan.spans[0].first_position = -1;
  EXPECT_FALSE(check(step::RankCommand(plan)).ok());
  EXPECT_FALSE(decode_rank_command(encode(step::RankCommand(plan))).ok());
  plan.spans[0].first_position = 0;
  plan.spans[0].new_blocks.assign(3, BlockId(-4));
  EXPECT_FALSE(decode_rank_command(encode(step::RankCommand(plan))).ok());
  plan.spans.assign(2, {});
  plan.spans[0].new_blocks.assign(3, BlockId(4));
  plan.n_group_blocks = {1, 2};
  EXPECT_TRUE(decode_rank_command(encode(step::RankCommand(plan))).ok());
  plan.n_group_blocks = {1, 1};
  expect_refused_plan(plan, "not those of its groups");
  plan.n_group_blocks = {4, -1};
  expect_refused_plan(plan, "new KV blocks is -1");
  plan.n_group_blocks = {3};
  expect_refused_plan(plan, "one for each span and group");
  plan.n_group_blocks.assign(kMaxKvGroups + 1, 0);
  plan.n_group_blocks[0] = 3;
  expect_refused_plan(plan, "the limit is 64");
  plan.n_group_blocks = {1, 2, 0};
  plan.spans[1].new_blocks = {BlockId(1)};
  expect_refused_plan(plan, "one for each span and group");
  plan.n_group_blocks = {1, 2, 0, 1};
  EXPECT_TRUE(decode_rank_command(encode(step::RankCommand(plan))).ok());
  plan.n_group_blocks.clear();
  plan.spans.assign(kMaxSequencesPerStep + 1, {});
  EXPECT_FALSE(decode_rank_command(encode(step::RankCommand(plan))).ok());
  plan.spans.clear();
  plan.starts.resize(kMaxSequencesPerStep + 1);
  EXPECT_EQ(decode_rank_command(encode(step::RankCommand(plan))).error().code,
            ErrorCode::kResourceExhausted);

  step::RankReady ready;
  ready.worker_rank = kMaxRanks;
  EXPECT_FALSE(decode_rank_event(encode(step::RankEvent(ready))).ok());
  step::StepResult result;
  result.outputs.resize(kMaxSequencesPerStep + 1);
  EXPECT_FALSE(decode_rank_event(encode(step::RankEvent(result))).ok());
}

TEST(WireLimits, TheLoadOfExpertsHasAShape) {
  const auto refused = [](const step::ExpertLoad& load) {
    const step::RankEvent event =
        step::StepTimings{.step = StepId(1), .timing = {}, .experts = load};
    return !check(event).ok() && !decode_rank_event(encode(event)).ok();
  };
  const auto n_experts = static_cast<int32_t>(kMaxExperts);
  const auto n_layers = static_cast<int32_t>(kMaxLayers);
  EXPECT_FALSE(refused({}));
  EXPECT_FALSE(refused({.first_expert = 2, .layers = {0, 5}, .rows = {1, 2, 3, 4}}));
  EXPECT_FALSE(refused({.first_expert = n_experts - 1, .layers = {n_layers - 1}, .rows = {1}}));
  EXPECT_TRUE(refused({.first_expert = n_experts, .layers = {0}, .rows = {1}}));
  EXPECT_TRUE(refused({.first_expert = -1, .layers = {0}, .rows = {1}}));
  EXPECT_TRUE(refused({.first_expert = 0, .layers = {n_layers}, .rows = {1}}));
  EXPECT_TRUE(refused({.first_expert = 0, .layers = {0, 1}, .rows = {1, 2, 3}}));
  EXPECT_TRUE(refused({.first_expert = 0, .layers = {}, .rows = {1}}));
  EXPECT_TRUE(refused({.first_expert = 0, .layers = {0}, .rows = {-1}}));
  EXPECT_TRUE(
      refused({.first_expert = 1, .layers = {0}, .rows = std::vector<int32_t>(kMaxExperts, 1)}));
}

}  // namespace
}  // namespace trireme::wire
