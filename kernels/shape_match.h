// Shape checks at the door, shared by every backend: a wrong shape is a bug of ours and stops the
// process with both operands printed. `check_shapes` reads no tensor memory; `check_contents` reads
// index tensors and so is for backends on host memory only.
#pragma once

#include <algorithm>

#include "kernels/ops.h"

namespace trireme::kernels {

void check_shapes(const EmbeddingArgs& args);
void check_shapes(const RmsNormArgs& args);
void check_shapes(const AddRmsNormArgs& args);
void check_shapes(const AddArgs& args);
void check_shapes(const LinearArgs& args);
void check_shapes(const LayerNormArgs& args);
void check_shapes(const HeadRmsNormArgs& args);
void check_shapes(const HeadLayerNormArgs& args);
void check_shapes(const RowSumSquaresArgs& args);
void check_shapes(const RmsNormRowsArgs& args);
void check_shapes(const ScaleArgs& args);
void check_shapes(const SoftcapArgs& args);
void check_shapes(const SigmoidScaleRowsArgs& args);
void check_shapes(const PositionScaleArgs& args);
void check_shapes(const ActivationArgs& args);
void check_shapes(const GatedActivationArgs& args);
void check_shapes(const ClampedSwigluArgs& args);
void check_shapes(const RopeArgs& args);
void check_shapes(const KvAppendArgs& args);
void check_shapes(const PagedAttentionArgs& args);
void check_shapes(const LatentAppendArgs& args);
void check_shapes(const LatentAttentionArgs& args);
void check_shapes(const MoeRouteArgs& args);
void check_shapes(const MoeDispatchArgs& args);
void check_shapes(const MoeGatherArgs& args);
void check_shapes(const GroupedLinearArgs& args);
void check_shapes(const MoeCombineArgs& args);
void check_shapes(const GatherRowsArgs& args);
void check_shapes(const RowMaxLogSumExpArgs& args);
void check_shapes(const HeadLinearArgs& args);
void check_shapes(const NormRopeAppendArgs& args);
void check_shapes(const RowCandidatesArgs& args);
void check_shapes(const CountBeforeArgs& args);
void check_shapes(const BestTokensArgs& args);
void check_shapes(const DrawTokensArgs& args);
void check_shapes(const PlaceTokensArgs& args);

// The first key that position p sees under a window and a chunk (0: none) of attention.
inline int64_t first_visible_key(int64_t p, int64_t window, int64_t chunk) {
  const int64_t in_window = window > 0 ? p - window + 1 : 0;
  const int64_t in_chunk = chunk > 0 ? p - p % chunk : 0;
  return std::max({int64_t{0}, in_window, in_chunk});
}

// Indices inside their tensors: frequency sets, slots in the cache, block ids, query ranges, rows.
void check_contents(const RopeArgs& args);
void check_contents(const KvAppendArgs& args);
void check_contents(const PagedAttentionArgs& args);
void check_contents(const LatentAppendArgs& args);
void check_contents(const LatentAttentionArgs& args);
void check_contents(const MoeGatherArgs& args);
void check_contents(const GroupedLinearArgs& args);
void check_contents(const MoeCombineArgs& args);
void check_contents(const GatherRowsArgs& args);
void check_contents(const RowMaxLogSumExpArgs& args);
void check_contents(const RowCandidatesArgs& args);
void check_contents(const CountBeforeArgs& args);
void check_contents(const BestTokensArgs& args);
void check_contents(const DrawTokensArgs& args);
void check_contents(const PlaceTokensArgs& args);

}  // namespace trireme::kernels
