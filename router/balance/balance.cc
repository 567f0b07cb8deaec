#include "router/balance/balance.h"

#include <algorithm>

namespace trireme::router {

uint64_t Random::next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

BalanceResult choose_replica(const std::vector<ReplicaSnapshot>& replicas, int64_t prompt_tokens,
                             double beta, Random& random) {
  BalanceResult result;
  result.scores.assign(replicas.size(), 0);
  double total = 0;
  int n_usable = 0;
  for (const ReplicaSnapshot& replica : replicas) {
    if (!replica.usable) continue;
    total += static_cast<double>(replica.load);
    ++n_usable;
  }
  if (n_usable == 0) return result;
  const double mean = total / n_usable;
  uint64_t n_best = 0;
  for (size_t i = 0; i < replicas.size(); ++i) {
    if (!replicas[i].usable) continue;
    const double match = static_cast<double>(replicas[i].matched_tokens) /
                         static_cast<double>(std::max<int64_t>(1, prompt_tokens));
    const double surplus = (static_cast<double>(replicas[i].load) - mean) / std::max(1.0, mean);
    const double score = match - beta * surplus;
    result.scores[i] = score;
    const double best = result.chosen < 0 ? score : result.scores[result.chosen];
    if (result.chosen < 0 || score > best) {
      result.chosen = static_cast<int>(i);
      n_best = 1;
    } else if (score == best && random.below(++n_best) == 0) {
      result.chosen = static_cast<int>(i);  // each of n equals is kept with probability 1/n
    }
  }
  return result;
}

}  // namespace trireme::router
