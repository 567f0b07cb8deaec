// HostExchange: gathers small host records over a group whose collectives work on device memory.
//
// On the CPU the device buffers are plain memory and the copies are small. Used by the rank's
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "worker/layers/step_context.h"

namespace trireme::worker {

class HostExchange {
 public:
  // Both outlive the exchange.
  HostExchange(kernels::Backend& backend, comm::Group& group) : backend_(backend), group_(group) {}

  int size() const { return group_.size(); }
  // all = the ranks' `mine` in rank order; every rank's record has the same size.
  Status all_gather(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                    std::string_view op, StepContext& context);

 private:
  Status reserve(size_t bytes);

  kernels::Backend& backend_;
  comm::Group& group_;
  std::unique_ptr<kernels::Buffer> send_;
  std::unique_ptr<kernels::Buffer> receive_;
};

}  // namespace trireme::worker
