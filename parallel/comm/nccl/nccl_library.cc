#include "parallel/comm/nccl/nccl_library.h"

#include <dlfcn.h>

#include <string>

namespace trireme::comm {
namespace {

// Where the build found it, then where the loader looks.
void* open_library() {
  for (const char* path : {TRIREME_NCCL_PATH, "libnccl.so.2"}) {
    if (void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

template <typename Function>
Status find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr) {
    return failed_precondition(std::string("NCCL lacks ") + name +
                               ": it is older than the one of the build");
  }
  return {};
}

}  // namespace

Result<NcclLibrary> open_nccl() {
  void* library = open_library();
  if (library == nullptr) {
    const char* reason = dlerror();
    return failed_precondition(std::string("NCCL cannot be opened: ") +
                               (reason == nullptr ? "no reason given" : reason));
  }
  NcclLibrary nccl{};
  TRY(find(library, "ncclGetUniqueId", &nccl.get_unique_id));
  TRY(find(library, "ncclCommInitRankConfig", &nccl.init_rank));
  TRY(find(library, "ncclCommGetAsyncError", &nccl.async_error));
  TRY(find(library, "ncclCommAbort", &nccl.abort));
  TRY(find(library, "ncclCommFinalize", &nccl.finalize));
  TRY(find(library, "ncclCommDestroy", &nccl.destroy));
  TRY(find(library, "ncclGetErrorString", &nccl.error_string));
  TRY(find(library, "ncclGetLastError", &nccl.last_error));
  TRY(find(library, "ncclAllReduce", &nccl.all_reduce));
  TRY(find(library, "ncclAllGather", &nccl.all_gather));
  TRY(find(library, "ncclReduceScatter", &nccl.reduce_scatter));
  TRY(find(library, "ncclBroadcast", &nccl.broadcast));
  TRY(find(library, "ncclGroupStart", &nccl.group_start));
  TRY(find(library, "ncclGroupEnd", &nccl.group_end));
  TRY(find(library, "ncclSend", &nccl.send));
  TRY(find(library, "ncclRecv", &nccl.recv));
  return nccl;
}

}  // namespace trireme::comm
