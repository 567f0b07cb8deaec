#include "coordinator/expert_metrics.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace trireme::coordinator {

ExpertMetrics::ExpertMetrics(MetricsRegistry& registry, MetricLabels labels)
    : registry_(registry), labels_(std::move(labels)) {}

Counter& ExpertMetrics::rows_of(int32_t expert) {
  while (experts_.size() <= static_cast<size_t>(expert)) {
    MetricLabels labels = labels_;
    labels["expert"] = std::to_string(experts_.size());
    experts_.push_back(registry_.counter(
        "expert_tokens_total", "Tokens through an expert, all layers, in one step of 16.", labels));
  }
  return experts_[static_cast<size_t>(expert)];
}

ExpertMetrics::Layer& ExpertMetrics::layer(int32_t index) {
  const auto found = layers_.find(index);
  if (found != layers_.end()) return found->second;
  MetricLabels labels = labels_;
  labels["layer"] = std::to_string(index);
  const Gauge gauge =
      registry_.gauge("expert_load_imbalance_ratio",
                      "Tokens of a layer's busiest expert over an even share.", labels);
  return layers_.emplace(index, Layer{.rows = {}, .imbalance = gauge}).first->second;
}

void ExpertMetrics::add(const step::ExpertLoad& load) {
  if (load.empty()) return;
  const size_t n_experts = load.rows.size() / load.layers.size();
  const auto first = static_cast<size_t>(load.first_expert);
  std::vector<int64_t> sums(n_experts);
  for (size_t i = 0; i < load.layers.size(); ++i) {
    Layer& seen = layer(load.layers[i]);
    seen.rows.resize(std::max(seen.rows.size(), first + n_experts));
    for (size_t e = 0; e < n_experts; ++e) {
      const int32_t rows = load.rows[i * n_experts + e];
      seen.rows[first + e] += rows;
      sums[e] += rows;
    }
    const int64_t total = std::accumulate(seen.rows.begin(), seen.rows.end(), int64_t{0});
    if (total == 0) continue;
    const int64_t busiest = *std::max_element(seen.rows.begin(), seen.rows.end());
    seen.imbalance.set(static_cast<double>(busiest) * static_cast<double>(seen.rows.size()) /
                       static_cast<double>(total));
  }
  for (size_t e = 0; e < n_experts; ++e) {
    rows_of(static_cast<int32_t>(first + e)).add(static_cast<double>(sums[e]));
  }
}

}  // namespace trireme::coordinator
