#include "kernels/cpu/isa_table.h"
#include "kernels/cpu/simd_avx2.h"

namespace trireme::kernels::cpu {

IsaKernels avx2_kernels() { return make_table<Simd>("avx2"); }

}  // namespace trireme::kernels::cpu
