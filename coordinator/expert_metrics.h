// ExpertMetrics: how evenly a model's tokens fall on its experts.
//
// Ranks tell of a few steps which expert had how many rows (StepTimings::experts). Shown are, of
// those steps, the rows of each expert over all layers, and for each layer how many times an even
// share its busiest expert had. So there are as many series as experts and layers, not as their
// product. The series appear with the first load. Used by the engine's thread.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/metrics.h"
#include "parallel/step/step_plan.h"

namespace trireme::coordinator {

class ExpertMetrics {
 public:
  // `labels` are those of the engine's other series.
  ExpertMetrics(MetricsRegistry& registry, MetricLabels labels);

  // A load whose layers and experts are inside the wire's limits.
  void add(const step::ExpertLoad& load);

 private:
  struct Layer {
    std::vector<int64_t> rows;  // by expert, since the start
    Gauge imbalance;
  };
  Counter& rows_of(int32_t expert);
  Layer& layer(int32_t index);

  MetricsRegistry& registry_;
  MetricLabels labels_;
  std::vector<Counter> experts_;
  std::map<int32_t, Layer> layers_;
};

}  // namespace trireme::coordinator
