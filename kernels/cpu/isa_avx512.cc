#include "kernels/cpu/isa_table.h"
#include "kernels/cpu/simd_avx512.h"

namespace trireme::kernels::cpu {

IsaKernels avx512_kernels() { return make_table<Simd>("avx512"); }

}  // namespace trireme::kernels::cpu
