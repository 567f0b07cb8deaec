// A plan to four ranks and the last stage's result back, and a token batch's way from a replica to
// a router: wall time of the links alone. Ranks are threads here; processes cost the same wake-ups.
// Arguments: sequences, 0 Unix sockets or 1 TCP.
#include <benchmark/benchmark.h>
#include <poll.h>

#include <thread>
#include <vector>

#include "parallel/wire/curve_keys.h"
#include "parallel/wire/endpoints.h"
#include "parallel/wire/zmq_step_link.h"

namespace trireme::wire {
namespace {

step::StepPlan decode_plan(int64_t n_sequences) {
  step::StepPlan plan;
  for (int64_t i = 0; i < n_sequences; ++i) {
    step::SequenceSpan span;
    span.id = SequenceId(1'000'000 + static_cast<uint64_t>(i));
    span.first_position = 700;
    span.n_tokens = 1;
    span.token = 50'000;
    span.sample = true;
    plan.spans.push_back(std::move(span));
  }
  return plan;
}

void run_rank(const StepLinkAddress& address, int rank, int n_ranks) {
  const auto link = std::move(connect_rank_link(address, rank, {})).value();
  if (!link->send(step::RankReady{.worker_rank = rank}).ok()) return;
  while (true) {
    const auto command = link->receive();
    if (!command.ok() || std::holds_alternative<step::Shutdown>(*command)) return;
    const auto& plan = std::get<step::StepPlan>(*command);
    if (rank != n_ranks - 1) continue;
    step::StepResult result{.header = plan.header, .outputs = {}};
    for (const step::SequenceSpan& span : plan.spans) {
      result.outputs.push_back({.id = span.id, .token = 50'001});
    }
    (void)link->send(result);
  }
}

void BM_PlanToFourRanksAndBack(benchmark::State& state) {
  constexpr int kRanks = 4;
  CoordinatorLinkOptions options{.n_ranks = kRanks};
  if (state.range(1) == 0) options.bind_host = "";
  BoundCoordinatorLink bound = std::move(bind_coordinator_link(options)).value();
  std::vector<std::thread> ranks;
  ranks.reserve(kRanks);
  for (int rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back([&bound, rank] { run_rank(bound.address, rank, kRanks); });
  }
  for (int n = 0; n < kRanks; ++n) (void)bound.link->receive(10 * kSecondNs);
  const step::RankCommand plan = decode_plan(state.range(0));
  for (auto _ : state) {
    if (!bound.link->send(plan).ok() || !bound.link->receive(10 * kSecondNs).has_value()) {
      state.SkipWithError("the link failed");
      break;
    }
  }
  (void)bound.link->send(step::Shutdown{"done"});
  for (std::thread& rank : ranks) rank.join();
}
BENCHMARK(BM_PlanToFourRanksAndBack)
    ->ArgNames({"sequences", "tcp"})
    ->ArgsProduct({{1, 64, 1024}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void wait_for(int fd) {
  pollfd item{fd, POLLIN, 0};
  ::poll(&item, 1, 1000);
}

// A batch of `updates` tokens up, a cancel down: replica and router in one thread, CURVE on.
void BM_TokenBatchUpAndCancelDown(benchmark::State& state) {
  const CurvePair server = make_curve_pair().value();
  const CurvePair client = make_curve_pair().value();
  const auto router =
      std::move(RouterEndpoint::bind(
                    "tcp://127.0.0.1:*",
                    CurveServer{server.public_key, server.secret_key, {client.public_key}}, {}))
          .value();
  const auto replica =
      std::move(ReplicaEndpoint::connect(
                    router->address(),
                    CurveClient{server.public_key, client.public_key, client.secret_key}, {}))
          .value();
  TokenBatch batch;
  batch.updates.resize(static_cast<size_t>(state.range(0)));
  for (TokenUpdate& update : batch.updates) update.tokens = {50'000};
  while (!replica->send(batch).ok()) std::this_thread::yield();
  std::optional<FromReplicaMessage> up;
  while (!(up = router->receive()).has_value()) std::this_thread::yield();
  for (auto _ : state) {
    (void)replica->send(batch);
    while (!(up = router->receive()).has_value()) wait_for(router->event_fd());
    (void)router->send(up->peer, Cancel{1});
    while (!replica->receive().has_value()) wait_for(replica->event_fd());
  }
}
BENCHMARK(BM_TokenBatchUpAndCancelDown)
    ->ArgNames({"updates"})
    ->Arg(1)
    ->Arg(64)
    ->Arg(1024)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace trireme::wire
