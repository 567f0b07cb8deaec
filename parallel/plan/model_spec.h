// ModelSpec: what config.json says, checked and in the field's terms. Pure data; knows nothing of ranks.
//
// Source of truth for every size of a model: parameters, bytes, KV bytes per token.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/dtype.h"

namespace trireme::plan {

enum class RopeScalingKind : uint8_t { kNone, kLinear, kLlama3 };

struct RopeSpec {
  double theta = 10000;
  RopeScalingKind scaling = RopeScalingKind::kNone;
  double factor = 1;
  double low_freq_factor = 1;    // llama3
  double high_freq_factor = 4;   // llama3
  int64_t original_context = 0;  // llama3: original_max_position_embeddings
  int32_t rotary_dim = 0;        // channels rotated per head, <= head_dim

  // [rotary_dim / 2] radians per token, scaling applied.
  std::vector<float> inv_freq() const;
};

struct ModelSpec {
  std::string architecture;  // e.g. "LlamaForCausalLM"
  std::string family;        // key of the worker's model registry: "llama"
  int32_t n_layers = 0;
  int32_t hidden = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t intermediate = 0;
  int32_t vocab = 0;
  int32_t context = 0;  // max_position_embeddings
  float rms_eps = 0;
  RopeSpec rope;
  bool tied_embeddings = false;
  bool attention_bias = false;  // q, k, v and o projections carry a bias
  bool mlp_bias = false;
  DType weight_dtype = DType::kBF16;  // torch_dtype / dtype of the config; the files may differ
  std::vector<int32_t> eos_ids;
  std::optional<int32_t> bos_id;

  int64_t n_parameters() const;
  // Bytes of all weights at `bytes_per_parameter` 2 or 4, as held once (not replicated).
  int64_t weight_bytes(DType dtype) const;
  // K and V of one token over all layers of the model, unreplicated.
  int64_t kv_bytes_per_token(DType kv_dtype) const;
};

// Reads `config.json` (a file or a model folder). invalid_argument names the key that is absent, mistyped or absurd;
// unimplemented names an architecture or feature that this build does not serve.
Result<ModelSpec> load_model_spec(const std::string& path);
// The same from the JSON text itself.
Result<ModelSpec> parse_model_spec(const std::string& config_json);

}  // namespace trireme::plan
