// MpiRuntime: MPI's life in this process, from start to finalize, behind no MPI header.
//
// One per process, made by main before any mesh and destroyed after all of them. Not thread-safe.
#pragma once

#include <memory>

#include "base/result.h"

namespace trireme::comm {

class MpiRuntime {
 public:
  // failed_precondition when MPI was started before in this process, or does not start.
  static Result<std::unique_ptr<MpiRuntime>> start();
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  int world_rank() const { return world_rank_; }
  int world_size() const { return world_size_; }
  // After a failed group: the destructor then leaves MPI as it is, because finalizing waits for
  // peers that may never come. The process must end soon.
  void abandon() { abandoned_ = true; }

 private:
  MpiRuntime() = default;

  int world_rank_ = 0;
  int world_size_ = 1;
  bool abandoned_ = false;
};

}  // namespace trireme::comm
