// Plans that are wrong, ranks that disagree, ranks that are late; and a model with biases and an
// odd vocabulary.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>

#include "parallel/comm/inproc/inproc_world.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/plain_forward.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using testing::AllOf;
using testing::HasSubstr;

step::StepPlan one_prompt(uint64_t id, std::vector<int32_t> prompt, std::vector<BlockId> blocks) {
  step::StepPlan plan;
  const auto n = static_cast<int32_t>(prompt.size());
  plan.starts.push_back({SequenceId(id), std::move(prompt), n, greedy_sampling()});
  plan.spans.push_back(
      {.id = SequenceId(id), .n_tokens = n, .new_blocks = std::move(blocks), .sample = true});
  return plan;
}

const TableLimits kLimits{.vocab = 512,
                          .context = 64,
                          .block_size = 16,
                          .n_blocks = 8,
                          .max_step_tokens = 32,
                          .max_logits_rows = 4};

// What a fresh table says of a plan behind a good first step (sequence 1: positions 0..2, block 0).
std::string table_error(const std::function<void(step::StepPlan&)>& change) {
  SequenceTable table(kLimits);
  HostBatch batch;
  CHECK(table.apply(one_prompt(1, {5, 6, 7}, {BlockId(0)}), batch).ok());
  step::StepPlan plan;
  plan.spans.push_back(
      {.id = SequenceId(1), .first_position = 3, .n_tokens = 1, .token = 9, .sample = true});
  change(plan);
  const Status status = table.apply(plan, batch);
  return status.ok() ? "accepted" : status.error().message;
}

TEST(SequenceTable, ASequenceKeepsTheRopeSetOfTheLengthThatItStartedWith) {
  TableLimits limits = kLimits;
  limits.recompute_length = 4;
  SequenceTable table(limits);
  HostBatch batch;
  CHECK(table.apply(one_prompt(1, {5, 6, 7, 8}, {BlockId(0)}), batch).ok());
  EXPECT_EQ(batch.rope_sets, (std::vector<int32_t>{0, 0, 0, 0}));
  CHECK(table.apply(one_prompt(2, {5, 6, 7, 8, 9}, {BlockId(1)}), batch).ok());
  EXPECT_EQ(batch.rope_sets, (std::vector<int32_t>{1, 1, 1, 1, 1}));
  step::StepPlan plan;
  plan.spans.push_back(
      {.id = SequenceId(1), .first_position = 4, .n_tokens = 1, .token = 9, .sample = true});
  const Status status = table.apply(plan, batch);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("grows past 4 tokens"));
}

TEST(SequenceTable, GoesOnWithTheTokenThatWasSampledHere) {
  SequenceTable table(kLimits);
  HostBatch batch;
  CHECK(table.apply(one_prompt(1, {5, 6, 7}, {BlockId(0)}), batch).ok());
  table.note_sample(SequenceId(1), 11);
  step::StepPlan plan;
  plan.spans.push_back({.id = SequenceId(1),
                        .first_position = 3,
                        .n_tokens = 1,
                        .token = step::kSampledToken,
                        .sample = true});
  ASSERT_TRUE(table.apply(plan, batch).ok());
  EXPECT_EQ(batch.ids, std::vector<int32_t>{11});
  plan.spans[0].first_position = 4;
  const Status again = table.apply(plan, batch);
  ASSERT_FALSE(again.ok()) << "a sample is taken once";
  EXPECT_THAT(again.error().message, HasSubstr("sampled none"));
}

TEST(SequenceTable, WhereTheBaseGrowsEachTokenHasItsOwn) {
  TableLimits limits = kLimits;
  limits.rope_growth = {.from = 3};
  SequenceTable table(limits);
  HostBatch batch;
  // Two tokens more were sampled before the sequence came here.
  step::StepPlan plan = one_prompt(1, {5, 6, 7, 8, 9, 10}, {BlockId(0)});
  plan.starts[0].n_prompt = 4;
  CHECK(table.apply(plan, batch).ok());
  EXPECT_EQ(batch.rope_sets, (std::vector<int32_t>{1, 1, 1, 1, 2, 3}));
}

TEST(SequenceTable, BelievesNothing) {
  using Plan = step::StepPlan;
  EXPECT_EQ(table_error([](Plan&) {}), "accepted");
  const auto span = [](const std::function<void(step::SequenceSpan&)>& change) {
    return table_error([&](Plan& plan) { change(plan.spans[0]); });
  };
  EXPECT_THAT(span([](auto& s) { s.id = SequenceId(2); }), HasSubstr("sequence 2 is not known"));
  EXPECT_THAT(span([](auto& s) { s.first_position = 4; }),
              AllOf(HasSubstr("sequence 1"), HasSubstr("3 comes next")));
  EXPECT_THAT(span([](auto& s) { s.first_position = -1; }), HasSubstr("position -1"));
  EXPECT_THAT(span([](auto& s) { s.n_tokens = 0; }), HasSubstr("0 tokens"));
  EXPECT_THAT(span([](auto& s) { s.n_tokens = INT32_MAX; }), HasSubstr("longer than 32"));
  EXPECT_THAT(span([](auto& s) { s.n_tokens = 2; }), HasSubstr("span of 2"));
  EXPECT_THAT(span([](auto& s) { s.token = 512; }), HasSubstr("token id 512"));
  EXPECT_THAT(span([](auto& s) { s.token = -3; }), HasSubstr("token id -3"));
  EXPECT_THAT(span([](auto& s) { s.token = step::kSampledToken; }), HasSubstr("sampled none"));
  EXPECT_THAT(span([](auto& s) { s.token = -1; }), HasSubstr("only 3 tokens are known"));
  EXPECT_THAT(span([](auto& s) { s.new_blocks = {BlockId(8)}; }), HasSubstr("pool of 8"));
  EXPECT_THAT(span([](auto& s) { s.new_blocks = {BlockId(-1)}; }), HasSubstr("block -1"));
  EXPECT_THAT(span([](auto& s) { s.new_blocks.assign(5, BlockId(1)); }), HasSubstr("more blocks"));
  EXPECT_THAT(span([](auto& s) {
                s.first_logprob_position = 3;
                s.n_logprob_positions = 1;
              }),
              HasSubstr("log-probabilities"));
  EXPECT_THAT(table_error([](Plan& p) { p.spans.push_back(p.spans[0]); }), HasSubstr("twice"));
  EXPECT_THAT(table_error([](Plan& p) { p.releases = {SequenceId(7)}; }), HasSubstr("sequence 7"));
  EXPECT_THAT(table_error([](Plan& p) { p.releases = {SequenceId(1)}; }), HasSubstr("not known"));

  const auto start = [](const std::function<void(step::SequenceStart&)>& change) {
    return table_error([&](Plan& plan) {
      plan.starts.push_back({SequenceId(3), {4, 5}, 1, greedy_sampling()});
      change(plan.starts[0]);
    });
  };
  EXPECT_EQ(start([](auto&) {}), "accepted");
  EXPECT_THAT(start([](auto& s) { s.id = SequenceId(1); }), HasSubstr("already there"));
  EXPECT_THAT(start([](auto& s) { s.tokens = {}; }), HasSubstr("0 tokens"));
  EXPECT_THAT(start([](auto& s) { s.tokens.assign(65, 4); }), HasSubstr("65 tokens"));
  EXPECT_THAT(start([](auto& s) { s.tokens[1] = 512; }), HasSubstr("token id 512"));
  EXPECT_THAT(start([](auto& s) { s.n_prompt = 3; }), HasSubstr("prompt of 3"));
  EXPECT_THAT(start([](auto& s) { s.n_prompt = 0; }), HasSubstr("prompt of 0"));
  EXPECT_THAT(start([](auto& s) { s.sampling.temperature = NAN; }), HasSubstr("not a number"));
  EXPECT_THAT(start([](auto& s) { s.sampling.repetition_penalty = 0; }), HasSubstr("range"));
  EXPECT_THAT(start([](auto& s) { s.sampling.logit_bias = {{512, 1.0f}}; }), HasSubstr("512"));
  EXPECT_THAT(start([](auto& s) { s.sampling.allowed_token_ids = {-1}; }), HasSubstr("-1"));

  // A span must not sample behind tokens that it has not computed, nor outgrow its blocks, rows or
  // context.
  const auto prompt_of = [](int n, int n_tokens, size_t n_blocks) {
    return table_error([&](Plan& plan) {
      plan.spans.clear();
      plan.starts.push_back(
          {SequenceId(3), std::vector<int32_t>(static_cast<size_t>(n), 4), n, greedy_sampling()});
      plan.spans.push_back({.id = SequenceId(3),
                            .n_tokens = n_tokens,
                            .new_blocks = std::vector<BlockId>(n_blocks, BlockId(2)),
                            .sample = true});
      if (n_blocks == 3) plan.spans[0].n_logprob_positions = 5;
    });
  };
  EXPECT_EQ(prompt_of(20, 20, 2), "accepted");
  EXPECT_THAT(prompt_of(20, 19, 2), HasSubstr("samples at position 19"));
  EXPECT_THAT(prompt_of(20, 20, 1), HasSubstr("its 1 blocks hold 16"));
  EXPECT_THAT(prompt_of(40, 33, 4), HasSubstr("longer than 32"));
  EXPECT_THAT(prompt_of(20, 20, 3), HasSubstr("more than 4 rows"));
}

// Two groups of layers: one sees everything, one the last 20 tokens.
std::string hybrid_error(const std::function<void(step::StepPlan&)>& change) {
  SequenceTable table({.vocab = 512,
                       .context = 128,
                       .block_size = 16,
                       .n_blocks = 8,
                       .kv_groups = {plan::KvGroup(), {plan::AttentionKind::kSliding, 20}},
                       .max_step_tokens = 64,
                       .max_logits_rows = 4});
  // Positions 48 to 69 behind a cached prefix: the second table begins with the block of position
  // 29, the second one.
  step::StepPlan plan = one_prompt(1, std::vector<int32_t>(70, 5), {});
  plan.spans[0].first_position = 48;
  plan.spans[0].n_tokens = 22;
  for (const int32_t id : {0, 1, 2, 3, 4, 5, 6, 7, 1}) plan.spans[0].new_blocks.emplace_back(id);
  plan.n_group_blocks = {5, 4};
  change(plan);
  HostBatch batch;
  const Status status = table.apply(plan, batch);
  if (!status.ok()) return status.error().message;
  EXPECT_EQ(batch.max_blocks, 5);
  EXPECT_EQ(batch.kv_groups[0].block_table, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(batch.kv_groups[1].block_table, (std::vector<int32_t>{0, 5, 6, 7, 1}));
  EXPECT_EQ(batch.kv_groups[0].slots.front(), 3 * 16);
  EXPECT_EQ(batch.kv_groups[1].slots.front(), 7 * 16);
  EXPECT_EQ(batch.kv_groups[1].slots.back(), 1 * 16 + 5);
  // A step later the window begins at position 51: what is before it is nobody's business.
  step::StepPlan next;
  next.spans.push_back({.id = SequenceId(1), .first_position = 70, .n_tokens = 1, .token = 9});
  EXPECT_TRUE(table.apply(next, batch).ok());
  EXPECT_EQ(batch.kv_groups[0].block_table, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(batch.kv_groups[1].block_table, (std::vector<int32_t>{0, 0, 0, 7, 1}));
  return "accepted";
}

TEST(SequenceTable, EveryGroupOfLayersHasATableOfItsOwn) {
  const auto counts = [](std::vector<int32_t> n) {
    return hybrid_error([&](step::StepPlan& plan) { plan.n_group_blocks = std::move(n); });
  };
  EXPECT_EQ(counts({5, 4}), "accepted");
  EXPECT_THAT(counts({}), HasSubstr("for each of 2 groups"));
  EXPECT_THAT(counts({9}), HasSubstr("for each of 2 groups"));
  EXPECT_THAT(counts({5, 3, 1}), HasSubstr("its 4 blocks hold 64"));
  EXPECT_THAT(counts({5, 4, 0}), HasSubstr("in 3 counts, and 2 are needed"));
  EXPECT_THAT(counts({5, 5}), HasSubstr("5 blocks for a group"));
  EXPECT_THAT(counts({5, -1}), HasSubstr("-1 blocks for a group"));
  EXPECT_THAT(counts({4, 5}), HasSubstr("its 4 blocks hold 64"));
  EXPECT_THAT(hybrid_error([](step::StepPlan& plan) { plan.spans[0].new_blocks.emplace_back(1); }),
              HasSubstr("1 blocks for no group"));
  EXPECT_THAT(hybrid_error([](step::StepPlan& plan) {
                plan.spans[0].new_blocks.assign(14, BlockId(1));
                plan.n_group_blocks = {5, 9};
              }),
              HasSubstr("more blocks than its context has"));
}

TEST(StepExecutor, RefusesPlansOutOfOrderAndLyingHeaders) {
  for (const int fault : {0, 1, 2, 3}) {
    TestReplica replica({.model_dir = golden_dir("llama"), .tp = 2});
    replica.run(one_prompt(1, {5, 6}, {BlockId(0)}));
    step::StepPlan plan = one_prompt(2, {7}, {BlockId(1)});
    plan.header = replica.next_header(plan);
    if (fault == 0) plan.header.step = StepId(1);
    if (fault == 1) plan.header.epoch = 2;
    if (fault == 2) plan.header.shape_hash ^= 1;
    const step::RankFailure failure = replica.run_bad(plan);
    const char* words[] = {"after step 1", "epoch 2", "shape", ""};
    EXPECT_THAT(failure.message, HasSubstr(words[fault]));
    EXPECT_EQ(failure.message.empty(), fault == 3);
  }
}

TEST(StepExecutor, PlansOfAllStagesAreInFlight) {
  TestReplica replica({.model_dir = golden_dir("llama"), .pp = 4});
  const auto prompt = [](uint64_t i) { return make_prompt(20, i, 512); };
  std::vector<int32_t> expected;
  for (uint64_t i = 0; i < 8; ++i) {
    const auto block = static_cast<int32_t>(i) * 2;
    const auto result =
        replica.run(one_prompt(1 + i, prompt(i), {BlockId(block), BlockId(block + 1)}));
    expected.push_back(result.outputs[0].token);
  }
  std::vector<step::StepPlan> plans;
  for (uint64_t i = 0; i < 8; ++i) {
    const auto block = static_cast<int32_t>(i) * 2 + 16;
    plans.push_back(one_prompt(100 + i, prompt(i), {BlockId(block), BlockId(block + 1)}));
  }
  const auto results = replica.run_all(std::move(plans));
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(results[i].outputs[0].token, expected[i]);
}

// Headers, candidates and whole rows: nothing of the host's goes over a device's groups where there
// are others, and the answers are the same.
TEST(StepExecutor, RecordsOfTheHostGoOverItsOwnGroups) {
  for (const bool on_device : {false, true}) {
    const ReplicaOptions options{
        .model_dir = golden_dir("llama"), .tp = 2, .pp = 2, .scan_on_device = on_device};
    ReplicaOptions with_host = options;
    with_host.host_groups = true;
    std::vector<TestSequence> sequences;
    for (uint64_t i = 0; i < 4; ++i) {
      TestSequence sequence{.prompt = make_prompt(5 + static_cast<int>(i) * 6, i, 512), .n_new = 4};
      sequence.sampling.seed = i;
      sequence.sampling.temperature = i == 0 ? 0.0f : 0.9f;
      if (i == 2) sequence.sampling.top_p = 0.999f;  // asks for the whole row
      sequence.sampling.n_logprobs = 3;
      sequences.push_back(std::move(sequence));
    }
    TestReplica plain(options);
    TestReplica split(with_host);
    const auto want = generate(plain, sequences);
    const auto got = generate(split, sequences);
    for (size_t i = 0; i < want.size(); ++i) {
      SCOPED_TRACE(i);
      EXPECT_EQ(got[i].tokens, want[i].tokens);
      EXPECT_EQ(got[i].logits, want[i].logits);
    }
  }
}

TEST(StepExecutor, ARankThatFailsEndsTheGroupsOfBothKinds) {
  TestReplica replica({.model_dir = golden_dir("llama"), .tp = 2, .pp = 2, .host_groups = true});
  step::StepPlan plan = one_prompt(1, {5, 6}, {BlockId(0)});
  plan.header = replica.next_header(plan);
  plan.header.shape_hash += 1;
  plan.deadline_ns = 120'000'000'000;
  // Every rank refuses it, or hears of one that has; none is left waiting in a group, or the
  // replica's end would not come.
  EXPECT_THAT(replica.run_bad(plan).message, HasSubstr("shape"));
}

TEST(StageLink, KnowsWhichStagesAreOnOtherMachines) {
  EXPECT_EQ(boundaries_between_machines({7}, 1), std::vector<bool>());
  EXPECT_EQ(boundaries_between_machines({7, 7, 7, 7}, 2), std::vector<bool>{false});
  EXPECT_EQ(boundaries_between_machines({7, 7, 7, 8, 8, 8}, 2), (std::vector<bool>{true, true}));
  EXPECT_EQ(boundaries_between_machines({7, 7, 8, 8, 8, 8}, 2), (std::vector<bool>{true, false}));
}

TEST(StageLink, HiddenStatesInPartsAreTheSame) {
  for (const auto& [tp, pp] : {std::pair{2, 2}, {4, 2}, {2, 3}}) {
    SCOPED_TRACE(fmt::format("tp {} pp {}", tp, pp));
    TestReplica one({.model_dir = golden_dir("llama"), .tp = tp, .pp = pp});
    TestReplica many(
        {.model_dir = golden_dir("llama"), .tp = tp, .pp = pp, .machine_per_stage = true});
    for (uint64_t i = 0; i < 3; ++i) {
      const auto plan = one_prompt(
          1 + i, make_prompt(3 + static_cast<int>(i) * 7, i, 512),
          {BlockId(static_cast<int32_t>(i) * 2), BlockId(static_cast<int32_t>(i) * 2 + 1)});
      const auto want = one.run(plan);
      const auto got = many.run(plan);
      EXPECT_EQ(got.outputs[0].token, want.outputs[0].token);
      EXPECT_EQ(many.logits(), one.logits());
    }
  }
}

TEST(StepExecutor, AnEmptyPlanIsAnsweredByTheLastStage) {
  TestReplica replica({.model_dir = golden_dir("llama"), .tp = 2, .pp = 2});
  EXPECT_TRUE(replica.run({}).outputs.empty());
  const auto result = replica.run(one_prompt(1, {5, 6}, {BlockId(0)}));
  EXPECT_EQ(result.outputs.size(), 1u);
  step::StepPlan release;
  release.releases = {SequenceId(1)};
  EXPECT_TRUE(replica.run(release).outputs.empty());
}

// Workers on threads, each with a plan of its own.
class SplitReplica {
 public:
  SplitReplica(int tp, int pp, const std::function<void(int, WorkerOptions&)>& change = {}) {
    const auto spec = plan::load_model_spec(golden_dir("llama"));
    const auto plan = plan::make_parallel_plan(*spec, {.tp = tp, .pp = pp});
    auto meshes = comm::make_inproc_meshes(tp, pp, clock_);
    workers_.resize(meshes.size());
    errors_.resize(meshes.size());
    on_ranks([&](size_t rank) {
      WorkerOptions options;
      options.model_dir = golden_dir("llama");
      options.spec = *spec;
      options.plan = *plan;
      options.worker_rank = static_cast<int>(rank);
      options.memory_bytes = int64_t{1} << 30;
      if (change) change(static_cast<int>(rank), options);
      auto worker = Worker::create(options, std::move(meshes[rank]),
                                   make_test_backend("cpu", kernels::ComputeDType::kF32), clock_);
      if (!worker.ok()) {
        errors_[rank] = worker.error().message;
        return;
      }
      workers_[rank] = std::move(*worker);
      CHECK(workers_[rank]->allocate_kv(16).ok());
    });
  }

  // Rank i runs plans[i]; the messages, empty for success. A rank without a plan stays away.
  std::vector<std::string> execute(const std::vector<std::optional<step::StepPlan>>& plans) {
    std::vector<std::string> messages(plans.size());
    on_ranks([&](size_t rank) {
      if (!plans[rank].has_value()) return;
      const auto result = workers_[rank]->execute(*plans[rank]);
      if (!result.ok()) messages[rank] = result.error().message;
    });
    return messages;
  }

  const std::vector<std::string>& errors() const { return errors_; }
  Worker& worker(size_t rank) { return *workers_[rank]; }

 private:
  void on_ranks(const std::function<void(size_t)>& body) {
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < workers_.size(); ++rank) threads.emplace_back(body, rank);
    for (std::thread& thread : threads) thread.join();
  }

  SystemClock clock_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::string> errors_;
};

step::StepPlan with_header(step::StepPlan plan, uint64_t step) {
  plan.header = {.epoch = 1, .step = StepId(step), .shape_hash = step::shape_hash(plan)};
  plan.deadline_ns = 60'000'000'000;
  return plan;
}

TEST(StepExecutor, RanksAgreeOnTheHeaderBeforeTheFirstCollective) {
  const auto plan = with_header(one_prompt(1, {5, 6}, {BlockId(0)}), 1);
  const auto longer = with_header(one_prompt(1, {5, 6, 7}, {BlockId(0)}), 1);
  {
    SplitReplica replica(2, 1);
    const auto messages = replica.execute({plan, longer});
    EXPECT_THAT(messages[0] + messages[1], HasSubstr("is at epoch 1 step 1"));
    EXPECT_FALSE(replica.execute({plan, plan})[0].empty()) << "a failed rank runs no other plan";
  }
  SplitReplica replica(1, 2);
  const auto messages = replica.execute({plan, longer});
  EXPECT_THAT(messages[1], AllOf(HasSubstr("stage 0 sent"), HasSubstr("stage 1 expects")));
}

TEST(StepExecutor, ALateNeighbourIsNamedWithStepAndOp) {
  auto plan = with_header(one_prompt(1, {5, 6}, {BlockId(0)}), 1);
  plan.deadline_ns = 100'000'000;
  SplitReplica replica(2, 1);
  const auto messages = replica.execute({plan, std::nullopt});
  EXPECT_THAT(messages[0], HasSubstr("step header all_gather"));
  EXPECT_EQ(replica.worker(0).last_op(), "step header all_gather");
}

TEST(Worker, RanksThatWereStartedDifferentlyDoNotStart) {
  const SplitReplica replica(2, 1, [](int rank, WorkerOptions& options) {
    options.random_weights = true;
    options.random_seed = static_cast<uint64_t>(rank);
  });
  EXPECT_THAT(replica.errors()[0] + replica.errors()[1], HasSubstr("started with different"));
}

// Of the same sizes and weights, but not of the same arithmetic.
TEST(Worker, RanksWhoseConfigsSayDifferentThingsDoNotStart) {
  using Change = void (*)(plan::ModelSpec&);
  const auto with_parts = [](plan::ModelSpec& spec) {
    spec.mla.emplace();
    spec.moe.emplace();
  };
  for (const Change change : {
           +[](plan::ModelSpec& spec) { spec.logit_scale = 2; },
           +[](plan::ModelSpec& spec) { spec.ropes[0].layout = plan::RopeLayout::kInterleaved; },
           +[](plan::ModelSpec& spec) { spec.mla->nope_dim = 1; },
           +[](plan::ModelSpec& spec) { spec.moe->weight_scale = 2; },
           +[](plan::ModelSpec& spec) { spec.moe->group_score = plan::GroupScore::kMax; },
       }) {
    const SplitReplica replica(2, 1, [&](int rank, WorkerOptions& options) {
      with_parts(options.spec);
      if (rank == 1) change(options.spec);
    });
    EXPECT_THAT(replica.errors()[0] + replica.errors()[1], HasSubstr("started with different"));
  }
}

TEST(Worker, SaysBeforeLoadingThatMemoryIsShort) {
  const SplitReplica replica(1, 1, [](int, WorkerOptions& options) {
    options.model_dir = "no such folder";  // never reached
    options.memory_bytes = 1'000'000;
  });
  EXPECT_THAT(replica.errors()[0], AllOf(HasSubstr("rank 0"), HasSubstr("of 1.00 MB")));
}

TEST(Worker, KvBlocksBeyondItsMemoryAreRefused) {
  SplitReplica replica(1, 1);
  EXPECT_THAT(replica.worker(0).allocate_kv(16).error().message, HasSubstr("already"));
  const SplitReplica bad(1, 1, [](int, WorkerOptions& options) { options.block_size = 17; });
  EXPECT_THAT(bad.errors()[0], HasSubstr("block_size 17"));
}

// Biases everywhere, a vocabulary that no tp divides, an MLP width that tp does not divide, grouped
// heads.
std::string odd_config(bool tied) {
  return fmt::format(
      R"({{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":48,
"intermediate_size":70,"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,
"head_dim":16,"vocab_size":101,"rms_norm_eps":0.01,"rope_theta":1000.0,
"max_position_embeddings":64,"tie_word_embeddings":{},"hidden_act":"silu","attention_bias":true,
"mlp_bias":true,"torch_dtype":"bfloat16","bos_token_id":1,"eos_token_id":2}})",
      tied);
}

TEST(Worker, OddShapesAndBiasesMatchPlainArithmetic) {
  const std::vector<int32_t> prompt = make_prompt(19, 3, 101);
  for (const bool tied : {false, true}) {
    const std::string config = odd_config(tied);
    const auto spec = plan::parse_model_spec(config);
    ASSERT_TRUE(spec.ok()) << spec.error().message;
    const auto weights = make_random_weights(1);
    const std::vector<double> want = plain_llama_logits(*spec, *weights, prompt);
    double size = 0;
    for (const double logit : want) size = std::max(size, std::abs(logit));
    for (const auto& [tp, pp] : {std::pair(1, 1), {2, 1}, {4, 1}, {1, 3}, {4, 2}}) {
      SCOPED_TRACE(fmt::format("tied {} tp {} pp {}", tied, tp, pp));
      TestReplica replica({.config = config, .tp = tp, .pp = pp});
      const TestSequence sequence{.prompt = prompt, .sampling = greedy_sampling(), .n_new = 1};
      const auto got = generate(replica, {sequence})[0];
      ASSERT_EQ(got.logits[0].size(), want.size());
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_NEAR(got.logits[0][i], want[i], 1e-5 * size) << "token " << i;
      }
    }
  }
}

}  // namespace
}  // namespace trireme::worker
