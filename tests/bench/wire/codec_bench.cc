// The codec's hot paths: a step's tokens on their way to a router, a step's plan on its way to a
// rank.
#include <benchmark/benchmark.h>

#include "parallel/wire/codec.h"

namespace trireme::wire {
namespace {

FromReplica token_batch(int64_t n_updates) {
  TokenBatch batch;
  batch.epoch = 0x123456789abcdef0;
  for (int64_t i = 0; i < n_updates; ++i) {
    TokenUpdate update;
    update.request = 1'000'000 + static_cast<uint64_t>(i);
    update.first_index = 200;
    update.tokens = {static_cast<int32_t>(50'000 + i)};
    batch.updates.push_back(std::move(update));
  }
  return batch;
}

step::RankCommand decode_plan(int64_t n_sequences) {
  step::StepPlan plan;
  plan.header = {1, StepId(12345), 0xfeedfacecafebeef};
  plan.deadline_ns = 60'000'000'000;
  for (int64_t i = 0; i < n_sequences; ++i) {
    step::SequenceSpan span;
    span.id = SequenceId(1'000'000 + static_cast<uint64_t>(i));
    span.first_position = 700;
    span.n_tokens = 1;
    span.token = 50'000;
    span.sample = true;
    if (i % 16 == 0) span.new_blocks = {BlockId(static_cast<int32_t>(i))};
    plan.spans.push_back(std::move(span));
  }
  return plan;
}

void BM_EncodeTokenBatch(benchmark::State& state) {
  const FromReplica message = token_batch(state.range(0));
  size_t n_bytes = 0;
  for (auto _ : state) n_bytes = encode(message).size();
  state.counters["bytes_per_update"] =
      static_cast<double>(n_bytes) / static_cast<double>(state.range(0));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EncodeTokenBatch)->Arg(1)->Arg(64)->Arg(1024);

void BM_DecodeTokenBatch(benchmark::State& state) {
  const std::string bytes = encode(token_batch(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(decode_from_replica(bytes));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_DecodeTokenBatch)->Arg(1)->Arg(64)->Arg(1024);

void BM_EncodePlan(benchmark::State& state) {
  const step::RankCommand message = decode_plan(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(encode(message));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EncodePlan)->Arg(1)->Arg(64)->Arg(1024);

void BM_DecodePlan(benchmark::State& state) {
  const std::string bytes = encode(decode_plan(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(decode_rank_command(bytes));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_DecodePlan)->Arg(1)->Arg(64)->Arg(1024);

}  // namespace
}  // namespace trireme::wire
