#include "kernels/cpu/isa_select.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <optional>

namespace trireme::kernels::cpu {
namespace {

#if TRIREME_KERNELS_X86
// Clang's test by name, below, does not know this one before version 16.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// The compiler's own test of cpuid also asks whether the system saves the wide registers.
std::optional<IsaKernels> find_avx2() {
  const bool there = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (!there) return std::nullopt;
  return avx2_kernels();
}

std::optional<IsaKernels> find_avx512() {
  const bool there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!there) return std::nullopt;
  IsaKernels kernels = avx512_kernels();
  if (!__builtin_cpu_supports("avx512bf16")) return kernels;
  add_avx512_bf16(&kernels);
  if (__builtin_cpu_supports("avx512vbmi")) add_avx512_vbmi(&kernels);
  return kernels;
}
#else
std::optional<IsaKernels> find_avx2() { return std::nullopt; }
std::optional<IsaKernels> find_avx512() { return std::nullopt; }
#endif

}  // namespace

Result<IsaKernels> select_kernels(const std::string& max_isa) {
  if (max_isa == "portable") return portable_kernels();
  if (max_isa == "avx2" || max_isa == "avx512") {
    auto kernels = max_isa == "avx2" ? find_avx2() : find_avx512();
    if (!kernels) return invalid_argument("this processor or build does not have " + max_isa);
    return *kernels;
  }
  if (!max_isa.empty()) {
    return invalid_argument("unknown instruction set '" + max_isa +
                            "': expected portable, avx2 or avx512");
  }
  if (auto kernels = find_avx512()) return *kernels;
  if (auto kernels = find_avx2()) return *kernels;
  return portable_kernels();
}

}  // namespace trireme::kernels::cpu
