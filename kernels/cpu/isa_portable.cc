#include "kernels/cpu/isa_table.h"
#include "kernels/cpu/simd_portable.h"

namespace trireme::kernels::cpu {

IsaKernels portable_kernels() { return make_table<Simd>("portable"); }

}  // namespace trireme::kernels::cpu
