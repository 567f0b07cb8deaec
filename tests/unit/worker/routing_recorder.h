// RoutingRecorder: a backend that passes every op on to another and remembers which experts each
// row chose.
//
// Where rounding turns a router's choice, a model with experts computes something else from there
// on; the goldens' tolerances for bf16 hold up to that row. Choices are of one rank; those of all
// stages, in the order of their ranks, are the model's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace trireme::worker {

// [layer call][row] -> the chosen experts, by rising id.
using RowChoices = std::vector<std::vector<int32_t>>;
using RoutingLog = std::vector<RowChoices>;

// `log` outlives the backend.
std::unique_ptr<kernels::Backend> record_routing(std::unique_ptr<kernels::Backend> inner,
                                                 RoutingLog* log);

// The rows of a run of `n_steps` steps in which some layer's choice differs: [step][row]. Logs hold
// the calls of all layers of step 0, then of step 1, for each stage.
class RoutingFlips {
 public:
  // Logs by stage; both runs had the same rows in the same steps.
  RoutingFlips(const std::vector<RoutingLog>& exact, const std::vector<RoutingLog>& rounded,
               size_t n_steps);
  bool at(size_t step, size_t row) const { return flips_.at(step).at(row); }

 private:
  std::vector<std::vector<bool>> flips_;
};

}  // namespace trireme::worker
