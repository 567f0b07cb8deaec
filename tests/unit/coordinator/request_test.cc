#include "coordinator/request/request.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "coordinator/request/tenants.h"
#include "coordinator/request/validate.h"

namespace trireme::coordinator {
namespace {

using S = RequestState;

TEST(RequestState, TheTransitionsThatAreAllowedAreTheDocumentedOnes) {
  const std::set<std::pair<S, S>> allowed = {
      {S::kWaiting, S::kPrefill},   {S::kWaiting, S::kFinished}, {S::kPrefill, S::kDecode},
      {S::kPrefill, S::kPreempted}, {S::kPrefill, S::kEnding},   {S::kPrefill, S::kFinished},
      {S::kDecode, S::kPreempted},  {S::kDecode, S::kEnding},    {S::kDecode, S::kFinished},
      {S::kPreempted, S::kWaiting}, {S::kEnding, S::kFinished}};
  for (int from = 0; from <= static_cast<int>(S::kFinished); ++from) {
    for (int to = 0; to <= static_cast<int>(S::kFinished); ++to) {
      const auto f = static_cast<S>(from);
      const auto t = static_cast<S>(to);
      EXPECT_EQ(is_allowed(f, t), allowed.contains({f, t})) << to_string(f) << to_string(t);
    }
  }
}

TEST(RequestStateDeathTest, AForbiddenTransitionIsNamed) {
  RequestStateMachine state;
  state.to(S::kPrefill);
  EXPECT_DEATH(state.to(S::kWaiting), "from prefill to waiting");
}

wire::Submit good() {
  wire::Submit submit;
  submit.tokens = {1, 2, 3};
  submit.n_prompt = 3;
  submit.max_tokens = 4;
  return submit;
}

const KvBudget kBudget({plan::KvGroup()}, 2, 16);

constexpr SubmitLimits kLimits{
    .vocab = 10, .model_context = 8, .budget = &kBudget, .n_kv_blocks = 100, .pool_context = 200};

TEST(ValidateSubmit, TakesWhatIsGood) {
  EXPECT_TRUE(validate(good(), kLimits).ok());
  wire::Submit scoring = good();
  scoring.tokens.assign(8, 1);
  scoring.n_prompt = 8;
  scoring.max_tokens = 0;
  EXPECT_TRUE(validate(scoring, kLimits).ok())
      << "nothing is sampled: the whole context may be prompt";
}

TEST(ValidateSubmit, RefusesWithASentenceThatNamesTheFieldAndTheLimit) {
  const auto refused = [](auto&& change) {
    wire::Submit submit = good();
    change(submit);
    const Status status = validate(submit, kLimits);
    if (status.ok()) return std::string("accepted");
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    return status.error().message;
  };
  using Sub = wire::Submit;
  EXPECT_EQ(refused([](Sub& s) { s.n_prompt = 0; }), "the prompt has no tokens");
  EXPECT_EQ(refused([](Sub& s) { s.n_prompt = 4; }), "n_prompt is 4, and there are only 3 tokens");
  EXPECT_EQ(refused([](Sub& s) { s.max_tokens = -1; }), "max_tokens is -1, and must be >= 0");
  EXPECT_EQ(refused([](Sub& s) { s.tokens[1] = 10; }),
            "tokens: token id 10 is outside the vocabulary of 10 tokens");
  EXPECT_EQ(refused([](Sub& s) { s.tokens[1] = -1; }),
            "tokens: token id -1 is outside the vocabulary of 10 tokens");
  EXPECT_EQ(refused([](Sub& s) {
              s.tokens.assign(8, 1);
              s.n_prompt = 8;
            }),
            "a prompt of 8 tokens does not fit the model's context of 8 tokens");
  EXPECT_EQ(refused([](Sub& s) { s.tokens.assign(8, 1); }),
            "5 tokens are resumed, and prompt, max_tokens and context allow 4");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(refused([&](Sub& s) { s.sampling.temperature = nan; }),
            "temperature is nan, and must be between 0 and 1000000");
  EXPECT_EQ(refused([](Sub& s) { s.sampling.temperature = -1; }),
            "temperature is -1, and must be between 0 and 1000000");
  EXPECT_EQ(refused([](Sub& s) { s.sampling.top_p = 1.5F; }),
            "top_p is 1.5, and must be between 0 and 1");
  EXPECT_EQ(refused([](Sub& s) { s.sampling.top_k = -2; }), "top_k is -2, and must be >= 0");
  EXPECT_EQ(refused([](Sub& s) {
              s.sampling.logit_bias = {{12, 1.0F}};
            }),
            "logit_bias: token id 12 is outside the vocabulary of 10 tokens");
  EXPECT_EQ(refused([&](Sub& s) {
              s.sampling.logit_bias = {{2, nan}};
            }),
            "logit_bias of token 2 is not a number");
  EXPECT_EQ(refused([](Sub& s) { s.sampling.n_logprobs = 11; }),
            "11 logprobs are asked for, and at most 10 are given");
}

TEST(ValidateSubmit, APromptThatThePoolCannotHoldIsRefusedWithTheNumbers) {
  SubmitLimits small = kLimits;
  small.n_kv_blocks = 2;
  small.pool_context = kBudget.longest(2);
  EXPECT_EQ(small.context(), 4);
  wire::Submit submit = good();
  submit.tokens.assign(4, 1);
  submit.n_prompt = 4;
  EXPECT_EQ(validate(submit, small).error().message,
            "a prompt of 4 tokens needs 3 KV blocks of 2 tokens, and the replica has 2");
}

TEST(TenantTable, NamesBeyondTheBoundShareOther) {
  TenantTable table({{"alice", 2}}, 3);
  EXPECT_EQ(table.name(table.find_or_add("alice")), "alice");
  EXPECT_EQ(table.name(table.find_or_add("bob")), "bob");
  EXPECT_EQ(table.name(table.find_or_add("carol")), "other");
  EXPECT_EQ(table.find_or_add("bob"), table.find_or_add("bob"));
  EXPECT_EQ(table.size(), 3);
}

TEST(TenantTable, WhoComesBackHasNoCreditForItsPause) {
  TenantTable table({}, 8);
  const int32_t a = table.find_or_add("a");
  const int32_t b = table.find_or_add("b");
  table.begin(a);
  table.serve(a, 1000);
  table.begin(b);
  EXPECT_EQ(table.shares()[static_cast<size_t>(b)].served, 1000);
  table.end(b);
  table.serve(a, 500);
  table.begin(b);
  EXPECT_EQ(table.shares()[static_cast<size_t>(b)].served, 1500);
}

TEST(TenantTable, CountsWhatWaits) {
  TenantTable table({}, 8);
  const int32_t a = table.find_or_add("a");
  table.push_waiting(a, {0, 1, 7, 100});
  table.push_waiting(a, {-1, 2, 8, 50});
  EXPECT_EQ(table.n_waiting(), 2);
  EXPECT_EQ(table.waiting_tokens(), 150);
  EXPECT_EQ(table.pick(1).at(0).slot, 8u) << "the better priority";
  table.remove_waiting(a, {0, 1, 7, 100});
  EXPECT_EQ(table.waiting_tokens(), 50);
}

}  // namespace
}  // namespace trireme::coordinator
