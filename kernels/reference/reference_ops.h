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
void silu_mul(const SiluMulArgs& args);
void rope(const RopeArgs& args);
void kv_append(const KvAppendArgs& args);
void paged_attention(const PagedAttentionArgs& args);
void gather_rows(const GatherRowsArgs& args);
void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args);

Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight,
                                                  ComputeDType compute_dtype);
void linear(const LinearArgs& args);

}  // namespace trireme::kernels::reference
