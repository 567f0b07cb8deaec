#include "kernels/cpu/rope_table.h"

#include <algorithm>
#include <cmath>

namespace trireme::kernels::cpu {
namespace {

template <typename T>
bool same(const std::vector<T>& kept, const TensorView& view) {
  if (!view.defined()) return kept.empty();
  return std::equal(kept.begin(), kept.end(), view.as<T>(), view.as<T>() + view.numel());
}

template <typename T>
void keep(const TensorView& view, std::vector<T>* kept) {
  kept->clear();
  if (view.defined()) kept->assign(view.as<T>(), view.as<T>() + view.numel());
}

}  // namespace

bool RopeTable::holds(const RopeArgs& args) const {
  return scale_ == args.scale && layout_ == args.layout &&
         n_pairs_ == args.inv_freq.dim(args.inv_freq.rank - 1) &&
         same(positions_, args.positions) && same(inv_freq_, args.inv_freq) &&
         same(sets_, args.set_of_token);
}

void RopeTable::fill_token(int64_t token) {
  const int64_t set = sets_.empty() ? 0 : sets_[static_cast<size_t>(token)];
  const float* inv_freq = inv_freq_.data() + set * n_pairs_;
  float* cos = cos_.data() + token * width_;
  float* sin = sin_.data() + token * width_;
  for (int64_t i = 0; i < n_pairs_; ++i) {
    const double angle = double{inv_freq[i]} * positions_[static_cast<size_t>(token)];
    const auto c = static_cast<float>(std::cos(angle) * scale_);
    const auto s = static_cast<float>(std::sin(angle) * scale_);
    if (layout_ == RopeLayout::kHalfSplit) {
      cos[i] = c;
      sin[i] = s;
    } else {
      cos[2 * i] = cos[2 * i + 1] = c;
      sin[2 * i] = -s;
      sin[2 * i + 1] = s;
    }
  }
}

void RopeTable::fill(const RopeArgs& args, ThreadPool* pool) {
  const int64_t n_tokens = args.positions.dim(0);
  n_pairs_ = args.inv_freq.dim(args.inv_freq.rank - 1);
  layout_ = args.layout;
  width_ = layout_ == RopeLayout::kHalfSplit ? n_pairs_ : 2 * n_pairs_;
  scale_ = args.scale;
  keep(args.positions, &positions_);
  keep(args.inv_freq, &inv_freq_);
  keep(args.set_of_token, &sets_);
  cos_.resize(static_cast<size_t>(n_tokens * width_));
  sin_.resize(static_cast<size_t>(n_tokens * width_));
  pool->split(n_tokens, n_tokens * n_pairs_ > 512, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t t = begin; t < end; ++t) fill_token(t);
  });
}

const RopeTable& RopeTables::get(const RopeArgs& args, ThreadPool* pool) {
  for (const RopeTable& table : tables_) {
    if (table.holds(args)) return table;
  }
  RopeTable& table = tables_[next_];
  next_ = (next_ + 1) % tables_.size();
  table.fill(args, pool);
  return table;
}

}  // namespace trireme::kernels::cpu
