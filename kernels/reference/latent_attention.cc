#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

void attend_one(const LatentAttentionArgs& args, int64_t seq, int64_t row, int64_t head,
                int64_t n_keys) {
  const int64_t block_size = args.cache.dim(1);
  const int64_t width = args.cache.dim(2);
  const float* q = args.q.row<float>(row) + head * width;
  const auto cached = [&](int64_t key, int64_t channel) {
    const int64_t block = args.block_table.row<int32_t>(seq)[key / block_size];
    return load(args.cache, block, key % block_size * width + channel);
  };
  std::vector<float> scores;
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t key = 0; key < n_keys; ++key) {
    float dot = 0;
    for (int64_t c = 0; c < width; ++c) dot += q[c] * cached(key, c);
    scores.push_back(dot * (args.scale * args.cache_scale));
    max = std::max(max, scores.back());
  }
  float sum = 0;
  std::vector<float> mixed(static_cast<size_t>(args.rank), 0.0f);
  for (int64_t key = 0; key < n_keys; ++key) {
    const float weight = std::exp(scores[static_cast<size_t>(key)] - max);
    sum += weight;
    for (int64_t c = 0; c < args.rank; ++c)
      mixed[static_cast<size_t>(c)] += weight * cached(key, c);
  }
  for (int64_t c = 0; c < args.rank; ++c) {
    store(args.out, row, head * args.rank + c,
          mixed[static_cast<size_t>(c)] / sum * args.cache_scale);
  }
}

}  // namespace

void latent_attention(const LatentAttentionArgs& args) {
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
