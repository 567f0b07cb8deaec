// Workspace: the buffers between ops of one rank, one set for all its layers.
//
// Inputs of linears have the compute type, sums are f32. Sized once, for the most rows that a step
// may have. Used by the rank's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

struct RopeTable {
  DeviceTensor inv_freq;  // [n_sets, rotary_dim / 2] f32
  float scale = 1;        // of cos and sin
  kernels::RopeLayout layout = kernels::RopeLayout::kHalfSplit;
};

// Between the ops of a layer with experts. A row is a token's way through one expert.
struct MoeBuffers {
  DeviceTensor router_logits;   // [max_tokens, n_experts] f32
  DeviceTensor expert_ids;      // [max_tokens, top_k] i32
  DeviceTensor expert_weights;  // [max_tokens, top_k] f32
  DeviceTensor token_of_row;    // [max_tokens * top_k] i32
  DeviceTensor row_of_choice;   // [max_tokens, top_k] i32
  // [n_moe_layers, n_experts + 1] i32, both of this rank. Each layer leaves its own: the step's
  // load of every expert.
  DeviceTensor expert_start;
  DeviceTensor expert_in;   // [max_tokens * top_k, hidden]
  DeviceTensor gate_up;     // [max_tokens * top_k, 2 * width] f32
  DeviceTensor activated;   // [max_tokens * top_k, width]
  DeviceTensor expert_out;  // [max_tokens * top_k, hidden] f32

  TensorView starts_of_layer(int64_t moe_slot) const {
    const TensorView row = expert_start.view.rows(moe_slot, moe_slot + 1);
    return {row.data, row.dtype, {row.dim(1)}};
  }
};

// Of latent attention alone (plan::MlaSpec has the sizes).
struct LatentBuffers {
  DeviceTensor q_a;        // [max_tokens, q_rank] f32
  DeviceTensor q_normed;   // [max_tokens, q_rank]
  DeviceTensor q_nope;     // [max_tokens, n_heads * nope_dim]
  DeviceTensor q;          // [max_tokens, n_heads * latent_width + kv_rank] f32
  DeviceTensor kv_a;       // [max_tokens, latent_width] f32
  DeviceTensor kv_normed;  // [max_tokens, kv_rank] f32
  DeviceTensor mixed;      // [max_tokens, n_heads * kv_rank]
};

struct Workspace {
  DeviceTensor h;        // [max_tokens, hidden]
  DeviceTensor delta;    // [max_tokens, hidden] f32
  DeviceTensor normed;   // [max_tokens, hidden] f32
  DeviceTensor qkv;      // [max_tokens, (n_heads + 2 n_kv_heads) * head_dim] f32; none where latent
  LatentBuffers latent;  // of latent attention
  DeviceTensor row_sums;   // [2 * max_tokens, 1] f32, of norms whose width is cut over the group
  DeviceTensor attended;   // [max_tokens, n_heads * head_dim]; of latent attention, * value_dim
  DeviceTensor gate_up;    // [max_tokens, 2 * width] f32 of the widest MLP; 1 where none gates
  DeviceTensor activated;  // [max_tokens, width]
  DeviceTensor h_logits;   // [max_logits_rows, hidden], last stage
  std::vector<RopeTable> ropes;  // as ModelSpec::ropes
  MoeBuffers moe;                // where the model has experts

  static Result<Workspace> allocate(kernels::Backend& backend, const plan::ModelSpec& spec,
                                    const plan::RankPlan& rank, int64_t max_tokens,
                                    int64_t max_logits_rows);
};

}  // namespace trireme::worker
