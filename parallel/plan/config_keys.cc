#include "parallel/plan/config_keys.h"

#include <fmt/format.h>

#include <cmath>

namespace trireme::plan {
namespace {

// What a size may be at most: well past every published model, and small enough that no product of
// them overflows int64 (layers 2^10 x hidden 2^17 x intermediate 2^21 x 3 x 4 bytes < 2^52).
constexpr int64_t kMaxLayers = 1 << 10;
constexpr int64_t kMaxHidden = 1 << 17;
constexpr int64_t kMaxHeads = 1 << 12;
constexpr int64_t kMaxHeadDim = 1 << 12;
constexpr int64_t kMaxIntermediate = 1 << 21;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxContext = 1 << 28;
// Keys of one sequence, of all layers together: half of the int64 that their bytes and the values'
// are counted in.
constexpr int64_t kMaxKeyElements = int64_t{1} << 58;

Result<int64_t> read_head_dim(const ConfigObject& config, int64_t hidden, int64_t heads) {
  int64_t head_dim = 0;
  if (config.has("head_dim")) {
    ASSIGN_OR_RETURN(head_dim, config.integer("head_dim", 2, kMaxHeadDim));
  } else if (hidden % heads == 0) {
    head_dim = hidden / heads;
  } else {
    return invalid_argument(fmt::format(
        "config.json: the hidden size ({}) is not a multiple of the attention heads ({}) and "
        "there is no 'head_dim'.",
        hidden, heads));
  }
  if (head_dim % 2 != 0 || head_dim > kMaxHeadDim) {
    return invalid_argument(fmt::format(
        "config.json: 'head_dim' is {}, but must be even and at most {}.", head_dim, kMaxHeadDim));
  }
  return head_dim;
}

Status read_sizes(const ConfigObject& config, ModelSpec& spec, const CommonKeys& keys) {
  ASSIGN_OR_RETURN(const int64_t layers, config.integer(keys.layers, 1, kMaxLayers));
  ASSIGN_OR_RETURN(const int64_t hidden, config.integer(keys.hidden, 1, kMaxHidden));
  ASSIGN_OR_RETURN(const int64_t heads, config.integer(keys.heads, 1, kMaxHeads));
  int64_t kv_heads = heads;
  if (keys.kv_heads != nullptr) {
    ASSIGN_OR_RETURN(kv_heads, config.integer_or(keys.kv_heads, 1, kMaxHeads, heads));
  }
  int64_t intermediate = 0;
  if (keys.intermediate != nullptr) {
    ASSIGN_OR_RETURN(intermediate, config.integer(keys.intermediate, 1, kMaxIntermediate));
  }
  ASSIGN_OR_RETURN(const int64_t vocab, config.integer(keys.vocab, 1, kMaxVocab));
  // The first Llama 1 conversions write max_sequence_length; the architecture's default is 2048.
  ASSIGN_OR_RETURN(const int64_t old_context,
                   config.integer_or("max_sequence_length", 1, kMaxContext, 2048));
  ASSIGN_OR_RETURN(const int64_t context,
                   config.integer_or(keys.context, 1, kMaxContext, old_context));
  if (heads % kv_heads != 0) {
    return invalid_argument(fmt::format("config.json: '{}' ({}) is not a multiple of '{}' ({}).",
                                        keys.heads, heads, keys.kv_heads, kv_heads));
  }
  ASSIGN_OR_RETURN(const int64_t head_dim, read_head_dim(config, hidden, heads));
  if (layers * kv_heads * head_dim * context > kMaxKeyElements) {
    return invalid_argument(fmt::format(
        "config.json: {} layers of {} key-value heads of {} channels are absurd for a context of "
        "{} tokens ('{}').",
        layers, kv_heads, head_dim, context, keys.context));
  }
  spec.layers.resize(static_cast<size_t>(layers));
  spec.hidden = static_cast<int32_t>(hidden);
  spec.n_heads = static_cast<int32_t>(heads);
  spec.n_kv_heads = static_cast<int32_t>(kv_heads);
  spec.head_dim = static_cast<int32_t>(head_dim);
  spec.intermediate = static_cast<int32_t>(intermediate);
  spec.vocab = static_cast<int32_t>(vocab);
  spec.context = static_cast<int32_t>(context);
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  return {};
}

Status read_dtype(const ConfigObject& config, ModelSpec& spec) {
  // "dtype" is the newer name of "torch_dtype".
  const char* key = config.has("dtype") ? "dtype" : "torch_dtype";
  ASSIGN_OR_RETURN(const std::string dtype, config.string_or(key, "bfloat16"));
  if (dtype == "bfloat16") {
    spec.weight_dtype = DType::kBF16;
  } else if (dtype == "float16") {
    spec.weight_dtype = DType::kF16;
  } else if (dtype == "float32") {
    spec.weight_dtype = DType::kF32;
  } else {
    return unimplemented(
        fmt::format("config.json: '{}' is '{}'; this build serves bfloat16, float16 and float32.",
                    key, dtype.substr(0, 40)));
  }
  return {};
}

}  // namespace

Status read_common(const ConfigObject& config, ModelSpec& spec, const CommonKeys& keys) {
  TRY(read_sizes(config, spec, keys));
  TRY(read_dtype(config, spec));
  // The lower bound keeps the square root's argument a normal float.
  ASSIGN_OR_RETURN(const double eps, config.number_or(keys.norm_eps, 1e-12, 1, keys.default_eps));
  spec.norm_eps = static_cast<float>(eps);
  ASSIGN_OR_RETURN(spec.tied_embeddings,
                   config.boolean_or("tie_word_embeddings", keys.tied_by_default));
  ASSIGN_OR_RETURN(spec.eos_ids, config.integers("eos_token_id", 0, spec.vocab - 1));
  ASSIGN_OR_RETURN(const std::vector<int32_t> bos,
                   config.integers("bos_token_id", 0, spec.vocab - 1));
  if (!bos.empty()) spec.bos_id = bos.front();
  return {};
}

Result<int32_t> read_width(const ConfigObject& config, const char* key) {
  ASSIGN_OR_RETURN(const int64_t width, config.integer(key, 1, kMaxIntermediate));
  return static_cast<int32_t>(width);
}

Result<int32_t> read_width(const ConfigObject& config, const char* key, int64_t fallback) {
  ASSIGN_OR_RETURN(const int64_t width, config.integer_or(key, 1, kMaxIntermediate, fallback));
  return static_cast<int32_t>(width);
}

Result<Activation> read_activation(const ConfigObject& config, const char* key,
                                   const char* fallback) {
  ASSIGN_OR_RETURN(const std::string name, config.string_or(key, fallback));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") {
    return Activation::kGeluTanh;
  }
  return unimplemented(fmt::format(
      "config.json: '{}' is '{}'; silu, gelu, gelu_pytorch_tanh and gelu_new are served.", key,
      name.substr(0, 40)));
}

Status require_value(const ConfigObject& config, const char* key, const char* wanted) {
  ASSIGN_OR_RETURN(const std::string value, config.string_or(key, wanted));
  if (value == wanted) return {};
  return unimplemented(fmt::format("config.json: '{}' is '{}'; only '{}' is served.", key,
                                   value.substr(0, 40), wanted));
}

Status require_flag(const ConfigObject& config, const char* key, bool fallback, bool wanted) {
  ASSIGN_OR_RETURN(const bool value, config.boolean_or(key, fallback));
  if (value == wanted) return {};
  return unimplemented(
      fmt::format("config.json: '{}' is {}; only {} is served.", key, value, wanted));
}

void make_sliding(LayerSpec& layer, int32_t window) {
  layer.attention = AttentionKind::kSliding;
  layer.span = window;
}

Status read_uniform_window(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int32_t window, read_window(config, "sliding_window"));
  if (window == 0) return {};
  for (LayerSpec& layer : spec.layers) make_sliding(layer, window);
  return {};
}

Result<int32_t> read_window(const ConfigObject& config, const char* key) {
  ASSIGN_OR_RETURN(const int64_t window, config.integer_or(key, 1, kMaxContext, 0));
  return static_cast<int32_t>(window);
}

Result<std::vector<bool>> read_sliding_layers(const ConfigObject& config, const ModelSpec& spec,
                                              int64_t pattern) {
  std::vector<bool> sliding;
  if (!config.has("layer_types")) {
    for (int64_t i = 0; i < spec.n_layers(); ++i) sliding.push_back((i + 1) % pattern != 0);
    return sliding;
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> kinds, config.strings("layer_types", kMaxLayers));
  if (kinds.size() != spec.layers.size()) {
    return invalid_argument(fmt::format("config.json: 'layer_types' has {} entries for {} layers.",
                                        kinds.size(), spec.layers.size()));
  }
  for (const std::string& kind : kinds) {
    if (kind != "sliding_attention" && kind != "full_attention") {
      return unimplemented(fmt::format(
          "config.json: 'layer_types' has '{}'; sliding_attention and full_attention are served.",
          kind.substr(0, 40)));
    }
    sliding.push_back(kind == "sliding_attention");
  }
  return sliding;
}

}  // namespace trireme::plan
