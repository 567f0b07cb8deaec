#include <algorithm>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void gather_rows(const GatherRowsArgs& args) {
  for (int64_t i = 0; i < args.rows.dim(0); ++i) {
    const float* from = args.x.row<float>(args.rows.as<int32_t>()[i]);
    std::copy(from, from + args.x.dim(1), args.out.row<float>(i));
  }
}

}  // namespace trireme::kernels::reference
