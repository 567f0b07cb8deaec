// KvLayout: how the layers of a model share one pool of KV blocks.
//
// Layers are dealt to groups. All layers of a group see keys by the same rule, so that a sequence
// has one block table per group and a group that slides gives back the blocks that left its window.
// A block holds one block_size of tokens of one group, whichever: on a rank it has as many places
// (slots) as the largest group has layers there, and slot s serves layer s of the group that holds
// the block. So one pool, of one kind of block, serves all groups; what it wastes are the slots
// that a smaller group leaves empty. Latent attention is like any other: a slot is a layer's row
// then.
//
// How many groups a kind of attention is cut into is the same on every stage, since block ids are
// the replica's. It is chosen so that a sequence of kUsualTokens (or of the whole context, where
// that is less) holds as few bytes as can be; among equals, the fewest groups.
//
// Models whose layers all see everything have one group of all layers. A window or chunk that is
// not smaller than the context is none.
//
// Pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/plan/parallel_plan.h"

namespace trireme::plan {

// Block tables of a sequence, at most. More groups would waste less on some odd counts of layers,
// but each costs host work in every step.
inline constexpr int kMaxKvGroups = 8;

// The rule by which the layers of a group see keys.
struct KvGroup {
  AttentionKind attention = AttentionKind::kFull;
  int32_t span = 0;  // tokens; 0: all

  bool is_full() const { return attention == AttentionKind::kFull; }
  // The first key that `position` sees. Never falls as the position grows.
  int32_t first_visible(int32_t position) const {
    if (attention == AttentionKind::kSliding) return position >= span ? position - span + 1 : 0;
    if (attention == AttentionKind::kChunked) return position - position % span;
    return 0;
  }
  friend bool operator==(const KvGroup&, const KvGroup&) = default;
};

// Where a layer's keys and values are.
struct KvPlace {
  int32_t group = 0;
  int32_t slot = 0;  // in the blocks of its rank
  friend bool operator==(const KvPlace&, const KvPlace&) = default;
};

struct KvLayout {
  std::vector<KvGroup> groups;    // those that see everything first
  std::vector<KvPlace> layers;    // of all layers of the model
  std::vector<int32_t> n_slots;   // of a block, per stage
  std::vector<int32_t> n_layers;  // per stage

  // Share of the slots, over all stages, that no layer uses.
  double padding() const;
};

// A sequence of the length by which layouts are chosen, and which plans are made for by default.
inline constexpr int32_t kUsualTokens = 8192;

KvLayout make_kv_layout(const ModelSpec& spec, const ParallelPlan& plan);

// Blocks that a sequence of `n_tokens` tokens holds while it decodes.
int64_t kv_blocks_of(const KvLayout& layout, int32_t n_tokens, int32_t block_size);

// What the layers of one kind leave in the cache, whole and unpadded.
struct KvKindSize {
  KvGroup kind;
  int32_t n_layers = 0;
  int64_t bytes_per_token = 0;
  int64_t bytes_of(int32_t n_tokens) const;  // that a sequence of this length holds
};
std::vector<KvKindSize> kv_kind_sizes(const ModelSpec& spec, DType kv_dtype);
// What a sequence of this length holds over all layers of the model.
int64_t kv_sequence_bytes(const ModelSpec& spec, DType kv_dtype, int32_t n_tokens);

}  // namespace trireme::plan
