#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

// Where key `key` of sequence `seq` stands for head `kv_head`: its block, and the first channel's
// offset in it.
struct KeyPlace {
  int64_t block;
  int64_t offset;
};

KeyPlace place_of(const PagedAttentionArgs& args, int64_t seq, int64_t kv_head, int64_t key) {
  const int64_t block_size = args.k_cache.dim(2);
  const int64_t block = args.block_table.row<int32_t>(seq)[key / block_size];
  return {block, (kv_head * block_size + key % block_size) * args.k_cache.dim(3)};
}

// softmax(scale * q k^T) v over all keys at once: the tiles of faster backends change the rounding
// only.
void attend_one(const PagedAttentionArgs& args, int64_t seq, int64_t row, int64_t head,
                int64_t n_keys) {
  const int64_t head_dim = args.q.dim(2);
  const int64_t kv_head = head / (args.q.dim(1) / args.k_cache.dim(1));
  const float* q = args.q.row<float>(row) + head * head_dim;
  std::vector<float> weights(static_cast<size_t>(n_keys));
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t key = 0; key < n_keys; ++key) {
    const KeyPlace place = place_of(args, seq, kv_head, key);
    float dot = 0;
    for (int64_t c = 0; c < head_dim; ++c) {
      dot += q[c] * load(args.k_cache, place.block, place.offset + c);
    }
    weights[key] = dot * args.scale;
    max = std::max(max, weights[key]);
  }
  float sum = 0;
  std::vector<float> mixed(static_cast<size_t>(head_dim), 0.0f);
  for (int64_t key = 0; key < n_keys; ++key) {
    const KeyPlace place = place_of(args, seq, kv_head, key);
    const float weight = std::exp(weights[key] - max);
    sum += weight;
    for (int64_t c = 0; c < head_dim; ++c) {
      mixed[c] += weight * load(args.v_cache, place.block, place.offset + c);
    }
  }
  for (int64_t c = 0; c < head_dim; ++c) store(args.out, row, head * head_dim + c, mixed[c] / sum);
}

}  // namespace

void paged_attention(const PagedAttentionArgs& args) {
  for (int64_t seq = 0; seq < args.context_len.dim(0); ++seq) {
    const int64_t begin = args.query_start.as<int32_t>()[seq];
    const int64_t end = args.query_start.as<int32_t>()[seq + 1];
    for (int64_t row = begin; row < end; ++row) {
      const int64_t position = args.context_len.as<int32_t>()[seq] - (end - row);
      for (int64_t head = 0; head < args.q.dim(1); ++head) {
        attend_one(args, seq, row, head, position + 1);
      }
    }
  }
}

}  // namespace trireme::kernels::reference
