// Models whose layers slide, behind the real scheduler: tokens and log-probabilities are those of a
// lone request with all its keys in memory, bit for bit, whatever was batched, cut, found, given
// back, preempted or resumed. The windows of these goldens are 24 tokens, the prompts are longer.
#include <gtest/gtest.h>

#include "parallel/plan/kv_layout.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/live_replica.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;

struct Setting {
  const char* name;
  const char* model;
  int tp;
  int pp;
  ComputeDType compute;
  bool e4m3_kv = false;
};

const Setting kSettings[] = {
    {"gemma2_f32", "gemma2", 1, 1, ComputeDType::kF32},
    {"gemma2_tp2_pp2_bf16", "gemma2", 2, 2, ComputeDType::kBF16},
    {"gemma2_tp2_f32_e4m3_kv", "gemma2", 2, 1, ComputeDType::kF32, true},
    {"llama4_pp2_bf16_e4m3_kv", "llama4", 1, 2, ComputeDType::kBF16, true},
    {"gemma3_bf16", "gemma3", 1, 1, ComputeDType::kBF16},
    {"gemma3_pp2_f32", "gemma3", 1, 2, ComputeDType::kF32},
    {"cohere2_f32", "cohere2", 2, 1, ComputeDType::kF32},
    {"cohere2_pp3_bf16", "cohere2", 1, 3, ComputeDType::kBF16},
    {"gpt_oss_f32", "gpt_oss", 2, 1, ComputeDType::kF32},
    {"gpt_oss_pp2_bf16", "gpt_oss", 1, 2, ComputeDType::kBF16},
    {"llama4_bf16", "llama4", 1, 1, ComputeDType::kBF16},
    {"llama4_tp2_pp2_f32", "llama4", 2, 2, ComputeDType::kF32},
    {"mistral_f32", "mistral", 1, 1, ComputeDType::kF32},
    {"mistral_tp2_pp2_bf16", "mistral", 2, 2, ComputeDType::kBF16},
};

// Greedy and sampled; two families of prompts with a common beginning, and one of its own.
std::vector<LiveRequest> requests() {
  std::vector<LiveRequest> all;
  for (uint64_t i = 0; i < 6; ++i) {
    LiveRequest request;
    request.prompt = make_prompt(i < 5 ? 110 : 20, i % 2, 512);
    const std::vector<int32_t> own = make_prompt(40, 100 + i / 2, 512);
    request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    request.n_new = 24;
    request.sampling.seed = i;
    request.sampling.temperature = i % 3 == 0 ? 0.0f : 0.9f;
    request.sampling.n_logprobs = 4;
    all.push_back(std::move(request));
  }
  return all;
}

void expect_same(const step::PositionLogprobs& a, const step::PositionLogprobs& b) {
  EXPECT_EQ(a.actual.token, b.actual.token);
  EXPECT_EQ(a.actual.logprob, b.actual.logprob);
  ASSERT_EQ(a.top.size(), b.top.size());
  for (size_t i = 0; i < a.top.size(); ++i) {
    EXPECT_EQ(a.top[i].token, b.top[i].token);
    EXPECT_EQ(a.top[i].logprob, b.top[i].logprob);
  }
}

class KvGroups : public testing::TestWithParam<Setting> {
 protected:
  static LiveOptions options() {
    const Setting& setting = GetParam();
    return {.model_dir = golden_dir(setting.model),
            .tp = setting.tp,
            .pp = setting.pp,
            .compute = setting.compute,
            .e4m3_kv = setting.e4m3_kv};
  }

  // Each request alone, whole in one step, with blocks for all of it.
  const std::vector<LiveAnswer>& alone() {
    if (!alone_.empty()) return alone_;
    LiveReplica replica(options());
    for (const LiveRequest& request : requests()) {
      alone_.push_back(replica.run({request}).front());
      CHECK_EQ(alone_.back().tokens.size(), 24u) << alone_.back().error;
    }
    return alone_;
  }

  void expect_as_alone(const std::vector<LiveAnswer>& answers, size_t n_before = 0) {
    ASSERT_EQ(answers.size(), alone().size());
    for (size_t i = 0; i < answers.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i));
      const LiveAnswer& want = alone()[i];
      EXPECT_EQ(answers[i].tokens,
                std::vector<int32_t>(want.tokens.begin() + static_cast<ptrdiff_t>(n_before),
                                     want.tokens.end()));
      ASSERT_EQ(answers[i].logprobs.size() + n_before, want.logprobs.size());
      for (size_t k = 0; k < answers[i].logprobs.size(); ++k) {
        expect_same(answers[i].logprobs[k], want.logprobs[k + n_before]);
      }
    }
  }

  size_t n_groups() const {
    const auto spec = plan::load_model_spec(golden_dir(GetParam().model));
    const auto plan = plan::make_parallel_plan(*spec, {.tp = GetParam().tp, .pp = GetParam().pp});
    return plan::make_kv_layout(*spec, *plan).groups.size();
  }

  std::vector<LiveAnswer> alone_;
};

TEST_P(KvGroups, TogetherAndInChunksOf1And7And64) {
  for (const int32_t max_step_tokens : {512, 64, 7, 1}) {
    SCOPED_TRACE("steps of " + std::to_string(max_step_tokens));
    LiveOptions live = options();
    live.max_step_tokens = max_step_tokens;
    LiveReplica replica(live);
    expect_as_alone(replica.run(requests()));
  }
}

TEST_P(KvGroups, WithAWarmPrefix) {
  LiveOptions live = options();
  live.prefix_cache = true;
  live.max_step_tokens = 32;
  LiveReplica replica(live);
  expect_as_alone(replica.run(requests()));
  int32_t n_cached = 0;
  for (const LiveRequest& request : requests()) {  // again: now everything is there
    n_cached += replica.run({request}).front().cached_tokens;
  }
  EXPECT_EQ(n_cached, 5 * 144 + 48) << "all full blocks before the last token";
  expect_as_alone(replica.run(requests()));
}

TEST_P(KvGroups, PreemptedInASmallPool) {
  LiveOptions live = options();
  live.max_step_tokens = 16;
  live.max_running = 2;
  // One sequence and a bit; with stages, two prompts but not what they grow to.
  live.max_kv_blocks = static_cast<int64_t>(n_groups()) * (GetParam().pp == 1 ? 15 : 21);
  for (const bool prefix_cache : {false, true}) {
    live.prefix_cache = prefix_cache;
    LiveReplica replica(live);
    ASSERT_GE(replica.context(), 176);
    // Better priorities come while the first ones decode.
    std::vector<LiveRequest> first = requests();
    const std::vector<LiveRequest> late(first.begin() + 3, first.end());
    for (LiveRequest& request : first) request.priority = 1;
    first.resize(3);
    expect_as_alone(replica.run(first, late, 5));
    if (GetParam().pp < 3) {
      EXPECT_GT(replica.n_preemptions(), 0);
    }
  }
}

TEST_P(KvGroups, ResumedFromAnotherReplica) {
  for (const size_t n_before : {1u, 13u}) {
    std::vector<LiveRequest> rest = requests();
    for (size_t i = 0; i < rest.size(); ++i) {
      const auto& tokens = alone()[i].tokens;
      rest[i].emitted.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(n_before));
    }
    LiveOptions live = options();
    live.prefix_cache = n_before == 13;
    live.max_step_tokens = 48;
    LiveReplica replica(live);
    expect_as_alone(replica.run(rest), n_before);
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, KvGroups, testing::ValuesIn(kSettings),
                         [](const testing::TestParamInfo<Setting>& test) {
                           return std::string(test.param.name);
                         });

// All layers slide: 240 tokens are 15 blocks, of which 24 tokens and a step's are ever held.
TEST(KvGroupsOfMistral, APoolTooSmallForTheSequenceServesItToItsEnd) {
  LiveRequest request;
  request.prompt = make_prompt(200, 7, 512);
  request.n_new = 40;
  request.sampling = greedy_sampling();
  request.sampling.n_logprobs = 4;
  LiveReplica whole({.model_dir = golden_dir("mistral")});
  const LiveAnswer want = whole.run({request}).front();
  EXPECT_EQ(whole.most_blocks_used(), 13) << "the whole prompt in one step";

  LiveReplica small(
      {.model_dir = golden_dir("mistral"), .max_step_tokens = 16, .max_kv_blocks = 6});
  EXPECT_EQ(small.context(), 256) << "the model's: the pool is no limit";
  for (const LiveAnswer& answer : small.run({request, request, request})) {
    EXPECT_EQ(answer.finish, wire::FinishReason::kLength) << answer.error;
    EXPECT_EQ(answer.tokens, want.tokens);
    ASSERT_EQ(answer.logprobs.size(), want.logprobs.size());
    for (size_t i = 0; i < want.logprobs.size(); ++i) {
      expect_same(answer.logprobs[i], want.logprobs[i]);
    }
  }
  EXPECT_LE(small.most_blocks_used(), 6);
}

}  // namespace
}  // namespace trireme::worker
