// HostExchange: gathers small records of the host over a group within a step, which books the time
// as that of collectives. Used by the rank's thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "parallel/comm/record_exchange.h"
#include "worker/layers/step_context.h"

namespace trireme::worker {

class HostExchange {
 public:
  // As comm::RecordExchange.
  HostExchange(kernels::Backend& backend, comm::Group& group, comm::Group* host)
      : records_(backend, group, host) {}

  int size() const { return records_.size(); }
  Status all_gather(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                    std::string_view op, StepContext& context) {
    const ScopedTime time(*context.clock, context.collective_ns);
    return records_.all_gather(mine, all, context.begin(op));
  }

 private:
  comm::RecordExchange records_;
};

}  // namespace trireme::worker
