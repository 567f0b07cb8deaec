// The emulator's ranks are threads of one process and reach each other's memory by its address:
// between processes it has none to share.
#include "kernels/cuda/peer_memory.h"

namespace trireme::kernels::cuda {

Status export_memory(void*, PeerOffer&) {
  return failed_precondition("the emulator shares no memory between processes");
}
Result<void*> import_memory(const PeerOffer&) {
  return failed_precondition("the emulator shares no memory between processes");
}
void close_imported(void*) {}

}  // namespace trireme::kernels::cuda
