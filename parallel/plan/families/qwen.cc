#include <algorithm>

#include "parallel/plan/config_keys.h"
#include "parallel/plan/families/families.h"

namespace trireme::plan {
namespace {

// A window counts only with use_sliding_window, and then for the layers from max_window_layers on.
Status read_window_switch(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const bool slides, config.boolean_or("use_sliding_window", false));
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  if (!slides || window == 0) return {};
  ASSIGN_OR_RETURN(const int64_t first, config.integer_or("max_window_layers", 0, 1 << 20, 28));
  for (int64_t i = first; i < spec.n_layers(); ++i) {
    make_sliding(spec.layers[static_cast<size_t>(i)], window);
  }
  return {};
}

Status read_qwen(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_common(config, spec));
  TRY(require_value(config, "hidden_act", "silu"));
  ASSIGN_OR_RETURN(const RopeSpec rope, read_rope(config, spec));
  spec.ropes = {rope};
  return read_window_switch(config, spec);
}

// Which layers have experts: each decoder_sparse_step-th, without those that are listed as dense.
Status read_experts(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(MoeSpec moe,
                   read_moe(config, {.experts = "num_experts", .width = "moe_intermediate_size"}));
  ASSIGN_OR_RETURN(moe.renormalize, config.boolean_or("norm_topk_prob", false));
  spec.moe = moe;
  ASSIGN_OR_RETURN(const int64_t step, config.integer_or("decoder_sparse_step", 1, 1 << 10, 1));
  ASSIGN_OR_RETURN(const std::vector<int32_t> dense,
                   config.integers("mlp_only_layers", 0, spec.n_layers() - 1));
  for (int32_t i = 0; i < spec.n_layers(); ++i) {
    const bool is_listed = std::find(dense.begin(), dense.end(), i) != dense.end();
    spec.layers[static_cast<size_t>(i)].moe = (i + 1) % step == 0 && !is_listed;
  }
  return {};
}

}  // namespace

// No key says that q, k and v have biases: they always do.
Status read_qwen2(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_qwen(config, spec));
  spec.qkv_bias = true;
  return {};
}

Status read_qwen3(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_qwen(config, spec));
  ASSIGN_OR_RETURN(const bool attention_bias, config.boolean_or("attention_bias", false));
  spec.qkv_bias = spec.o_bias = attention_bias;
  spec.qk_norm = QkNorm::kHead;
  return {};
}

Status read_qwen2_moe(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_qwen2(config, spec));
  TRY(read_experts(config, spec));
  ASSIGN_OR_RETURN(spec.moe->shared_width, read_width(config, "shared_expert_intermediate_size"));
  spec.moe->shared_gate = true;
  return {};
}

Status read_qwen3_moe(const ConfigObject& config, ModelSpec& spec) {
  TRY(read_qwen3(config, spec));
  return read_experts(config, spec);
}

}  // namespace trireme::plan
