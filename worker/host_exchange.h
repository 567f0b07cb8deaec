// HostExchange: gathers small records of the host over the ranks of a group.
//
// Over the ranks' host memory where they have a group there; else through device memory, which the
// group's collectives work on: on the CPU that is plain memory, on a device it costs two copies and
// a wait for all that was enqueued before. Either way a rank whose group has failed tells nothing
// of what it computed. Used by the rank's thread.
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
  // All outlive the exchange. `host`: the same ranks over host memory, or nullptr.
  HostExchange(kernels::Backend& backend, comm::Group& group, comm::Group* host)
      : backend_(backend),
        device_group_(group),
        group_(host != nullptr ? *host : group),
        on_host_(host != nullptr) {}

  int size() const { return group_.size(); }
  // all = the ranks' `mine` in rank order; every rank's record has the same size.
  Status all_gather(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                    std::string_view op, StepContext& context);

 private:
  Status gather_on_device(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                          std::string_view op, StepContext& context);
  Status reserve(size_t bytes);

  kernels::Backend& backend_;
  comm::Group& device_group_;
  comm::Group& group_;
  bool on_host_;
  std::vector<std::byte> record_;
  std::unique_ptr<kernels::Buffer> send_;
  std::unique_ptr<kernels::Buffer> receive_;
};

}  // namespace trireme::worker
