#include "worker/sample/token_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "worker/sample/counter_random.h"

namespace trireme::worker {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kBlock = 128;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

// The maximum of up to kBlock values. Lanes keep the compiler's vectors busy; NaN loses every
// comparison.
float block_max(const float* x, size_t n) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, kMasked);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  }
  float max = kMasked;
  for (const float lane : lanes) max = lane > max ? lane : max;
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// exp for x <= 0, within 2e-7 relative, without branches, so that a loop over it vectorises. Below
// 2^-126 it is 0. Range reduction to |r| <= ln(2)/2 and the Taylor polynomial of degree 6.
float exp_nonpositive(float x) {
  const float clamped = x > -87.0f ? x : -87.0f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = clamped * 1.44269504f + kRounder;
  const float n = shifted - kRounder;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto exponent = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  const float result = p * std::bit_cast<float>(exponent);
  return x > -87.0f ? result : 0.0f;
}

}  // namespace

double noisy_score(float logit, double temperature, uint64_t key, int32_t token) {
  const uint64_t hash = counter_hash(key, static_cast<uint64_t>(token));
  return static_cast<double>(logit) / temperature + gumbel_noise(uniform_open(hash));
}

Candidate best_candidate(std::span<const float> row, int32_t first_id) {
  Candidate best;
  for (size_t begin = 0; begin < row.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, row.size() - begin);
    const float max = block_max(row.data() + begin, n);
    if (!(max > best.value)) continue;  // an equal value further on has a higher id
    size_t i = begin;
    while (row[i] != max) ++i;
    best = {max, first_id + static_cast<int32_t>(i)};
  }
  return best;
}

void select_top(std::span<const float> row, int32_t first_id, size_t n,
                std::vector<Candidate>& out) {
  out.clear();
  if (n == 0) return;
  // A heap whose front is the worst of the best; tokens come in ascending order, so that an equal
  // value never enters.
  float worst = kMasked;
  for (size_t begin = 0; begin < row.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, row.size());
    if (out.size() == n && !(block_max(row.data() + begin, end - begin) > worst)) continue;
    for (size_t i = begin; i < end; ++i) {
      if (out.size() == n) {
        if (!(row[i] > worst)) continue;
        std::pop_heap(out.begin(), out.end(), comes_before);
        out.pop_back();
      } else if (std::isnan(row[i])) {
        continue;
      }
      out.push_back({row[i], first_id + static_cast<int32_t>(i)});
      std::push_heap(out.begin(), out.end(), comes_before);
      worst = out.front().value;
    }
  }
  std::sort_heap(out.begin(), out.end(), comes_before);
}

double sum_exp(std::span<const float> row, float max, double temperature) {
  const auto inverse = static_cast<float>(1.0 / temperature);
  double total = 0;
  float block[kBlock];
  for (size_t begin = 0; begin < row.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, row.size() - begin);
    const float* x = row.data() + begin;
    for (size_t i = 0; i < n; ++i) block[i] = exp_nonpositive((x[i] - max) * inverse);
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += block[i];
    total += sum;
  }
  return total;
}

ScoredToken draw_gumbel(std::span<const float> row, int32_t first_id, double temperature,
                        uint64_t key) {
  ScoredToken best;
  const Candidate likeliest = best_candidate(row, first_id);
  if (likeliest.token < 0) return best;
  best = {noisy_score(likeliest.value, temperature, key, likeliest.token), likeliest.token};
  for (size_t begin = 0; begin < row.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, row.size());
    const float max = block_max(row.data() + begin, end - begin);
    if (max == kMasked) continue;
    // A token of this block can win only when w <= exp(max / T - best); the margin covers rounding
    // on both sides.
    const double bound = std::exp(static_cast<double>(max) / temperature - best.score) * 1.000001;
    const uint64_t limit =
        bound < 1 ? static_cast<uint64_t>(std::ldexp(bound, 53)) + 1 : UINT64_MAX;
    for (size_t i = begin; i < end; ++i) {
      const int32_t token = first_id + static_cast<int32_t>(i);
      if ((counter_hash(key, static_cast<uint64_t>(token)) >> 11) > limit) continue;
      if (!(row[i] > kMasked)) continue;
      const double score = noisy_score(row[i], temperature, key, token);
      if (score > best.score || (score == best.score && token < best.token)) {
        best = {score, token};
      }
    }
  }
  return best;
}

}  // namespace trireme::worker
