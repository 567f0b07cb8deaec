#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void embedding(const EmbeddingArgs& args) {
  const int64_t hidden = args.out.dim(1);
  for (int64_t i = 0; i < args.ids.dim(0); ++i) {
    const int64_t row = int64_t{args.ids.as<int32_t>()[i]} - args.first_id;
    const bool here = row >= 0 && row < args.table.dim(0);
    for (int64_t j = 0; j < hidden; ++j) {
      args.out.row<float>(i)[j] = here ? load(args.table, row, j) : 0.0f;
    }
  }
}

}  // namespace trireme::kernels::reference
