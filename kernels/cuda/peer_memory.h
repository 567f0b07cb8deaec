// Device memory that another process of this machine writes into.
//
// peer_memory.cc is the driver's side, emulated/peer_memory_emulated.cc says that the emulator has
// none. The exporting process keeps the memory until the importing ones are done with it.
#pragma once

#include "base/result.h"
#include "kernels/peer_sum.h"

namespace trireme::kernels::cuda {

// Fills in device and handle. `memory` is what allocate_device returned.
Status export_memory(void* memory, PeerOffer& offer);
// The other process's memory in this one, as the current device sees it. failed_precondition with
// the reason.
Result<void*> import_memory(const PeerOffer& offer);
void close_imported(void* memory);

}  // namespace trireme::kernels::cuda
