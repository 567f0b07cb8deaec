#include "worker/kv/kv_cache.h"

#include <fmt/format.h>

namespace trireme::worker {

Result<KvCache> KvCache::allocate(kernels::Backend& backend, const KvShape& shape,
                                  int64_t n_blocks) {
  // Ids are 32-bit, and slot numbers are block_id * block_size.
  if (n_blocks < 1 || n_blocks > INT32_MAX) {
    return invalid_argument(
        fmt::format("{} KV blocks were asked for; 1 to {} are possible", n_blocks, INT32_MAX));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(n_blocks, shape.bytes_per_block(), &bytes)) {
    return resource_exhausted(fmt::format("{} KV blocks of {} bytes do not fit any memory",
                                          n_blocks, shape.bytes_per_block()));
  }
  KvCache cache;
  cache.n_blocks_ = n_blocks;
  cache.layers_ = shape.layers;
  cache.scales_ = shape.scales;
  for (int64_t slot = 0; slot < shape.n_slots; ++slot) {
    Storage storage;
    const Status allocated = allocate_slot(backend, shape, n_blocks, storage);
    if (!allocated.ok()) {
      return resource_exhausted(fmt::format("{} KV blocks of {} bytes do not fit: {}", n_blocks,
                                            shape.bytes_per_block(), allocated.error().message));
    }
    cache.slots_.push_back(std::move(storage));
  }
  return cache;
}

Status KvCache::allocate_slot(kernels::Backend& backend, const KvShape& shape, int64_t n_blocks,
                              Storage& storage) {
  if (shape.latent_width > 0) {
    ASSIGN_OR_RETURN(
        storage.latent,
        allocate_tensor(backend, shape.dtype, {n_blocks, shape.block_size, shape.latent_width}));
    return {};
  }
  for (DeviceTensor* tensor : {&storage.k, &storage.v}) {
    ASSIGN_OR_RETURN(
        *tensor, allocate_tensor(backend, shape.dtype,
                                 {n_blocks, shape.n_kv_heads, shape.block_size, shape.head_dim}));
  }
  return {};
}

}  // namespace trireme::worker
