// Scans over one row of logits: the best, the best n, the mass, the Gumbel winner.
//
// Pure and host-side. A row is one rank's slice of the vocabulary; `first_id` is the token id of
// its first value. Ties go to the lowest token id everywhere, NaN is never chosen, and -inf stands
// for a masked token.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace trireme::worker {

struct Candidate {
  float value = -std::numeric_limits<float>::infinity();
  int32_t token = -1;  // -1: none
};

// The order of every ranking: likelier first, then the lower id.
inline bool comes_before(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token);
}

struct ScoredToken {
  double score = -std::numeric_limits<double>::infinity();
  int32_t token = -1;
};

// logit / temperature + the token's Gumbel noise: the one definition that every path of the sampler
// uses.
double noisy_score(float logit, double temperature, uint64_t key, int32_t token);

// The best value above -inf; token -1 when there is none.
Candidate best_candidate(std::span<const float> row, int32_t first_id);

// The n best in order (fewer when the row is shorter), in `out`.
void select_top(std::span<const float> row, int32_t first_id, size_t n,
                std::vector<Candidate>& out);

// Sum of exp((x - max) / temperature).
double sum_exp(std::span<const float> row, float max, double temperature);

// argmax of noisy_score over the row: one draw from its softmax. Most tokens are rejected by a
// comparison of their hash, because noise cannot exceed -log(w) (counter_random.h); the result is
// exactly the argmax.
ScoredToken draw_gumbel(std::span<const float> row, int32_t first_id, double temperature,
                        uint64_t key);

}  // namespace trireme::worker
