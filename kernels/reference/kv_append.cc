#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void kv_append(const KvAppendArgs& args) {
  const int64_t n_kv_heads = args.k.dim(1);
  const int64_t head_dim = args.k.dim(2);
  const int64_t block_size = args.k_cache.dim(2);
  const float k_factor = 1 / args.k_scale;
  const float v_factor = 1 / args.v_scale;
  for (int64_t t = 0; t < args.slots.dim(0); ++t) {
    const int64_t slot = args.slots.as<int64_t>()[t];
    const int64_t block = slot / block_size;
    const int64_t offset = slot % block_size;
    for (int64_t h = 0; h < n_kv_heads; ++h) {
      for (int64_t c = 0; c < head_dim; ++c) {
        const int64_t in_block = (h * block_size + offset) * head_dim + c;
        store(args.k_cache, block, in_block, args.k.row<float>(t)[h * head_dim + c] * k_factor);
        store(args.v_cache, block, in_block, args.v.row<float>(t)[h * head_dim + c] * v_factor);
      }
    }
  }
}

}  // namespace trireme::kernels::reference
