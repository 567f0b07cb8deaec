#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"
#include "kernels/shape_match.h"

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

float score_of(const PagedAttentionArgs& args, const float* q, const KeyPlace& place) {
  float dot = 0;
  for (int64_t c = 0; c < args.q.dim(2); ++c) {
    dot += q[c] * load(args.k_cache, place.block, place.offset + c);
  }
  const float score = dot * (args.scale * args.k_scale);
  return args.softcap > 0 ? args.softcap * std::tanh(score / args.softcap) : score;
}

// softmax(scale * q k^T) v over all visible keys at once: the tiles of faster backends change the
// rounding only.
void attend_one(const PagedAttentionArgs& args, int64_t seq, int64_t row, int64_t head,
                int64_t position) {
  const int64_t last_key = args.causal ? position : args.context_len.as<int32_t>()[seq] - 1;
  const int64_t head_dim = args.q.dim(2);
  const int64_t kv_head = head / (args.q.dim(1) / args.k_cache.dim(1));
  const float* q = args.q.row<float>(row) + head * head_dim;
  const int64_t first_key = first_visible_key(position, args.window, args.chunk);
  std::vector<float> scores;
  float max =
      args.sinks.defined() ? args.sinks.as<float>()[head] : -std::numeric_limits<float>::infinity();
  for (int64_t key = first_key; key <= last_key; ++key) {
    scores.push_back(score_of(args, q, place_of(args, seq, kv_head, key)));
    max = std::max(max, scores.back());
  }
  float sum = args.sinks.defined() ? std::exp(args.sinks.as<float>()[head] - max) : 0;
  std::vector<float> mixed(static_cast<size_t>(head_dim), 0.0f);
  for (int64_t key = first_key; key <= last_key; ++key) {
    const KeyPlace place = place_of(args, seq, kv_head, key);
    const float weight = std::exp(scores[static_cast<size_t>(key - first_key)] - max);
    sum += weight;
    for (int64_t c = 0; c < head_dim; ++c) {
      mixed[static_cast<size_t>(c)] += weight * load(args.v_cache, place.block, place.offset + c);
    }
  }
  for (int64_t c = 0; c < head_dim; ++c) {
    store(args.out, row, head * head_dim + c, mixed[static_cast<size_t>(c)] / sum * args.v_scale);
  }
}

}  // namespace

void paged_attention(const PagedAttentionArgs& args) {
  for (int64_t seq = 0; seq < args.context_len.dim(0); ++seq) {
    const int64_t begin = args.query_start.as<int32_t>()[seq];
    const int64_t end = args.query_start.as<int32_t>()[seq + 1];
    for (int64_t row = begin; row < end; ++row) {
      const int64_t position = args.context_len.as<int32_t>()[seq] - (end - row);
      for (int64_t head = 0; head < args.q.dim(1); ++head) {
        attend_one(args, seq, row, head, position);
      }
    }
  }
}

}  // namespace trireme::kernels::reference
