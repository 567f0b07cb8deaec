// RecordExchange: gathers small records of the host over the ranks of a group.
//
// Over the ranks' host memory where they have a group there; else through device memory, which the
// group's collectives work on: on the CPU that is plain memory, on a device it costs two copies and
// a wait for all that was enqueued before. Either way a rank whose group has failed tells nothing
// of what it computed. One thread.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"

namespace trireme::comm {

class RecordExchange {
 public:
  // All outlive the exchange. `host`: the same ranks over host memory, or nullptr.
  RecordExchange(kernels::Backend& backend, Group& group, Group* host)
      : backend_(backend), group_(group), host_(host) {}

  int size() const { return group_.size(); }
  // all = the ranks' `mine` in rank order; every rank's record has the same size.
  Status all_gather(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                    const OpContext& context);

 private:
  Status gather_on_host(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                        const OpContext& context);
  Status reserve(size_t bytes);

  kernels::Backend& backend_;
  Group& group_;
  Group* host_;
  std::vector<std::byte> record_;
  std::unique_ptr<kernels::Buffer> send_;
  std::unique_ptr<kernels::Buffer> receive_;
};

}  // namespace trireme::comm
