// Decode steps that are recorded: met once, recorded at the second, replayed from then on.
#include "worker/decode_graphs.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/clock.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "tests/gpu/worker/device_replica.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using kernels::ComputeDType;

HostBatch batch_of(const std::vector<int32_t>& ids, int32_t max_blocks) {
  HostBatch batch;
  batch.query_start.push_back(0);
  batch.max_blocks = max_blocks;
  batch.kv_groups.resize(1);
  for (size_t i = 0; i < ids.size(); ++i) {
    batch.ids.push_back(ids[i]);
    batch.positions.push_back(3);
    batch.context_len.push_back(4);
    batch.query_start.push_back(static_cast<int32_t>(i) + 1);
    batch.kv_groups[0].slots.push_back(static_cast<int64_t>(i));
    batch.kv_groups[0].block_table.insert(batch.kv_groups[0].block_table.end(),
                                          static_cast<size_t>(max_blocks), 0);
  }
  return batch;
}

// A step that looks ids up in a table.
class Lookup {
 public:
  explicit Lookup(kernels::Backend& backend, const TableLimits& limits = {})
      : backend_(backend), limits_(limits) {
    meshes_ = comm::make_inproc_meshes(1, 1, clock_);
    exchange_ = std::make_unique<HostExchange>(backend, *meshes_[0].tp, nullptr);
    limits_.context = 1024;
    limits_.block_size = 16;
    auto graphs = DecodeGraphs::create({.backend = backend,
                                        .tp = *meshes_[0].tp,
                                        .exchange = *exchange_,
                                        .limits = limits_,
                                        .spare_block = 64,
                                        .max_rows = 16});
    CHECK(graphs.ok()) << graphs.error().message;
    graphs_ = std::move(*graphs);
    auto table = allocate_tensor(backend, DType::kF32, {100, 1});
    auto out = allocate_tensor(backend, DType::kF32, {16, 1});
    CHECK(table.ok() && out.ok());
    table_ = std::move(*table);
    out_ = std::move(*out);
    std::vector<float> values(100);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * 2;
    backend.copy_to_device(table_.view.data, values.data(), 400, {});
  }

  std::vector<float> step(const std::vector<int32_t>& ids, int32_t max_blocks = 2) {
    StepContext context;
    context.backend = &backend_;
    context.clock = &clock_;
    HostBatch batch = batch_of(ids, max_blocks);
    if (limits_.has_rope_sets()) batch.rope_sets.assign(ids.size(), 1);
    CHECK(graphs_->takes(batch, false));
    const Status status = graphs_->run(
        batch,
        [&](const Batch& on_device) -> Status {
          ++n_calls_;
          backend_.embedding({.ids = on_device.ids,
                              .table = table_.view,
                              .out = out_.view.rows(0, on_device.n_tokens())},
                             {});
          return {};
        },
        context);
    CHECK(status.ok()) << status.error().message;
    std::vector<float> found(ids.size());
    backend_.copy_to_host(found.data(), out_.view.data, found.size() * sizeof(float), {});
    backend_.synchronize({});
    return found;
  }

  int n_calls() const { return n_calls_; }
  const DecodeGraphs& graphs() const { return *graphs_; }

 private:
  kernels::Backend& backend_;
  SystemClock clock_;
  std::vector<comm::Mesh> meshes_;
  std::unique_ptr<HostExchange> exchange_;
  TableLimits limits_;
  std::unique_ptr<DecodeGraphs> graphs_;
  DeviceTensor table_, out_;
  int n_calls_ = 0;
};

using Floats = std::vector<float>;

TEST(DecodeGraphs, AreRecordedAtTheSecondStepOfASizeAndReadNewInputs) {
  std::string why;
  const auto backend = kernels::testing::make_device_backend(ComputeDType::kF32, &why);
  if (backend == nullptr) GTEST_SKIP() << why;
  Lookup lookup(*backend);
  EXPECT_EQ(lookup.step({3, 4, 5}), (Floats{6, 8, 10}));
  EXPECT_EQ(lookup.n_calls(), 1);
  EXPECT_EQ(lookup.graphs().counts().n_graphs, 0);
  EXPECT_EQ(lookup.step({1, 2, 9}), (Floats{2, 4, 18}));
  EXPECT_EQ(lookup.n_calls(), 2) << "while it is recorded";
  EXPECT_EQ(lookup.graphs().counts().n_graphs, 1);
  EXPECT_EQ(lookup.step({50, 60, 70, 80}), (Floats{100, 120, 140, 160})) << "the same size";
  EXPECT_EQ(lookup.step({99}), Floats{198}) << "another";
  EXPECT_EQ(lookup.n_calls(), 3);
  EXPECT_EQ(lookup.graphs().counts().n_replays, 2);
  // A longer context has tables of another width.
  EXPECT_EQ(lookup.step({5, 6, 7}, 17), (Floats{10, 12, 14}));
  EXPECT_EQ(lookup.n_calls(), 4);
}

// What is recorded reads where the rows were: the largest step of any model has room there.
TEST(DecodeGraphs, TheLargestStepHasRoomWhereTheSmallestWas) {
  TableLimits hybrid{.kv_groups = {plan::KvGroup()}, .recompute_length = 8};
  TableLimits growing{.rope_growth = {.from = 8}};
  for (const TableLimits& limits : {TableLimits(), hybrid, growing}) {
    const auto backend = make_test_backend("cpu", ComputeDType::kF32);
    Lookup lookup(*backend, limits);
    EXPECT_EQ(lookup.step(std::vector<int32_t>(16, 4), 64), Floats(16, 8));
  }
}

TEST(DecodeGraphs, AHostDoesTheStepsAtOnce) {
  const auto backend = make_test_backend("cpu", ComputeDType::kF32);
  Lookup lookup(*backend);
  EXPECT_EQ(lookup.step({3, 4, 5}), (Floats{6, 8, 10}));
  EXPECT_EQ(lookup.step({7, 8, 9}), (Floats{14, 16, 18}));
  EXPECT_EQ(lookup.graphs().counts().n_graphs, 0);
  EXPECT_FALSE(lookup.graphs().takes(batch_of({1}, 2), false)) << "it is not tried again";
}

// Recorded or launched op by op, padded or not: the same tokens, and logits but for rounding.
TEST(DecodeGraphs, ServeTheTokensOfStepsOpByOp) {
  std::string why;
  if (kernels::testing::make_device_backend(ComputeDType::kF32, &why) == nullptr) {
    GTEST_SKIP() << why;
  }
  for (const char* model : {"llama3", "deepseek_v3", "gpt_oss"}) {
    SCOPED_TRACE(model);
    const Golden golden = load_golden(model);
    std::vector<std::vector<Generated>> results;
    for (const bool recorded : {true, false}) {
      TestReplica replica(
          {.model_dir = golden.dir, .make_backend = make_device, .decode_graphs = recorded});
      std::vector<TestSequence> sequences(3);
      for (size_t i = 0; i < 3; ++i) {
        sequences[i].prompt = make_prompt(4 + 9 * static_cast<int>(i), i, 512);
        sequences[i].sampling = greedy_sampling();
        sequences[i].n_new = 6;
      }
      results.push_back(generate(replica, sequences));
      EXPECT_EQ(replica.n_graphs() > 0, recorded);
    }
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(results[0][i].tokens, results[1][i].tokens) << i;
      for (size_t row = 0; row < results[0][i].logits.size(); ++row) {
        for (size_t token = 0; token < results[0][i].logits[row].size(); ++token) {
          ASSERT_NEAR(results[0][i].logits[row][token], results[1][i].logits[row][token], 1e-3f)
              << i << ", step " << row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace trireme::worker
