// The keys that most config.json files share, read into a ModelSpec. A family's reader calls these
// and then says what is its own.
//
// Private to parallel/plan. Every error is invalid_argument or unimplemented and names its key.
#pragma once

#include <string>
#include <vector>

#include "parallel/plan/config_json.h"
#include "parallel/plan/model_spec.h"

namespace trireme::plan {

// Names of the common keys, where a family spells them its own way; nullptr: it has no such key.
struct CommonKeys {
  const char* layers = "num_hidden_layers";
  const char* hidden = "hidden_size";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";  // absent: as many as heads
  const char* intermediate = "intermediate_size";
  const char* vocab = "vocab_size";
  const char* context = "max_position_embeddings";
  const char* norm_eps = "rms_norm_eps";
  double default_eps = 1e-6;
  bool tied_by_default = false;  // what an absent tie_word_embeddings means
};

// Sizes, layers (all alike), eps, tied head, dtype, end-of-text ids, and scores over
// sqrt(head_dim). A family whose dense width is optional passes intermediate = nullptr.
Status read_common(const ConfigObject& config, ModelSpec& spec, const CommonKeys& keys = {});

struct RopeKeys {
  const char* theta = "rope_theta";
  double default_theta = 10000;
  const char* partial = nullptr;  // the share of a head that rotates; nullptr: all of it, and a
                                  // config that says otherwise is refused
  double default_partial = 1;
  bool scaled = true;                // rope_scaling applies
  const char* layer_kind = nullptr;  // the part of a rope_parameters that differs by layer kind
  int32_t head_dim = 0;              // 0: ModelSpec::head_dim
  RopeLayout layout = RopeLayout::kHalfSplit;
};

// Two layouts: rope_theta and rope_scaling side by side, or both inside the newer rope_parameters.
Result<RopeSpec> read_rope(const ConfigObject& config, const ModelSpec& spec,
                           const RopeKeys& keys = {});

struct MoeKeys {
  const char* experts = "num_local_experts";
  const char* top_k = "num_experts_per_tok";
  const char* width = "intermediate_size";  // of one expert
};
// How many experts there are, how wide, and how many a token meets.
Result<MoeSpec> read_moe(const ConfigObject& config, const MoeKeys& keys = {});
// Every layer has experts, and none a dense MLP.
void use_experts(ModelSpec& spec, const MoeSpec& moe);

// A width under `key`, which must be there.
Result<int32_t> read_width(const ConfigObject& config, const char* key);
// A width under `key`.
Result<int32_t> read_width(const ConfigObject& config, const char* key, int64_t fallback);

// "silu", "gelu", "gelu_pytorch_tanh"...; unimplemented names another.
Result<Activation> read_activation(const ConfigObject& config, const char* key,
                                   const char* fallback);

// unimplemented when `key` is there and not `wanted`.
Status require_value(const ConfigObject& config, const char* key, const char* wanted);
Status require_flag(const ConfigObject& config, const char* key, bool fallback, bool wanted);

// The layer sees the last `window` tokens.
void make_sliding(LayerSpec& layer, int32_t window);
// The window under `key` ("sliding_window"), or 0 where it is absent or null.
Result<int32_t> read_window(const ConfigObject& config, const char* key);
// All layers slide where the config has a `sliding_window`.
Status read_uniform_window(const ConfigObject& config, ModelSpec& spec);
// Which layers slide: `layer_types` where the config lists them, else every layer but each
// `pattern`-th, counted from 1.
Result<std::vector<bool>> read_sliding_layers(const ConfigObject& config, const ModelSpec& spec,
                                              int64_t pattern);

}  // namespace trireme::plan
