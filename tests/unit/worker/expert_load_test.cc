// What ranks tell of their experts' load, against the choices that a backend was seen to make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/routing_recorder.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {
namespace {

using plan::ExpertCut;

// Rows by layer and expert.
using Load = std::map<int32_t, std::vector<int32_t>>;

struct Seen {
  Load told;       // summed over the ranks
  Load chosen;     // seen by the backend of the first rank of each stage
  size_t n_loads;  // ranks that told
};

// 20 steps of three prompts; the sixteenth is a row of each.
Seen run_model(const std::string& model, int tp, int pp, ExpertCut cut) {
  constexpr size_t kTold = 15;
  std::vector<RoutingLog> logs(static_cast<size_t>(pp));
  TestReplica replica({.model_dir = golden_dir(model),
                       .tp = tp,
                       .pp = pp,
                       .experts = cut,
                       .wrap_backend = [&](auto inner, int worker_rank) {
                         if (worker_rank % tp != 0) return inner;
                         return record_routing(std::move(inner),
                                               &logs[static_cast<size_t>(worker_rank / tp)]);
                       }});
  std::vector<TestSequence> sequences;
  for (const int length : {3, 40, 9}) {
    TestSequence sequence;
    sequence.prompt = make_prompt(length, 7, replica.spec().vocab);
    sequence.sampling = greedy_sampling();
    sequence.n_new = 20;
    sequences.push_back(sequence);
  }
  generate(replica, sequences);
  Seen run{.n_loads = replica.expert_loads().size()};
  const auto n_experts = static_cast<size_t>(replica.spec().moe->n_experts);
  for (const step::ExpertLoad& load : replica.expert_loads()) {
    const size_t n_mine = load.rows.size() / load.layers.size();
    for (size_t i = 0; i < load.layers.size(); ++i) {
      std::vector<int32_t>& rows = run.told[load.layers[i]];
      rows.resize(n_experts);
      for (size_t e = 0; e < n_mine; ++e) {
        rows[static_cast<size_t>(load.first_expert) + e] += load.rows[i * n_mine + e];
      }
    }
  }
  std::vector<int32_t> moe_layers;
  for (int32_t i = 0; i < replica.spec().n_layers(); ++i) {
    if (replica.spec().layers[static_cast<size_t>(i)].moe) moe_layers.push_back(i);
  }
  auto layer = moe_layers.begin();
  for (const RoutingLog& log : logs) {
    const size_t n_layers = log.size() / 20;
    for (size_t i = 0; i < n_layers; ++i, ++layer) {
      std::vector<int32_t>& rows = run.chosen[*layer];
      rows.resize(n_experts);
      for (const std::vector<int32_t>& ids : log[kTold * n_layers + i]) {
        for (const int32_t id : ids) ++rows[static_cast<size_t>(id)];
      }
    }
  }
  return run;
}

TEST(ExpertLoad, WhatRanksTellIsWhatTheRouterChose) {
  struct Case {
    const char* model;
    int tp;
    int pp;
    ExpertCut cut;
    size_t n_loads;
  };
  for (const Case& test : {Case{"mixtral", 1, 1, ExpertCut::kExpert, 1},
                           {"mixtral", 2, 1, ExpertCut::kExpert, 2},
                           {"mixtral", 2, 1, ExpertCut::kTensor, 1},
                           {"qwen3_moe", 2, 2, ExpertCut::kExpert, 4},
                           {"qwen3_moe", 2, 2, ExpertCut::kTensor, 2}}) {
    SCOPED_TRACE(testing::Message() << test.model << " tp " << test.tp << " pp " << test.pp
                                    << " loads " << test.n_loads);
    const Seen seen = run_model(test.model, test.tp, test.pp, test.cut);
    EXPECT_EQ(seen.told, seen.chosen);
    EXPECT_EQ(seen.n_loads, test.n_loads);
    const bool is_mixtral = test.model == std::string("mixtral");
    EXPECT_EQ(seen.told.size(), is_mixtral ? 4u : 3u);
    for (const auto& [layer, rows] : seen.told) {
      EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), 0), 3 * (is_mixtral ? 2 : 4)) << layer;
    }
  }
}

TEST(ExpertLoad, ADenseModelTellsOfNone) {
  TestReplica replica({.model_dir = golden_dir("llama3")});
  TestSequence sequence;
  sequence.prompt = make_prompt(4, 7, replica.spec().vocab);
  sequence.sampling = greedy_sampling();
  sequence.n_new = 20;
  generate(replica, {sequence});
  EXPECT_TRUE(replica.expert_loads().empty());
}

}  // namespace
}  // namespace trireme::worker
