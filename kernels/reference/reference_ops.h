// The ops as plain loops in f32: the specification that every other backend is tested against. Each
// function has its own file. Single-threaded and slow on purpose; shapes were checked by the
// caller.
#pragma once

#include "kernels/backend.h"
#include "kernels/ops.h"

namespace trireme::kernels::reference {

void embedding(const EmbeddingArgs& args);
void rms_norm(const RmsNormArgs& args);
void add_rms_norm(const AddRmsNormArgs& args);
void add(const AddArgs& args);
void layer_norm(const LayerNormArgs& args);
void head_rms_norm(const HeadRmsNormArgs& args);
void head_layer_norm(const HeadLayerNormArgs& args);
void row_sum_squares(const RowSumSquaresArgs& args);
void rms_norm_rows(const RmsNormRowsArgs& args);
void scale(const ScaleArgs& args);
void softcap(const SoftcapArgs& args);
void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args);
void position_scale(const PositionScaleArgs& args);
void activation(const ActivationArgs& args);
void gated_activation(const GatedActivationArgs& args);
void clamped_swiglu(const ClampedSwigluArgs& args);
// One value through an activation.
float activate(Activation activation, float x);
void rope(const RopeArgs& args);
void kv_append(const KvAppendArgs& args);
void paged_attention(const PagedAttentionArgs& args);
void latent_append(const LatentAppendArgs& args);
void latent_attention(const LatentAttentionArgs& args);
void moe_route(const MoeRouteArgs& args);
void moe_dispatch(const MoeDispatchArgs& args);
void moe_gather(const MoeGatherArgs& args);
void moe_combine(const MoeCombineArgs& args);
void gather_rows(const GatherRowsArgs& args);
void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args);
void row_candidates(const RowCandidatesArgs& args);
void count_before(const CountBeforeArgs& args);
void best_tokens(const BestTokensArgs& args);
void draw_tokens(const DrawTokensArgs& args);
void place_tokens(const PlaceTokensArgs& args);

Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype);
// Expanded once, exactly.
Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight,
                                                   ComputeDType compute_dtype);
void linear(const LinearArgs& args);
void grouped_linear(const GroupedLinearArgs& args);

}  // namespace trireme::kernels::reference
