// The sampler against plain float64 arithmetic, sharded and whole.
#include "worker/sample/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <random>
#include <thread>

#include "parallel/comm/inproc/inproc_world.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/sample/counter_random.h"
#include "worker/sample/filter.h"

namespace trireme::worker {
namespace {

using Rows = std::vector<std::vector<float>>;

// Runs the rows through tp samplers on threads; padding columns hold a trap that must never win.
// All ranks must agree.
std::vector<RowOutcome> sample_rows_on(bool on_device, int tp, const Rows& rows,
                                       const std::vector<RowRequest>& requests) {
  const SystemClock clock;
  auto meshes = comm::make_inproc_meshes(tp, 1, clock);
  const auto vocab = static_cast<int64_t>(rows.front().size());
  const int64_t padded = (vocab + tp - 1) / tp;
  std::vector<std::vector<RowOutcome>> outcomes(static_cast<size_t>(tp));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(tp));
  for (int r = 0; r < tp; ++r) {
    threads.emplace_back([&, r] {
      plan::RankPlan rank;
      rank.tp_rank = r;
      rank.vocab_padded = padded;
      rank.vocab = {std::min(vocab, r * padded), std::min(vocab, (r + 1) * padded)};
      auto backend = make_test_backend("cpu", kernels::ComputeDType::kF32);
      HostExchange exchange(*backend, *meshes[static_cast<size_t>(r)].tp, nullptr);
      auto sampler = Sampler::create(*backend, exchange, rank,
                                     {.vocab = static_cast<int32_t>(vocab),
                                      .max_rows = static_cast<int64_t>(rows.size()),
                                      .on_device = on_device});
      ASSERT_TRUE(sampler.ok());
      auto asked = (*sampler)->make_asked();
      ASSERT_TRUE(asked.ok());
      std::vector<float> slice(rows.size() * static_cast<size_t>(padded), 1e30f);
      for (size_t i = 0; i < rows.size(); ++i) {
        std::copy(rows[i].begin() + rank.vocab.begin, rows[i].begin() + rank.vocab.end,
                  slice.begin() + static_cast<std::ptrdiff_t>(i) * padded);
      }
      StepContext context;
      context.backend = backend.get();
      context.clock = &clock;
      context.deadline_ns = clock.now_ns() + 60'000'000'000;
      const TensorView logits(slice.data(), DType::kF32,
                              {static_cast<int64_t>(rows.size()), padded});
      ASSERT_TRUE((*sampler)->ask(logits, requests, *asked, context).ok());
      const Status decided =
          (*sampler)->decide(logits, requests, *asked, outcomes[static_cast<size_t>(r)], context);
      ASSERT_TRUE(decided.ok()) << decided.error().message;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& other : outcomes) {
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(other.at(i).token, outcomes[0][i].token);
      EXPECT_EQ(other[i].logprobs.actual.rank, outcomes[0][i].logprobs.actual.rank);
    }
  }
  return outcomes[0];
}

bool same_logprob(const step::TokenLogprob& a, const step::TokenLogprob& b) {
  return a.token == b.token && a.rank == b.rank &&
         std::bit_cast<uint32_t>(a.logprob) == std::bit_cast<uint32_t>(b.logprob);
}

// With the rows read by the host; the backend's scans must find the same, bit for bit.
std::vector<RowOutcome> sample_rows(int tp, const Rows& rows,
                                    const std::vector<RowRequest>& requests) {
  std::vector<RowOutcome> outcomes = sample_rows_on(false, tp, rows, requests);
  const std::vector<RowOutcome> scanned = sample_rows_on(true, tp, rows, requests);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(scanned[i].token, outcomes[i].token) << "row " << i;
    EXPECT_TRUE(same_logprob(scanned[i].logprobs.actual, outcomes[i].logprobs.actual)) << i;
    EXPECT_TRUE(std::equal(scanned[i].logprobs.top.begin(), scanned[i].logprobs.top.end(),
                           outcomes[i].logprobs.top.begin(), outcomes[i].logprobs.top.end(),
                           same_logprob))
        << "row " << i;
  }
  return outcomes;
}

const TokenCounts kNoCounts;

RowRequest request_of(const step::SamplingParams& params, int64_t position = 5) {
  return {.params = &params, .counts = &kNoCounts, .n_outputs = 0, .position = position};
}

std::vector<float> random_row(std::mt19937& random, size_t vocab, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> row(vocab);
  for (float& x : row) x = normal(random);
  return row;
}

std::vector<double> softmax(const std::vector<float>& row, double temperature) {
  const double max = *std::max_element(row.begin(), row.end());
  std::vector<double> p;
  p.reserve(row.size());
  for (const float x : row) p.push_back(std::exp((x - max) / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

// The kept set by its definition, over the whole sorted row.
std::vector<int32_t> reference_kept(const std::vector<float>& row,
                                    const step::SamplingParams& params) {
  const std::vector<double> p = softmax(row, params.temperature);
  std::vector<int32_t> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
  });
  const auto probability = [&](int32_t token) { return p[static_cast<size_t>(token)]; };
  if (params.top_k > 0 && order.size() > static_cast<size_t>(params.top_k)) {
    order.resize(static_cast<size_t>(params.top_k));
  }
  const double floor = params.min_p * probability(order[0]);
  while (order.size() > 1 && probability(order.back()) < floor) order.pop_back();
  double total = 0;
  for (const int32_t token : order) total += probability(token);
  double sum = 0;
  size_t n = 0;
  while (n < order.size() && (n == 0 || sum < params.top_p * total)) sum += probability(order[n++]);
  order.resize(params.top_p < 1 ? n : order.size());
  return order;
}

int32_t reference_draw(const std::vector<float>& row, const std::vector<int32_t>& kept,
                       const step::SamplingParams& params, int64_t position) {
  const uint64_t key = sampling_key(params.seed, position);
  int32_t best = -1;
  double best_score = -INFINITY;
  for (const int32_t token : kept) {
    const double w = uniform_open(counter_hash(key, static_cast<uint64_t>(token)));
    const double score =
        double{row[static_cast<size_t>(token)]} / params.temperature - std::log(-std::log1p(-w));
    if (score > best_score) {
      best_score = score;
      best = token;
    }
  }
  return best;
}

double chi_square(const std::vector<int>& counts, const std::vector<double>& p, int n) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    sum += (counts[i] - n * p[i]) * (counts[i] - n * p[i]) / (n * p[i]);
  }
  return sum;
}

// Draws n tokens of one row; the seed or the position varies.
std::vector<int> count_draws(int tp, const std::vector<float>& row, step::SamplingParams params,
                             int n, bool vary_seed) {
  std::vector<int> counts(row.size());
  std::vector<step::SamplingParams> all;
  for (int i = 0; i < n; ++i) {
    params.seed = vary_seed ? static_cast<uint64_t>(i) : 7;
    all.push_back(params);
  }
  std::vector<RowRequest> requests;
  requests.reserve(all.size());
  for (int i = 0; i < n; ++i) {
    requests.push_back(request_of(all[static_cast<size_t>(i)], vary_seed ? 3 : i));
  }
  for (const RowOutcome& outcome : sample_rows(tp, Rows(static_cast<size_t>(n), row), requests)) {
    ++counts[static_cast<size_t>(outcome.token)];
  }
  return counts;
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  std::mt19937 random(11);
  const std::vector<float> row = random_row(random, 16, 1.0f);
  step::SamplingParams params;
  params.temperature = 0.8f;
  constexpr int kDraws = 20'000;
  const std::vector<double> p = softmax(row, params.temperature);
  // 15 degrees of freedom: 37.7 is exceeded once in a thousand.
  EXPECT_LT(chi_square(count_draws(1, row, params, kDraws, true), p, kDraws), 37.7);
  EXPECT_LT(chi_square(count_draws(2, row, params, kDraws, false), p, kDraws), 37.7);
}

TEST(Sampler, FilteredDrawsFollowTheRenormalisedSoftmax) {
  std::mt19937 random(12);
  const std::vector<float> row = random_row(random, 16, 1.0f);
  step::SamplingParams params;
  params.temperature = 1.3f;
  params.top_k = 6;
  constexpr int kDraws = 20'000;
  std::vector<double> p = softmax(row, params.temperature);
  const std::vector<int32_t> kept = reference_kept(row, params);
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (std::find(kept.begin(), kept.end(), static_cast<int32_t>(i)) == kept.end()) p[i] = 0;
    total += p[i];
  }
  for (double& x : p) x /= total;
  // 5 degrees of freedom.
  EXPECT_LT(chi_square(count_draws(4, row, params, kDraws, true), p, kDraws), 20.5);
}

TEST(Sampler, FiltersMatchFloat64OnEveryShardCount) {
  std::mt19937 random(13);
  std::uniform_real_distribution<float> uniform(0, 1);
  constexpr size_t kRows = 120;
  Rows rows;
  std::vector<step::SamplingParams> params(kRows);
  for (size_t i = 0; i < kRows; ++i) {
    // Flat rows reach past the candidates and are gathered whole; steep ones do not.
    rows.push_back(random_row(random, 1003, i % 3 == 0 ? 0.2f : 3.0f));
    params[i].temperature = 0.3f + 1.5f * uniform(random);
    params[i].seed = i;
    if (i % 2 == 0) params[i].top_p = 0.05f + 0.9f * uniform(random);
    if (i % 4 == 1) params[i].top_k = 1 + static_cast<int32_t>(700 * uniform(random));
    if (i % 5 == 2) params[i].min_p = 0.3f * uniform(random);
  }
  std::vector<RowRequest> requests;
  for (size_t i = 0; i < kRows; ++i)
    requests.push_back(request_of(params[i], static_cast<int64_t>(i)));
  for (const int tp : {1, 2, 4}) {
    const auto outcomes = sample_rows(tp, rows, requests);
    for (size_t i = 0; i < kRows; ++i) {
      const auto kept = reference_kept(rows[i], params[i]);
      EXPECT_EQ(outcomes[i].token,
                reference_draw(rows[i], kept, params[i], static_cast<int64_t>(i)))
          << "row " << i << " tp " << tp << " kept " << kept.size();
    }
  }
}

TEST(Sampler, KeptPrefixMatchesFloat64) {
  std::mt19937 random(14);
  std::uniform_real_distribution<float> uniform(0, 1);
  for (int i = 0; i < 500; ++i) {
    const std::vector<float> row = random_row(random, 200, 0.5f + 3 * uniform(random));
    step::SamplingParams params;
    params.temperature = 0.2f + 2 * uniform(random);
    if (i % 2 == 0) params.top_p = uniform(random);
    if (i % 3 == 0) params.top_k = 1 + static_cast<int32_t>(220 * uniform(random));
    if (i % 5 == 0) params.min_p = 0.5f * uniform(random);
    std::vector<Candidate> ranking;
    select_top(row, 0, row.size(), ranking);
    const double mass = sum_exp(row, ranking[0].value, params.temperature);
    EXPECT_EQ(kept_prefix(params, ranking, true, mass), reference_kept(row, params).size());
    // Part of the ranking gives the same answer or none.
    const auto part = kept_prefix(params, std::span(ranking).first(20), false, mass);
    EXPECT_EQ(part.value_or(reference_kept(row, params).size()),
              reference_kept(row, params).size());
  }
}

TEST(Sampler, GumbelScanEqualsTheFullArgmax) {
  std::mt19937 random(15);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::vector<float> row = random_row(random, 777, seed % 2 == 0 ? 0.1f : 4.0f);
    step::SamplingParams params;
    params.temperature = 0.9f;
    params.seed = seed;
    std::vector<int32_t> all(row.size());
    std::iota(all.begin(), all.end(), 0);
    const uint64_t key = sampling_key(seed, 9);
    EXPECT_EQ(draw_gumbel(row, 0, params.temperature, key).token,
              reference_draw(row, all, params, 9));
  }
}

// Rows of the sizes and shapes that the scans of a device treat apart: shards that are shorter than
// their candidates, masses at the edge of a threshold, equal logits, more candidates than a device
// keeps, rows with and without rules side by side.
TEST(Sampler, ScansOfTheBackendFindWhatTheHostFinds) {
  std::mt19937 random(17);
  for (const int tp : {1, 2, 5}) {
    for (const size_t vocab : {7u, 40u, 700u}) {
      Rows rows;
      std::vector<step::SamplingParams> params(36);
      std::vector<RowRequest> requests;
      for (size_t i = 0; i < params.size(); ++i) {
        rows.push_back(random_row(random, vocab, i % 5 == 0 ? 0.01f : 3));
        if (i % 4 == 0) std::fill_n(rows.back().begin(), vocab / 2, 1.0f);
        step::SamplingParams& p = params[i];
        p.seed = i * 31;
        p.temperature = i % 6 == 0 ? 0.0f : (i % 7 == 0 ? 0.002f : 0.4f + 0.1f * (i % 9));
        if (i % 3 == 1) p.top_p = i % 2 == 0 ? 0.5f : 0.999f;
        if (i % 5 == 2) p.top_k = i % 10 == 2 ? 3 : 600;
        if (i % 7 == 3) p.min_p = 0.05f;
        if (i % 8 == 5) p.logit_bias = {{static_cast<int32_t>(i % vocab), 4.0f}};
        requests.push_back(request_of(p, static_cast<int64_t>(i)));
        if (i % 4 == 1) requests.back().n_logprobs = static_cast<int32_t>(i % 6);
        if (i % 9 == 8) requests.back().token = static_cast<int32_t>(vocab - 1);
        if (i == 35) requests.back().n_logprobs = static_cast<int32_t>(vocab);
      }
      const auto outcomes = sample_rows(tp, rows, requests);  // compares the two
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_GE(outcomes[i].token, 0);
        EXPECT_LT(outcomes[i].token, static_cast<int32_t>(vocab));
      }
    }
  }
}

TEST(Sampler, GreedyTiesGoToTheLowestIdAcrossShards) {
  std::vector<float> row(13, -1.0f);
  row[12] = row[4] = row[7] = 2.0f;
  const step::SamplingParams params = greedy_sampling();
  for (const int tp : {1, 2, 4}) {
    EXPECT_EQ(sample_rows(tp, {row}, {request_of(params)})[0].token, 4) << "tp " << tp;
  }
}

TEST(Sampler, LogprobsAreTheRawLogSoftmax) {
  std::mt19937 random(16);
  const std::vector<float> row = random_row(random, 101, 2.0f);
  const std::vector<double> p = softmax(row, 1.0);
  step::SamplingParams params;
  params.temperature = 0.5f;
  params.top_k = 3;
  params.logit_bias = {{17, 50.0f}};  // decides the token, leaves its log-probability alone
  for (const int tp : {1, 2, 4}) {
    RowRequest sampled = request_of(params);
    sampled.n_logprobs = 4;
    RowRequest known = request_of(params);
    known.token = 60;
    known.n_logprobs = 0;
    const auto outcomes = sample_rows(tp, {row, row}, {sampled, known});
    EXPECT_EQ(outcomes[0].token, 17);
    for (const RowOutcome& outcome : outcomes) {
      const auto& actual = outcome.logprobs.actual;
      const auto token = static_cast<size_t>(outcome.token);
      EXPECT_EQ(actual.token, outcome.token);
      EXPECT_NEAR(actual.logprob, std::log(p[token]), 1e-5);
      EXPECT_EQ(actual.rank,
                1 + std::count_if(p.begin(), p.end(), [&](double x) { return x > p[token]; }));
    }
    EXPECT_TRUE(outcomes[1].logprobs.top.empty());
    ASSERT_EQ(outcomes[0].logprobs.top.size(), 4u);
    step::SamplingParams top4;
    top4.top_k = 4;
    const auto best = reference_kept(row, top4);
    for (size_t i = 0; i < 4; ++i) {
      const auto& top = outcomes[0].logprobs.top[i];
      EXPECT_EQ(top.token, best[i]);
      EXPECT_EQ(top.rank, static_cast<int32_t>(i) + 1);
      EXPECT_NEAR(top.logprob, std::log(p[static_cast<size_t>(best[i])]), 1e-5);
    }
  }
}

TEST(Sampler, MasksAndBans) {
  std::vector<float> row(13, 0.0f);
  row[3] = 9;
  row[11] = 8;
  row[6] = 7;
  step::SamplingParams banned = greedy_sampling();
  banned.banned_until_min_tokens = {3};
  banned.min_tokens = 2;
  step::SamplingParams allowed = greedy_sampling();
  allowed.allowed_token_ids = {12, 6};
  step::SamplingParams contradictory = allowed;
  contradictory.banned_until_min_tokens = {6, 12};
  contradictory.min_tokens = 5;
  RowRequest early = request_of(banned);
  early.n_outputs = 1;
  RowRequest late = request_of(banned);
  late.n_outputs = 2;
  for (const int tp : {1, 4}) {
    const auto outcomes = sample_rows(
        tp, Rows(4, row), {early, late, request_of(allowed), request_of(contradictory)});
    EXPECT_EQ(outcomes[0].token, 11);
    EXPECT_EQ(outcomes[1].token, 3);
    EXPECT_EQ(outcomes[2].token, 6);
    EXPECT_EQ(outcomes[3].token, 6) << "nothing is left: the lowest allowed id";
  }
}

TEST(Sampler, PenaltiesAsWritten) {
  step::SamplingParams params;
  params.repetition_penalty = 2;
  params.frequency_penalty = 0.5f;
  params.presence_penalty = 0.25f;
  params.logit_bias = {{3, 1.0f}};
  TokenCounts counts;
  const std::vector<int32_t> tokens = {0, 1, 1, 2, 2, 2};  // two of the prompt, then four outputs
  counts.update(tokens, 2);
  counts.update(tokens, 2);  // nothing is counted twice
  std::vector<float> row = {4, 4, -4, 4, 4};
  std::vector<float> scratch;
  apply_rules(params, counts, 4, 0, row, scratch);
  EXPECT_FLOAT_EQ(row[0], 2);                      // in the prompt: repetition only
  EXPECT_FLOAT_EQ(row[1], 2 - 0.5f - 0.25f);       // prompt and one output
  EXPECT_FLOAT_EQ(row[2], -8 - 3 * 0.5f - 0.25f);  // three outputs, negative logit
  EXPECT_FLOAT_EQ(row[3], 5);                      // bias
  EXPECT_FLOAT_EQ(row[4], 4);
  // A slice sees its own ids only.
  std::vector<float> slice = {-4, 4};
  apply_rules(params, counts, 4, 2, slice, scratch);
  EXPECT_FLOAT_EQ(slice[0], row[2]);
  EXPECT_FLOAT_EQ(slice[1], row[3]);
}

class SamplerAnywhere : public testing::TestWithParam<bool> {};

TEST_P(SamplerAnywhere, ARowWithoutNumbersIsAnError) {
  const bool on_device = GetParam();
  const SystemClock clock;
  auto meshes = comm::make_inproc_meshes(1, 1, clock);
  auto backend = make_test_backend("cpu", kernels::ComputeDType::kF32);
  plan::RankPlan rank;
  rank.vocab = {0, 8};
  rank.vocab_padded = 8;
  HostExchange exchange(*backend, *meshes[0].tp, nullptr);
  auto sampler = Sampler::create(*backend, exchange, rank,
                                 {.vocab = 8, .max_rows = 1, .on_device = on_device});
  ASSERT_TRUE(sampler.ok());
  auto asked = (*sampler)->make_asked();
  ASSERT_TRUE(asked.ok());
  std::vector<float> row(8, NAN);
  StepContext context;
  context.backend = backend.get();
  context.clock = &clock;
  const step::SamplingParams params = greedy_sampling();
  const RowRequest request = request_of(params);
  std::vector<RowOutcome> outcomes;
  const TensorView logits(row.data(), DType::kF32, {1, 8});
  ASSERT_TRUE((*sampler)->ask(logits, std::span(&request, 1), *asked, context).ok());
  const auto status = (*sampler)->decide(logits, std::span(&request, 1), *asked, outcomes, context);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, testing::HasSubstr("position 5"));
}

INSTANTIATE_TEST_SUITE_P(Scans, SamplerAnywhere, testing::Bool());

TEST(CounterRandom, NeighbouringKeysAreIndependent) {
  // Correlation of the uniforms of neighbouring seeds, positions and tokens: near 0 within 4
  // standard errors.
  const int n = 20'000;
  double sums[3] = {0, 0, 0};
  for (int i = 0; i < n; ++i) {
    const auto u = [&](uint64_t seed, int64_t position, uint64_t token) {
      return uniform_open(counter_hash(sampling_key(seed, position), token)) - 0.5;
    };
    const auto seed = static_cast<uint64_t>(i);
    sums[0] += u(seed, 1, 1) * u(seed + 1, 1, 1);
    sums[1] += u(1, i, 1) * u(1, i + 1, 1);
    sums[2] += u(1, 1, seed) * u(1, 1, seed + 1);
  }
  for (const double sum : sums) EXPECT_LT(std::abs(sum / n * 12), 4 / std::sqrt(n));
}

}  // namespace
}  // namespace trireme::worker
