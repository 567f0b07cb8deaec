// KvCache: the bytes of the paged KV cache on one rank: its layers, its kv heads, the replica's
// block ids.
//
// Which block belongs to whom is the coordinator's business; here a block id is an index. A block
// has a slot for every layer of the largest group; which group holds it decides which layers' keys
// are in the slots (parallel/plan/kv_layout.h). Used by the rank's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "parallel/plan/kv_layout.h"
#include "worker/weights/kv_scales.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

// Every layer caches keys and values by head, or every layer one latent row per token.
struct KvShape {
  std::vector<plan::KvPlace> layers;  // of this rank's layers
  int64_t n_slots = 0;                // of a block
  int64_t n_kv_heads = 0;             // of this rank
  int64_t head_dim = 0;
  int64_t latent_width = 0;  // of latent attention; 0: keys and values
  int64_t block_size = 0;    // tokens
  DType dtype = DType::kBF16;
  std::vector<KvScales> scales = {};  // of e4m3, by layer of this rank; empty: 1

  // One block over its slots.
  int64_t bytes_per_block() const {
    const int64_t per_token = latent_width > 0 ? latent_width : 2 * n_kv_heads * head_dim;
    return n_slots * per_token * block_size * static_cast<int64_t>(size_of(dtype));
  }
};

struct LayerKv {
  TensorView k;       // [n_blocks, n_kv_heads, block_size, head_dim]
  TensorView v;       // same
  TensorView latent;  // [n_blocks, block_size, latent_width], in place of k and v
  float k_scale = 1;  // of e4m3, as in kv_append; of a latent too
  float v_scale = 1;  //
  int group = 0;      // whose block table the layer's blocks are in (Batch::kv_table)
};

class KvCache {
 public:
  // resource_exhausted with the numbers when the blocks do not fit.
  static Result<KvCache> allocate(kernels::Backend& backend, const KvShape& shape,
                                  int64_t n_blocks);

  int64_t n_blocks() const { return n_blocks_; }
  // `layer` counts this rank's layers from 0.
  LayerKv layer(int64_t layer) const {
    const plan::KvPlace& place = layers_.at(static_cast<size_t>(layer));
    const KvScales scales = scales_.empty() ? KvScales() : scales_.at(static_cast<size_t>(layer));
    const Storage& storage = slots_.at(static_cast<size_t>(place.slot));
    return {.k = storage.k.view,
            .v = storage.v.view,
            .latent = storage.latent.view,
            .k_scale = scales.k,
            .v_scale = scales.v,
            .group = place.group};
  }

 private:
  struct Storage {
    DeviceTensor k;
    DeviceTensor v;
    DeviceTensor latent;
  };
  static Status allocate_slot(kernels::Backend& backend, const KvShape& shape, int64_t n_blocks,
                              Storage& storage);

  int64_t n_blocks_ = 0;
  std::vector<plan::KvPlace> layers_;
  std::vector<KvScales> scales_;
  std::vector<Storage> slots_;
};

}  // namespace trireme::worker
