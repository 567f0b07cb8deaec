#include "parallel/plan/model_spec.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "parallel/plan/config_json.h"

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

struct ServedArchitecture {
  const char* name;
  const char* family;
};
// The second is the spelling of the first conversions of Llama 1.
constexpr std::array kServed = {ServedArchitecture{"LlamaForCausalLM", "llama"},
                                ServedArchitecture{"LLaMAForCausalLM", "llama"}};

Status read_architecture(const ConfigObject& config, ModelSpec& spec) {
  const nlohmann::json& document = config.raw();
  const auto it = document.find("architectures");
  if (it == document.end() || !it->is_array() || it->empty() || !it->front().is_string()) {
    return invalid_argument(
        "config.json: 'architectures' must be a list whose first entry names the architecture.");
  }
  spec.architecture = it->front().get<std::string>().substr(0, 80);
  for (const ServedArchitecture& served : kServed) {
    if (spec.architecture == served.name) {
      spec.family = served.family;
      return {};
    }
  }
  return unimplemented(fmt::format("architecture '{}' is not served; this build serves {}.",
                                   spec.architecture, kServed[0].name));
}

// Features that a Llama config may ask for and that would change the arithmetic: refused, never
// ignored.
Status refuse_unserved_features(const ConfigObject& config) {
  ASSIGN_OR_RETURN(const std::string activation, config.string_or("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return unimplemented(
        fmt::format("config.json: 'hidden_act' is '{}'; only 'silu' is served.", activation));
  }
  if (config.has("quantization_config")) {
    return unimplemented(
        "config.json: 'quantization_config' is set; quantized checkpoints are not served.");
  }
  ASSIGN_OR_RETURN(const double partial, config.number_or("partial_rotary_factor", 0, 1, 1));
  if (partial != 1) {
    return unimplemented(fmt::format(
        "config.json: 'partial_rotary_factor' is {:g}; only whole-head rotation is served.",
        partial));
  }
  return {};
}

Status read_sizes(const ConfigObject& config, ModelSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t layers, config.integer("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(const int64_t hidden, config.integer("hidden_size", 1, kMaxHidden));
  ASSIGN_OR_RETURN(const int64_t heads, config.integer("num_attention_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(const int64_t kv_heads,
                   config.integer_or("num_key_value_heads", 1, kMaxHeads, heads));
  ASSIGN_OR_RETURN(const int64_t intermediate,
                   config.integer("intermediate_size", 1, kMaxIntermediate));
  ASSIGN_OR_RETURN(const int64_t vocab, config.integer("vocab_size", 1, kMaxVocab));
  // The first Llama 1 conversions write max_sequence_length; the architecture's default is 2048.
  ASSIGN_OR_RETURN(const int64_t old_context,
                   config.integer_or("max_sequence_length", 1, kMaxContext, 2048));
  ASSIGN_OR_RETURN(const int64_t context,
                   config.integer_or("max_position_embeddings", 1, kMaxContext, old_context));
  if (heads % kv_heads != 0) {
    return invalid_argument(fmt::format(
        "config.json: 'num_attention_heads' ({}) is not a multiple of 'num_key_value_heads' ({}).",
        heads, kv_heads));
  }
  int64_t head_dim = 0;
  if (config.has("head_dim")) {
    ASSIGN_OR_RETURN(head_dim, config.integer("head_dim", 2, kMaxHeadDim));
  } else if (hidden % heads == 0) {
    head_dim = hidden / heads;
  } else {
    return invalid_argument(
        fmt::format("config.json: 'hidden_size' ({}) is not a multiple of 'num_attention_heads' "
                    "({}) and there is no 'head_dim'.",
                    hidden, heads));
  }
  if (head_dim % 2 != 0 || head_dim > kMaxHeadDim) {
    return invalid_argument(fmt::format(
        "config.json: 'head_dim' is {}, but must be even and at most {}.", head_dim, kMaxHeadDim));
  }
  spec.n_layers = static_cast<int32_t>(layers);
  spec.hidden = static_cast<int32_t>(hidden);
  spec.n_heads = static_cast<int32_t>(heads);
  spec.n_kv_heads = static_cast<int32_t>(kv_heads);
  spec.head_dim = static_cast<int32_t>(head_dim);
  spec.intermediate = static_cast<int32_t>(intermediate);
  spec.vocab = static_cast<int32_t>(vocab);
  spec.context = static_cast<int32_t>(context);
  return {};
}

Status read_rope_scaling(const ConfigObject& scaling, RopeSpec& rope) {
  // "type" is the older name of "rope_type".
  ASSIGN_OR_RETURN(const std::string legacy, scaling.string_or("type", "default"));
  ASSIGN_OR_RETURN(const std::string kind, scaling.string_or("rope_type", legacy));
  if (kind == "default") return {};
  if (kind != "linear" && kind != "llama3") {
    return unimplemented(fmt::format(
        "config.json: rope type '{}' is not served; this build serves default, linear and llama3.",
        kind));
  }
  constexpr double kMaxFactor = 1e6;
  ASSIGN_OR_RETURN(rope.factor, scaling.number("factor", 1, kMaxFactor));
  if (kind == "linear") {
    rope.scaling = RopeScalingKind::kLinear;
    return {};
  }
  rope.scaling = RopeScalingKind::kLlama3;
  ASSIGN_OR_RETURN(rope.low_freq_factor, scaling.number("low_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(rope.high_freq_factor, scaling.number("high_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(rope.original_context,
                   scaling.integer("original_max_position_embeddings", 1, kMaxContext));
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    return invalid_argument(fmt::format(
        "config.json: 'high_freq_factor' ({:g}) must be greater than 'low_freq_factor' ({:g}).",
        rope.high_freq_factor, rope.low_freq_factor));
  }
  return {};
}

// Two layouts: rope_theta and rope_scaling side by side, or both inside the newer rope_parameters.
Status read_rope(const ConfigObject& config, ModelSpec& spec) {
  constexpr double kMaxTheta = 1e15;
  spec.rope.rotary_dim = spec.head_dim;
  ASSIGN_OR_RETURN(spec.rope.theta, config.number_or("rope_theta", 1, kMaxTheta, 10000));
  if (config.has("rope_parameters")) {
    ASSIGN_OR_RETURN(const ConfigObject parameters, config.object("rope_parameters"));
    for (const auto& [key, value] : parameters.raw().items()) {
      if (value.is_object()) {
        return unimplemented(fmt::format(
            "config.json: 'rope_parameters.{}' differs by layer kind, which is not served.",
            key.substr(0, 64)));
      }
    }
    ASSIGN_OR_RETURN(spec.rope.theta,
                     parameters.number_or("rope_theta", 1, kMaxTheta, spec.rope.theta));
    ASSIGN_OR_RETURN(const double partial, parameters.number_or("partial_rotary_factor", 0, 1, 1));
    if (partial != 1) {
      return unimplemented(
          "config.json: 'rope_parameters.partial_rotary_factor' is not 1; only whole-head rotation "
          "is served.");
    }
    return read_rope_scaling(parameters, spec.rope);
  }
  if (!config.has("rope_scaling")) return {};
  ASSIGN_OR_RETURN(const ConfigObject scaling, config.object("rope_scaling"));
  return read_rope_scaling(scaling, spec.rope);
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

int64_t layer_parameters(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden;
  const int64_t q = int64_t{spec.n_heads} * spec.head_dim;
  const int64_t kv = int64_t{spec.n_kv_heads} * spec.head_dim;
  const int64_t intermediate = spec.intermediate;
  int64_t n = 2 * hidden * q + 2 * hidden * kv + 3 * hidden * intermediate + 2 * hidden;
  if (spec.attention_bias) n += q + 2 * kv + hidden;
  if (spec.mlp_bias) n += 2 * intermediate + hidden;
  return n;
}

}  // namespace

int64_t ModelSpec::n_parameters() const {
  const int64_t matrix = int64_t{vocab} * hidden;
  return n_layers * layer_parameters(*this) + matrix * (tied_embeddings ? 1 : 2) + hidden;
}

int64_t ModelSpec::weight_bytes(DType dtype) const {
  return n_parameters() * static_cast<int64_t>(size_of(dtype));
}

int64_t ModelSpec::kv_bytes_per_token(DType kv_dtype) const {
  return int64_t{2} * n_layers * n_kv_heads * head_dim * static_cast<int64_t>(size_of(kv_dtype));
}

Result<ModelSpec> parse_model_spec(const std::string& config_json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, parse_config_json(config_json));
  const ConfigObject config(document, "");
  ModelSpec spec;
  TRY(read_architecture(config, spec));
  TRY(refuse_unserved_features(config));
  TRY(read_sizes(config, spec));
  TRY(read_rope(config, spec));
  TRY(read_dtype(config, spec));
  // The lower bound keeps the square root's argument a normal float.
  ASSIGN_OR_RETURN(const double eps, config.number_or("rms_norm_eps", 1e-12, 1, 1e-6));
  spec.rms_eps = static_cast<float>(eps);
  ASSIGN_OR_RETURN(spec.tied_embeddings, config.boolean_or("tie_word_embeddings", false));
  ASSIGN_OR_RETURN(spec.attention_bias, config.boolean_or("attention_bias", false));
  ASSIGN_OR_RETURN(spec.mlp_bias, config.boolean_or("mlp_bias", false));
  ASSIGN_OR_RETURN(spec.eos_ids, config.integers("eos_token_id", 0, spec.vocab - 1));
  ASSIGN_OR_RETURN(const std::vector<int32_t> bos,
                   config.integers("bos_token_id", 0, spec.vocab - 1));
  if (!bos.empty()) spec.bos_id = bos.front();
  return spec;
}

Result<ModelSpec> load_model_spec(const std::string& path) {
  std::error_code error;
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(file, error)) file /= "config.json";
  if (!std::filesystem::is_regular_file(file, error)) {
    return not_found(fmt::format("there is no model configuration at '{}'.", file.string()));
  }
  const auto bytes = std::filesystem::file_size(file, error);
  if (error || bytes > kMaxConfigBytes) {
    return invalid_argument(fmt::format("'{}' is not a config.json: it is larger than {} bytes.",
                                        file.string(), kMaxConfigBytes));
  }
  std::ifstream stream(file, std::ios::binary);
  std::string text(static_cast<size_t>(bytes), '\0');
  if (!stream.read(text.data(), static_cast<std::streamsize>(bytes))) {
    return not_found(fmt::format("'{}' cannot be read.", file.string()));
  }
  return parse_model_spec(text);
}

}  // namespace trireme::plan
