// StepContext: what the layers of one step share: device, deadline, and where the time went.
//
// Lives for one step on the rank's thread. The op named last is what a failure reports.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "kernels/backend.h"
#include "parallel/comm/group.h"

namespace trireme::worker {

struct StepContext {
  kernels::Backend* backend = nullptr;
  const Clock* clock = nullptr;
  kernels::Stream stream;
  StepId step;
  int64_t start_ns = 0;     // on `clock`
  int64_t deadline_ns = 0;  // on `clock`

  std::string_view op = "checking the plan";  // the operation in progress; outlives the step
  int64_t collective_ns = 0;
  int64_t wait_upstream_ns = 0;
  int64_t wait_downstream_ns = 0;

  comm::OpContext begin(std::string_view name) {
    op = name;
    return {step, name, deadline_ns, stream};
  }
};

// Adds the time of its scope to a counter of the context.
class ScopedTime {
 public:
  ScopedTime(const Clock& clock, int64_t& counter_ns)
      : clock_(clock), counter_ns_(counter_ns), start_ns_(clock.now_ns()) {}
  ~ScopedTime() { counter_ns_ += clock_.now_ns() - start_ns_; }
  ScopedTime(const ScopedTime&) = delete;
  ScopedTime& operator=(const ScopedTime&) = delete;

 private:
  const Clock& clock_;
  int64_t& counter_ns_;
  int64_t start_ns_;
};

}  // namespace trireme::worker
