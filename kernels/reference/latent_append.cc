#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

void latent_append(const LatentAppendArgs& args) {
  const int64_t rank = args.latent.dim(1);
  const int64_t block_size = args.cache.dim(1);
  const int64_t width = args.cache.dim(2);
  const float factor = 1 / args.cache_scale;
  for (int64_t t = 0; t < args.slots.dim(0); ++t) {
    const int64_t slot = args.slots.as<int64_t>()[t];
    for (int64_t c = 0; c < width; ++c) {
      const float value =
          c < rank ? args.latent.row<float>(t)[c] : args.rope_key.row<float>(t)[c - rank];
      store(args.cache, slot / block_size, slot % block_size * width + c, value * factor);
    }
  }
}

}  // namespace trireme::kernels::reference
