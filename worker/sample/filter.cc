#include "worker/sample/filter.h"

#include <algorithm>
#include <cmath>

namespace trireme::worker {

bool has_filter(const step::SamplingParams& params) {
  if (is_greedy(params)) return false;
  return params.top_k > 0 || params.top_p < 1 || params.min_p > 0;
}

bool needs_mass(const step::SamplingParams& params) {
  return has_filter(params) && params.top_p < 1 && params.top_k <= 0 && params.min_p <= 0;
}

std::optional<size_t> kept_prefix(const step::SamplingParams& params,
                                  std::span<const Candidate> ranking, bool complete, double mass) {
  if (ranking.empty()) return complete ? std::optional<size_t>(0) : std::nullopt;
  const double temperature = params.temperature;
  const double max = ranking.front().value;
  const auto weight = [&](size_t i) {
    return std::exp((static_cast<double>(ranking[i].value) - max) / temperature);
  };
  size_t kept = ranking.size();
  bool known = complete;
  bool cut = false;  // min_p or top_k is in force
  if (params.top_k > 0) {
    cut = true;
    if (static_cast<size_t>(params.top_k) <= kept) {
      kept = static_cast<size_t>(params.top_k);
      known = true;
    }
  }
  if (params.min_p > 0) {
    cut = true;
    size_t i = 1;  // the likeliest always stays
    while (i < kept && weight(i) >= params.min_p) ++i;
    if (i < kept) {
      kept = i;
      known = true;
    }
  }
  if (params.top_p >= 1) return known ? std::optional<size_t>(kept) : std::nullopt;
  if (cut && !known) return std::nullopt;
  double total = mass;
  if (cut) {
    total = 0;
    for (size_t i = 0; i < kept; ++i) total += weight(i);
  }
  const double enough = static_cast<double>(params.top_p) * total;
  double sum = 0;
  for (size_t i = 0; i < kept; ++i) {
    sum += weight(i);
    if (sum >= enough) return i + 1;
  }
  return known ? std::optional<size_t>(kept) : std::nullopt;
}

}  // namespace trireme::worker
