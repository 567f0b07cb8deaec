#include <cmath>

#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

constexpr int64_t kMaxSize = 1 << 16;

Result<int32_t> read_size(const ConfigObject& config, const char* key, int64_t low) {
  ASSIGN_OR_RETURN(const int64_t value, config.integer(key, low, kMaxSize));
  return static_cast<int32_t>(value);
}

// Keys and values are up-projections of a cached latent. YaRN's share of the score scale is part of
// the attention scale.
Status read_attention(const ConfigObject& config, ModelSpec& spec) {
  TRY(require_flag(config, "attention_bias", false, false));
  MlaSpec mla;
  if (config.has("q_lora_rank")) {
    ASSIGN_OR_RETURN(mla.q_rank, read_size(config, "q_lora_rank", 1));
  }
  ASSIGN_OR_RETURN(mla.kv_rank, read_size(config, "kv_lora_rank", 1));
  ASSIGN_OR_RETURN(mla.nope_dim, read_size(config, "qk_nope_head_dim", 1));
  ASSIGN_OR_RETURN(mla.rope_dim, read_size(config, "qk_rope_head_dim", 2));
  ASSIGN_OR_RETURN(mla.value_dim, read_size(config, "v_head_dim", 1));
  ASSIGN_OR_RETURN(const bool interleaved, config.boolean_or("rope_interleave", true));
  ASSIGN_OR_RETURN(
      const RopeSpec rope,
      read_rope(config, spec,
                {.head_dim = mla.rope_dim,
                 .layout = interleaved ? RopeLayout::kInterleaved : RopeLayout::kHalfSplit}));
  spec.mla = mla;
  spec.ropes = {rope};
  spec.head_dim = mla.nope_dim + mla.rope_dim;
  spec.attention_scale = rope.score_scale() / std::sqrt(static_cast<float>(spec.head_dim));
  return {};
}

// The first layers have a dense MLP, and of the others each `moe_layer_freq`-th has experts.
Status read_moe_layers(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t first, config.integer_or("first_k_dense_replace", 0, 1 << 20, 0));
  ASSIGN_OR_RETURN(const int64_t step, config.integer_or("moe_layer_freq", 1, 1 << 10, 1));
  for (int64_t i = first; i < spec.n_layers(); ++i) {
    spec.layers[static_cast<size_t>(i)].moe = i % step == 0;
  }
  return {};
}

Status read_experts(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(MoeSpec moe, read_moe(config, {.experts = "n_routed_experts",
                                                  .width = "moe_intermediate_size"}));
  ASSIGN_OR_RETURN(const int64_t n_shared, config.integer_or("n_shared_experts", 0, 64, 0));
  ASSIGN_OR_RETURN(const double scale, config.number_or("routed_scaling_factor", 0, 1e6, 1));
  ASSIGN_OR_RETURN(const int64_t n_groups, config.integer_or("n_group", 1, moe.n_experts, 1));
  ASSIGN_OR_RETURN(const int64_t n_chosen, config.integer_or("topk_group", 1, n_groups, 1));
  if (moe.n_experts % n_groups != 0 || moe.top_k > moe.n_experts / n_groups * n_chosen) {
    return invalid_argument(
        "config.json: 'n_group' and 'topk_group' leave fewer experts than 'num_experts_per_tok'.");
  }
  moe.shared_width = static_cast<int32_t>(n_shared * moe.width);  // all shared ones are one MLP
  moe.weight_scale = static_cast<float>(scale);
  moe.n_groups = static_cast<int32_t>(n_groups);
  moe.n_chosen_groups = static_cast<int32_t>(n_chosen);
  spec.moe = moe;
  return read_moe_layers(config, spec);
}

Status read_any_deepseek(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  TRY(read_attention(config, spec));
  return read_experts(config, spec);
}

}  // namespace

// Weights are shares of the softmax over all experts, never renormalised; groups go by their best
// expert, unless all are one (V2-Lite).
Status read_deepseek_v2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_any_deepseek(config, spec));
  TRY(require_value(config, "scoring_func", "softmax"));
  TRY(require_flag(config, "norm_topk_prob", false, false));
  ASSIGN_OR_RETURN(const std::string method, config.string_or("topk_method", "greedy"));
  if (method == "greedy") {
    spec.moe->n_groups = spec.moe->n_chosen_groups = 1;
    return {};
  }
  TRY(require_value(config, "topk_method", "group_limited_greedy"));
  spec.moe->group_score = GroupScore::kMax;
  return {};
}

// Experts are scored on their own, and chosen with a bias that does not enter the weights; groups
// go by their two best. Layers that predict further tokens are stored behind the others.
Status read_deepseek_v3(const ConfigObject& config, ModelSpec& spec) {
  // What these mean where they are absent differs between versions of the class: they must be said.
  for (const char* key : {"first_k_dense_replace", "n_group", "topk_group", "n_shared_experts",
                          "routed_scaling_factor"}) {
    TRY(config.number(key, 0, 1e6));
  }
  TRY(read_any_deepseek(config, spec));
  TRY(require_value(config, "scoring_func", "sigmoid"));
  TRY(require_value(config, "topk_method", "noaux_tc"));
  ASSIGN_OR_RETURN(spec.moe->renormalize, config.boolean_or("norm_topk_prob", true));
  spec.moe->scoring = ExpertScoring::kSigmoid;
  spec.moe->choice_bias = true;
  if (spec.moe->n_groups > 1) spec.moe->group_score = GroupScore::kTopTwoSum;
  ASSIGN_OR_RETURN(const int64_t n_predict,
                   config.integer_or("num_nextn_predict_layers", 0, 64, 0));
  spec.n_predict_layers = static_cast<int32_t>(n_predict);
  return {};
}

}  // namespace trireme::plan
