#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <string>

namespace trireme::kernels::cuda {
namespace {

// Where the build found it, then where the loader looks.
void* open_library() {
  for (const char* path : {TRIREME_CUBLASLT_PATH, "libcublasLt.so.13", "libcublasLt.so.12"}) {
    if (void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

template <typename Function>
Status find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr) {
    return failed_precondition(std::string("cuBLASLt lacks ") + name +
                               ": it is older than the one of the build");
  }
  return {};
}

}  // namespace

Result<CublasLt> open_cublaslt() {
  void* library = open_library();
  if (library == nullptr) {
    const char* reason = dlerror();
    return failed_precondition(std::string("cuBLASLt cannot be opened: ") +
                               (reason == nullptr ? "no reason given" : reason));
  }
  CublasLt lt{};
  TRY(find(library, "cublasLtCreate", &lt.create));
  TRY(find(library, "cublasLtDestroy", &lt.destroy));
  TRY(find(library, "cublasLtGetVersion", &lt.get_version));
  TRY(find(library, "cublasLtGetStatusString", &lt.status_string));
  TRY(find(library, "cublasLtMatmul", &lt.matmul));
  TRY(find(library, "cublasLtMatmulAlgoGetHeuristic", &lt.get_heuristic));
  TRY(find(library, "cublasLtMatmulAlgoCheck", &lt.check_algorithm));
  TRY(find(library, "cublasLtMatmulDescCreate", &lt.desc_create));
  TRY(find(library, "cublasLtMatmulDescDestroy", &lt.desc_destroy));
  TRY(find(library, "cublasLtMatmulDescSetAttribute", &lt.desc_set));
  TRY(find(library, "cublasLtMatrixLayoutCreate", &lt.layout_create));
  TRY(find(library, "cublasLtMatrixLayoutDestroy", &lt.layout_destroy));
  TRY(find(library, "cublasLtMatmulPreferenceCreate", &lt.preference_create));
  TRY(find(library, "cublasLtMatmulPreferenceDestroy", &lt.preference_destroy));
  TRY(find(library, "cublasLtMatmulPreferenceSetAttribute", &lt.preference_set));
  return lt;
}

}  // namespace trireme::kernels::cuda
