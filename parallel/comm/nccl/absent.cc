// Compiled in place of the NCCL groups where NCCL is not built.
#include "parallel/comm/nccl/nccl_group.h"

namespace trireme::comm {

Result<std::unique_ptr<ExchangingGroup>> make_nccl_group(const NcclGroupOptions& /*options*/,
                                                         const CarryId& /*carry_id*/,
                                                         const Clock& /*clock*/) {
  return failed_precondition("this build has no NCCL: ranks on GPUs cannot work together");
}

}  // namespace trireme::comm
