#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/counter_random.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {
namespace {

struct Candidate {
  float value;
  int32_t id;
};

bool comes_before(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

// Of row i, as many as a rank has, best first.
std::vector<Candidate> merged(const TensorView& ids, const TensorView& scores, int64_t i,
                              int64_t k) {
  std::vector<Candidate> all;
  for (int64_t rank = 0; rank < ids.dim(0); ++rank) {
    for (int64_t j = i * k; j < (i + 1) * k; ++j) {
      const int32_t id = ids.row<int32_t>(rank)[j];
      if (id >= 0) all.push_back({scores.row<float>(rank)[j], id});
    }
  }
  std::sort(all.begin(), all.end(), comes_before);
  all.resize(std::min(all.size(), static_cast<size_t>(k)));
  return all;
}

double mass_of_row(const DrawTokensArgs& args, int64_t i, int64_t k, double max) {
  if (!args.sum_exp.defined()) return 0;
  const double inverse = args.inverse_temperature.as<float>()[i];
  double mass = 0;
  for (int64_t rank = 0; rank < args.ids.dim(0); ++rank) {
    if (args.ids.row<int32_t>(rank)[i * k] < 0) continue;
    const double own = args.values.row<float>(rank)[i * k];
    mass += args.sum_exp.row<float>(rank)[i] * std::exp((own - max) * inverse);
  }
  return mass;
}

// How many leading candidates stay.
size_t n_kept(const DrawTokensArgs& args, int64_t i, const std::vector<Candidate>& ranking,
              double mass) {
  const double inverse = args.inverse_temperature.as<float>()[i];
  const int32_t top_k = args.top_k.as<int32_t>()[i];
  const double top_p = args.top_p.as<float>()[i];
  const double min_p = args.min_p.as<float>()[i];
  std::vector<double> weights;
  weights.reserve(ranking.size());
  for (const Candidate& candidate : ranking) {
    weights.push_back(
        std::exp((static_cast<double>(candidate.value) - ranking[0].value) * inverse));
  }
  size_t kept = ranking.size();
  if (top_k > 0) kept = std::min(kept, static_cast<size_t>(top_k));
  while (kept > 1 && weights[kept - 1] < min_p) --kept;
  if (top_p >= 1) return kept;
  double total = mass;
  if (top_k > 0 || min_p > 0) {
    total = 0;
    for (size_t j = 0; j < kept; ++j) total += weights[j];
  }
  double sum = 0;
  for (size_t j = 0; j < kept; ++j) {
    sum += weights[j];
    if (sum >= top_p * total) return j + 1;
  }
  return kept;
}

}  // namespace

void best_tokens(const BestTokensArgs& args) {
  const int64_t n = args.rows.dim(0);
  const int64_t k = args.ids.dim(1) / n;
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<Candidate> ranking = merged(args.ids, args.scores, i, k);
    args.tokens.as<int32_t>()[args.rows.as<int32_t>()[i]] = ranking.empty() ? 0 : ranking[0].id;
  }
}

void draw_tokens(const DrawTokensArgs& args) {
  const int64_t n = args.rows.dim(0);
  const int64_t k = args.ids.dim(1) / n;
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<Candidate> ranking = merged(args.ids, args.values, i, k);
    int32_t token = 0;
    if (!ranking.empty()) {
      const size_t kept = n_kept(args, i, ranking, mass_of_row(args, i, k, ranking[0].value));
      const auto key = static_cast<uint64_t>(args.keys.as<int64_t>()[i]);
      double best = 0;
      for (size_t j = 0; j < kept; ++j) {
        const double score =
            static_cast<double>(ranking[j].value) * args.inverse_temperature.as<float>()[i] +
            gumbel_noise(uniform_open(counter_hash(key, static_cast<uint64_t>(ranking[j].id))));
        const bool wins = j == 0 || score > best || (score == best && ranking[j].id < token);
        if (!wins) continue;
        best = score;
        token = ranking[j].id;
      }
    }
    args.tokens.as<int32_t>()[args.rows.as<int32_t>()[i]] = token;
  }
}

void place_tokens(const PlaceTokensArgs& args) {
  for (int64_t i = 0; i < args.ids.dim(0); ++i) {
    const int32_t source = args.sources.as<int32_t>()[i];
    if (source >= 0) args.ids.as<int32_t>()[i] = args.tokens.as<int32_t>()[source];
  }
}

}  // namespace trireme::kernels::reference
