#include "parallel/plan/kv_layout.h"

#include <algorithm>

#include "base/check.h"
#include "parallel/plan/model_size.h"

namespace trireme::plan {
namespace {

KvGroup kind_of(const ModelSpec& spec, const LayerSpec& layer) {
  if (layer.attention == AttentionKind::kFull || layer.span >= spec.context) return {};
  return {layer.attention, layer.span};
}

// Those that see everything first, then in the order of the layers.
std::vector<KvGroup> kinds_of(const ModelSpec& spec) {
  std::vector<KvGroup> kinds;
  for (const LayerSpec& layer : spec.layers) {
    const KvGroup kind = kind_of(spec, layer);
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
  }
  std::stable_partition(kinds.begin(), kinds.end(), [](const KvGroup& k) { return k.is_full(); });
  CHECK_LE(kinds.size(), static_cast<size_t>(kMaxKvGroups));
  return kinds;
}

int64_t tokens_held(const KvGroup& kind, int64_t n_tokens) {
  return kind.is_full() ? n_tokens : std::min<int64_t>(n_tokens, kind.span);
}

int32_t div_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Into how many groups each kind is cut: every choice of at most kMaxKvGroups is tried.
class GroupSearch {
 public:
  GroupSearch(const ModelSpec& spec, const ParallelPlan& plan, const std::vector<KvGroup>& kinds)
      : kinds_(kinds), tokens_(std::min(spec.context, kUsualTokens)) {
    for (int stage = 0; stage < plan.pp; ++stage) {
      const Range layers = plan.ranks[static_cast<size_t>(stage * plan.tp)].layers;
      std::vector<int32_t>& counts = counts_.emplace_back(kinds.size(), 0);
      for (int64_t i = layers.begin; i < layers.end; ++i) {
        const KvGroup kind = kind_of(spec, spec.layers[static_cast<size_t>(i)]);
        const auto at = std::find(kinds.begin(), kinds.end(), kind);
        ++counts[static_cast<size_t>(at - kinds.begin())];
      }
    }
  }

  std::vector<int32_t> run() {
    best_.assign(kinds_.size(), 1);
    try_from(std::vector<int32_t>(kinds_.size(), 1), 0, static_cast<int32_t>(kinds_.size()));
    return best_;
  }

  int32_t slots_of(size_t stage, const std::vector<int32_t>& cuts) const {
    int32_t n_slots = 0;
    for (size_t k = 0; k < cuts.size(); ++k) {
      n_slots = std::max(n_slots, div_up(counts_[stage][k], cuts[k]));
    }
    return n_slots;
  }
  size_t n_stages() const { return counts_.size(); }

 private:
  // Slots x tokens that a sequence of the usual length holds.
  int64_t cost_of(const std::vector<int32_t>& cuts) const {
    int64_t n_slots = 0;
    for (size_t stage = 0; stage < counts_.size(); ++stage) n_slots += slots_of(stage, cuts);
    int64_t n_tokens = 0;
    for (size_t k = 0; k < cuts.size(); ++k) n_tokens += cuts[k] * tokens_held(kinds_[k], tokens_);
    return n_slots * n_tokens;
  }

  void try_from(std::vector<int32_t> cuts, size_t kind, int32_t n_groups) {
    if (kind == cuts.size()) {
      const int64_t cost = cost_of(cuts);
      if (best_cost_ < 0 || cost < best_cost_ || (cost == best_cost_ && n_groups < best_groups_)) {
        best_ = std::move(cuts);
        best_cost_ = cost;
        best_groups_ = n_groups;
      }
      return;
    }
    for (; n_groups <= kMaxKvGroups; ++n_groups, ++cuts[kind]) {
      try_from(cuts, kind + 1, n_groups);
    }
  }

  const std::vector<KvGroup>& kinds_;
  const int64_t tokens_;
  std::vector<std::vector<int32_t>> counts_;  // [stage][kind] layers
  std::vector<int32_t> best_;
  int64_t best_cost_ = -1;
  int32_t best_groups_ = 0;
};

}  // namespace

double KvLayout::padding() const {
  int64_t n_used = 0;
  int64_t n_all = 0;
  for (size_t stage = 0; stage < n_slots.size(); ++stage) {
    n_used += n_layers[stage];
    n_all += int64_t{n_slots[stage]} * static_cast<int64_t>(groups.size());
  }
  return 1 - static_cast<double>(n_used) / static_cast<double>(n_all);
}

KvLayout make_kv_layout(const ModelSpec& spec, const ParallelPlan& plan) {
  const std::vector<KvGroup> kinds = kinds_of(spec);
  GroupSearch search(spec, plan, kinds);
  const std::vector<int32_t> cuts = search.run();
  KvLayout layout;
  std::vector<int32_t> first_group;  // of each kind
  for (size_t k = 0; k < kinds.size(); ++k) {
    first_group.push_back(static_cast<int32_t>(layout.groups.size()));
    layout.groups.insert(layout.groups.end(), static_cast<size_t>(cuts[k]), kinds[k]);
  }
  for (size_t stage = 0; stage < search.n_stages(); ++stage) {
    const int32_t n_slots = search.slots_of(stage, cuts);
    const Range layers = plan.ranks[stage * static_cast<size_t>(plan.tp)].layers;
    layout.n_slots.push_back(n_slots);
    layout.n_layers.push_back(static_cast<int32_t>(layers.size()));
    std::vector<int32_t> n_seen(kinds.size(), 0);
    for (int64_t i = layers.begin; i < layers.end; ++i) {
      const KvGroup kind = kind_of(spec, spec.layers[static_cast<size_t>(i)]);
      const auto k =
          static_cast<size_t>(std::find(kinds.begin(), kinds.end(), kind) - kinds.begin());
      const int32_t at = n_seen[k]++;
      layout.layers.push_back({first_group[k] + at / n_slots, at % n_slots});
    }
  }
  return layout;
}

int64_t kv_blocks_of(const KvLayout& layout, int32_t n_tokens, int32_t block_size) {
  const int64_t all = (int64_t{n_tokens} + block_size - 1) / block_size;
  int64_t n_blocks = 0;
  for (const KvGroup& group : layout.groups) {
    // `span` tokens, wherever they begin in a block.
    const int64_t window = (int64_t{group.span} + block_size - 2) / block_size + 1;
    n_blocks += group.is_full() ? all : std::min(all, window);
  }
  return n_blocks;
}

int64_t KvKindSize::bytes_of(int32_t n_tokens) const {
  return bytes_per_token * tokens_held(kind, n_tokens);
}

std::vector<KvKindSize> kv_kind_sizes(const ModelSpec& spec, DType kv_dtype) {
  std::vector<KvKindSize> sizes;
  for (const KvGroup& kind : kinds_of(spec)) {
    KvKindSize& size = sizes.emplace_back(KvKindSize{.kind = kind});
    for (const LayerSpec& layer : spec.layers) size.n_layers += kind_of(spec, layer) == kind;
    size.bytes_per_token = size.n_layers * kv_elements(spec, spec.n_kv_heads) *
                           static_cast<int64_t>(size_of(kv_dtype));
  }
  return sizes;
}

int64_t kv_sequence_bytes(const ModelSpec& spec, DType kv_dtype, int32_t n_tokens) {
  int64_t bytes = 0;
  for (const KvKindSize& size : kv_kind_sizes(spec, kv_dtype)) bytes += size.bytes_of(n_tokens);
  return bytes;
}

}  // namespace trireme::plan
