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
  if (scale_ != args.scale || layout_ != args.layout ||
      n_pairs_ != args.inv_freq.dim(args.inv_freq.rank - 1) || !same(positions_, args.positions) ||
      !same(sets_, args.set_of_token)) {
    return false;
  }
  const float* kept = inv_freq_.data();
  bool equal = true;
  for_each_set([&](int64_t set) {
    const float* row = args.inv_freq.as<float>() + set * n_pairs_;
    equal = equal && std::equal(row, row + n_pairs_, kept);
    kept += n_pairs_;
  });
  return equal;
}

template <typename Visit>
void RopeTable::for_each_set(Visit visit) const {
  if (sets_.empty()) return visit(0);
  for (size_t i = 0; i < sets_.size(); ++i) {
    if (i == 0 || sets_[i] != sets_[i - 1]) visit(sets_[i]);
  }
}

void RopeTable::fill_token(int64_t token, const float* sets) {
  const float* inv_freq = sets + (sets_.empty() ? 0 : sets_[static_cast<size_t>(token)]) * n_pairs_;
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
  keep(args.set_of_token, &sets_);
  const auto* sets = args.inv_freq.as<float>();
  inv_freq_.clear();
  for_each_set([&](int64_t set) {
    inv_freq_.insert(inv_freq_.end(), sets + set * n_pairs_, sets + (set + 1) * n_pairs_);
  });
  cos_.resize(static_cast<size_t>(n_tokens * width_));
  sin_.resize(static_cast<size_t>(n_tokens * width_));
  pool->split(n_tokens, n_tokens * n_pairs_ > 512, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t t = begin; t < end; ++t) fill_token(t, sets);
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
