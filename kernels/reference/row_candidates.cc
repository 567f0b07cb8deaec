#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/counter_random.h"
#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {
namespace {

struct Candidate {
  float score;
  int64_t column;
};

}  // namespace

void row_candidates(const RowCandidatesArgs& args) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  const int64_t k = args.ids.dim(1);
  std::vector<Candidate> all;
  for (int64_t i = 0; i < args.rows.dim(0); ++i) {
    const float* x = args.x.row<float>(args.rows.as<int32_t>()[i]);
    const bool draws = args.inverse_temperature.defined();
    all.clear();
    for (int64_t c = 0; c < args.x.dim(1); ++c) {
      if (!(x[c] > kMasked)) continue;
      double score = x[c];
      if (draws) {
        const auto key = static_cast<uint64_t>(args.keys.as<int64_t>()[i]);
        const auto token = static_cast<uint64_t>(args.first_id + c);
        score = score * args.inverse_temperature.as<float>()[i] +
                gumbel_noise(uniform_open(counter_hash(key, token)));
      }
      all.push_back({static_cast<float>(score), c});
    }
    const auto n = std::min(static_cast<int64_t>(all.size()), k);
    std::partial_sort(all.begin(), all.begin() + n, all.end(),
                      [](const Candidate& a, const Candidate& b) {
                        return a.score > b.score || (a.score == b.score && a.column < b.column);
                      });
    for (int64_t j = 0; j < k; ++j) {
      const bool here = j < n;
      const Candidate best = here ? all[static_cast<size_t>(j)] : Candidate{kMasked, 0};
      args.ids.row<int32_t>(i)[j] = here ? args.first_id + static_cast<int32_t>(best.column) : -1;
      args.scores.row<float>(i)[j] = best.score;
      args.values.row<float>(i)[j] = here ? x[best.column] : kMasked;
    }
  }
}

void count_before(const CountBeforeArgs& args) {
  for (int64_t i = 0; i < args.rows.dim(0); ++i) {
    const float* x = args.x.row<float>(args.rows.as<int32_t>()[i]);
    const float value = args.values.as<float>()[i];
    const int64_t column = int64_t{args.ids.as<int32_t>()[i]} - args.first_id;
    int32_t n = 0;
    for (int64_t c = 0; c < args.x.dim(1); ++c) {
      n += x[c] > value || (x[c] == value && c < column) ? 1 : 0;
    }
    args.counts.as<int32_t>()[i] = n;
  }
}

}  // namespace trireme::kernels::reference
