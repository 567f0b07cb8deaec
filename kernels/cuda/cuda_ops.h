// The device's implementation of the op vocabulary, one function per op. Operands are on the device
// and their shapes have been checked; each call enqueues and returns.
#pragma once

#include "kernels/ops.h"

namespace trireme::kernels::cuda {

struct Launcher;

// norm_ops.cu
void rms_norm(const RmsNormArgs& args, const Launcher& launcher);
void add_rms_norm(const AddRmsNormArgs& args, const Launcher& launcher);
void layer_norm(const LayerNormArgs& args, const Launcher& launcher);
void head_rms_norm(const HeadRmsNormArgs& args, const Launcher& launcher);
void head_layer_norm(const HeadLayerNormArgs& args, const Launcher& launcher);
void row_sum_squares(const RowSumSquaresArgs& args, const Launcher& launcher);
void rms_norm_rows(const RmsNormRowsArgs& args, const Launcher& launcher);

// row_ops.cu
void embedding(const EmbeddingArgs& args, const Launcher& launcher);
void add(const AddArgs& args, const Launcher& launcher);
void gather_rows(const GatherRowsArgs& args, const Launcher& launcher);
void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, const Launcher& launcher);
// to[i, j] = from[i, j] in to's type, zeros in columns that `from` does not have.
void convert(const TensorView& from, const TensorView& to, const Launcher& launcher);

// activation_ops.cu
void activation(const ActivationArgs& args, const Launcher& launcher);
void gated_activation(const GatedActivationArgs& args, const Launcher& launcher);
void clamped_swiglu(const ClampedSwigluArgs& args, const Launcher& launcher);
void scale(const ScaleArgs& args, const Launcher& launcher);
void softcap(const SoftcapArgs& args, const Launcher& launcher);
void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, const Launcher& launcher);
void position_scale(const PositionScaleArgs& args, const Launcher& launcher);

// position_ops.cu
void rope(const RopeArgs& args, const Launcher& launcher);
void kv_append(const KvAppendArgs& args, const Launcher& launcher);
void latent_append(const LatentAppendArgs& args, const Launcher& launcher);

void norm_rope_append(const NormRopeAppendArgs& args, const Launcher& launcher);

// candidate_ops.cu; the workspace is for the call
void row_candidates(const RowCandidatesArgs& args, void* workspace, int64_t workspace_bytes,
                    const Launcher& launcher);
void count_before(const CountBeforeArgs& args, const Launcher& launcher);

// token_ops.cu
void best_tokens(const BestTokensArgs& args, const Launcher& launcher);
void draw_tokens(const DrawTokensArgs& args, const Launcher& launcher);
void place_tokens(const PlaceTokensArgs& args, const Launcher& launcher);

// moe_ops.cu
void moe_route(const MoeRouteArgs& args, const Launcher& launcher);
void moe_dispatch(const MoeDispatchArgs& args, const Launcher& launcher);
void moe_gather(const MoeGatherArgs& args, const Launcher& launcher);
void moe_combine(const MoeCombineArgs& args, const Launcher& launcher);

}  // namespace trireme::kernels::cuda
