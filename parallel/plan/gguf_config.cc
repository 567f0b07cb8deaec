#include "parallel/plan/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

namespace trireme::plan {
namespace {

using nlohmann::json;

// Generous: the config's own reader checks the sizes again.
constexpr int64_t kMaxSize = int64_t{1} << 31;
constexpr double kMaxNumber = 1e15;
constexpr int64_t kMaxRopeFactors = 4096;

struct Architecture {
  std::string_view name;   // of the metadata
  const char* class_name;  // of config.json
  const char* activation;
};

constexpr std::array kArchitectures = {
    Architecture{"llama", "LlamaForCausalLM", "silu"},
    Architecture{"qwen2", "Qwen2ForCausalLM", "silu"},
    Architecture{"qwen3", "Qwen3ForCausalLM", "silu"},
    Architecture{"qwen3moe", "Qwen3MoeForCausalLM", "silu"},
    Architecture{"gemma", "GemmaForCausalLM", "gelu_pytorch_tanh"},
    Architecture{"grok", "Grok1ForCausalLM", "gelu"},
};

// Keys behind "<architecture>." that are read, or that say nothing about the arithmetic here.
constexpr std::array<std::string_view, 34> kUnderstood = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "use_parallel_residual",
    "tensor_data_layout",
    "attn_logit_softcapping",
    "router_logit_softcapping",
    "attention.output_scale",
    "embedding_scale",
    "logit_scale",
    "attention.causal",
    "pooling_type",
    "embedding_length_out",
    "leading_dense_block_count",
    "interleave_moe_layer_step",
};
// Of these, the ones that grok alone has.
constexpr std::array<std::string_view, 5> kGrokOnly = {
    "attn_logit_softcapping", "router_logit_softcapping", "attention.output_scale",
    "embedding_scale", "logit_scale"};
// And the ones that must say the usual thing.
constexpr std::array<std::string_view, 3> kMustBeZero = {
    "use_parallel_residual", "leading_dense_block_count", "pooling_type"};

template <size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

class ConfigWriter {
 public:
  ConfigWriter(const Gguf& gguf, const Architecture& architecture)
      : gguf_(gguf),
        architecture_(architecture),
        prefix_(std::string(architecture.name) + "."),
        is_grok_(architecture.name == "grok") {}

  Result<std::string> run() {
    TRY(check_keys());
    config_["architectures"] = {architecture_.class_name};
    config_["hidden_act"] = architecture_.activation;
    TRY(write_sizes());
    TRY(write_embedding());
    TRY(write_positions());
    TRY(write_experts());
    if (is_grok_) TRY(write_grok());
    TRY(write_tokens());
    return config_.dump();
  }

 private:
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  bool has(std::string_view name) const { return gguf_.has(key(name)); }

  Error about(std::string_view name, std::string_view what) const {
    return unimplemented(fmt::format("GGUF key \"{}\" {}", key(name), what));
  }

  Status check_keys() const;
  Status copy_size(std::string_view from, const char* to);
  Status write_sizes();
  Status write_embedding();
  Status write_positions();
  Status write_rope_factors(const GgufTensor& stored);
  Status write_experts();
  Status write_grok();
  Status write_tokens();

  const Gguf& gguf_;
  const Architecture& architecture_;
  std::string prefix_;
  bool is_grok_;
  json config_ = json::object();
};

Status ConfigWriter::check_keys() const {
  for (const auto& [name, value] : gguf_.metadata()) {
    if (!name.starts_with(prefix_)) continue;
    const std::string_view rest = std::string_view(name).substr(prefix_.size());
    const bool known = contains(kUnderstood, rest) && (is_grok_ || !contains(kGrokOnly, rest));
    if (!known) return about(rest, "is not understood");
    if (!contains(kMustBeZero, rest)) continue;
    const auto* flag = std::get_if<bool>(&value);
    const auto* number = std::get_if<int64_t>(&value);
    if ((flag != nullptr && *flag) || (number != nullptr && *number != 0)) {
      return about(rest, "is set, which is not served");
    }
  }
  return {};
}

Status ConfigWriter::copy_size(std::string_view from, const char* to) {
  ASSIGN_OR_RETURN(const int64_t value, gguf_.integer(key(from), 0, kMaxSize));
  config_[to] = value;
  return {};
}

Status ConfigWriter::write_sizes() {
  TRY(copy_size("block_count", "num_hidden_layers"));
  TRY(copy_size("embedding_length", "hidden_size"));
  TRY(copy_size("feed_forward_length", "intermediate_size"));
  TRY(copy_size("attention.head_count", "num_attention_heads"));
  TRY(copy_size("context_length", "max_position_embeddings"));
  if (has("attention.head_count_kv")) {
    TRY(copy_size("attention.head_count_kv", "num_key_value_heads"));
  }
  if (has("attention.key_length")) {
    TRY(copy_size("attention.key_length", "head_dim"));
    ASSIGN_OR_RETURN(const int64_t keys, gguf_.integer(key("attention.key_length"), 0, kMaxSize));
    ASSIGN_OR_RETURN(const int64_t values,
                     gguf_.integer_or(key("attention.value_length"), 0, kMaxSize, keys));
    if (values != keys) return about("attention.value_length", "differs from the key length");
  }
  ASSIGN_OR_RETURN(const double eps, gguf_.number(key("attention.layer_norm_rms_epsilon"), 0, 1));
  config_["rms_norm_eps"] = eps;
  if (has("attention.sliding_window")) {
    ASSIGN_OR_RETURN(const int64_t window,
                     gguf_.integer(key("attention.sliding_window"), 0, kMaxSize));
    ASSIGN_OR_RETURN(const int64_t context, gguf_.integer(key("context_length"), 0, kMaxSize));
    if (window > 0 && window < context) {
      return about("attention.sliding_window", "is set, which is not served");
    }
  }
  if (gguf_.find_tensor("blk.0.attn_q.bias") != nullptr && architecture_.name == "llama") {
    config_["attention_bias"] = true;
  }
  return {};
}

// What the tensors say: the vocabulary, whether the head is the embedding, the type of the numbers.
Status ConfigWriter::write_embedding() {
  const GgufTensor* embedding = gguf_.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return invalid_argument("tensor \"token_embd.weight\" is missing or no matrix");
  }
  config_["vocab_size"] = embedding->shape[0];
  ASSIGN_OR_RETURN(const int64_t claimed,
                   gguf_.integer_or(key("vocab_size"), 0, kMaxSize, embedding->shape[0]));
  if (claimed != embedding->shape[0]) {
    return invalid_argument(fmt::format("GGUF key \"{}\" is {}, but the embedding has {} rows",
                                        key("vocab_size"), claimed, embedding->shape[0]));
  }
  config_["tie_word_embeddings"] = gguf_.find_tensor("output.weight") == nullptr;
  const char* dtype = "bfloat16";
  if (embedding->type->type == GgufType::kF32) dtype = "float32";
  if (embedding->type->type == GgufType::kF16) dtype = "float16";
  config_["torch_dtype"] = dtype;
  return {};
}

Status ConfigWriter::write_positions() {
  ASSIGN_OR_RETURN(const double theta,
                   gguf_.number_or(key("rope.freq_base"), 1, kMaxNumber, 10000));
  config_["rope_theta"] = theta;
  if (has("rope.dimension_count")) {
    ASSIGN_OR_RETURN(const int64_t rotary, gguf_.integer(key("rope.dimension_count"), 2, kMaxSize));
    const auto heads = config_["num_attention_heads"].get<int64_t>();
    const int64_t head_dim = config_.contains("head_dim") ? config_["head_dim"].get<int64_t>()
                                                          : config_["hidden_size"].get<int64_t>() /
                                                                std::max<int64_t>(heads, 1);
    if (rotary != head_dim) return about("rope.dimension_count", "is not the size of a head");
  }
  if (has("rope.scale_linear")) return about("rope.scale_linear", "is not served");
  ASSIGN_OR_RETURN(const std::string type, gguf_.string_or(key("rope.scaling.type"), "none"));
  const GgufTensor* factors = gguf_.find_tensor("rope_freqs.weight");
  if (type != "none" && factors != nullptr) {
    return about("rope.scaling.type", "is set and there are stored factors too");
  }
  if (factors != nullptr) return write_rope_factors(*factors);
  if (type == "none") return {};
  if (type != "linear" && type != "yarn") return about("rope.scaling.type", "is not served");
  ASSIGN_OR_RETURN(const double attention,
                   gguf_.number_or(key("rope.scaling.attn_factor"), 0, kMaxNumber, 1));
  if (attention != 1) return about("rope.scaling.attn_factor", "is not 1, which is not served");
  ASSIGN_OR_RETURN(const double factor, gguf_.number(key("rope.scaling.factor"), 1, kMaxNumber));
  config_["rope_scaling"] = {{"rope_type", type}, {"factor", factor}};
  if (has("rope.scaling.original_context_length")) {
    ASSIGN_OR_RETURN(const int64_t original,
                     gguf_.integer(key("rope.scaling.original_context_length"), 1, kMaxSize));
    config_["rope_scaling"]["original_max_position_embeddings"] = original;
  }
  return {};
}

// Divisors of the base frequencies, one per channel pair, whatever the length.
Status ConfigWriter::write_rope_factors(const GgufTensor& stored) {
  if (stored.shape.size() != 1 || stored.shape[0] > kMaxRopeFactors ||
      stored.type->type != GgufType::kF32) {
    return invalid_argument("tensor \"rope_freqs.weight\" is not a short vector of F32");
  }
  ASSIGN_OR_RETURN(const char* data, gguf_.data(stored));
  std::vector<float> factors(static_cast<size_t>(stored.shape[0]));
  std::memcpy(factors.data(), data, factors.size() * sizeof(float));
  json list = json::array();
  for (const float factor : factors) {
    if (!std::isfinite(factor) || factor <= 0) {
      return invalid_argument("tensor \"rope_freqs.weight\" holds a factor that is not positive");
    }
    list.push_back(factor);
  }
  config_["rope_scaling"] = {
      {"rope_type", "longrope"},
      {"short_factor", list},
      {"long_factor", list},
      {"attention_factor", 1.0},
      {"original_max_position_embeddings", config_["max_position_embeddings"]}};
  return {};
}

Status ConfigWriter::write_experts() {
  ASSIGN_OR_RETURN(const int64_t experts, gguf_.integer_or(key("expert_count"), 0, kMaxSize, 0));
  if (experts == 0) return {};
  if (architecture_.name == "qwen2" || architecture_.name == "qwen3" ||
      architecture_.name == "gemma") {
    return about("expert_count", "is set, which this architecture does not have");
  }
  ASSIGN_OR_RETURN(const int64_t used, gguf_.integer(key("expert_used_count"), 1, kMaxSize));
  if (architecture_.name == "llama") {
    config_["architectures"] = {"MixtralForCausalLM"};
    config_["sliding_window"] = nullptr;
  }
  config_["num_local_experts"] = experts;
  config_["num_experts"] = experts;
  config_["num_experts_per_tok"] = used;
  if (architecture_.name != "qwen3moe") return {};
  TRY(copy_size("expert_feed_forward_length", "moe_intermediate_size"));
  config_["norm_topk_prob"] = true;
  config_["decoder_sparse_step"] = 1;
  config_["mlp_only_layers"] = json::array();
  return {};
}

// Files from before these keys mean Grok-1's own numbers.
Status ConfigWriter::write_grok() {
  struct Scale {
    std::string_view from;
    const char* to;
    double fallback;
  };
  constexpr Scale kScales[] = {
      {"attn_logit_softcapping", "attn_logit_softcapping", 30},
      {"attention.output_scale", "attn_output_multiplier", 0.08838834764831845},
      {"embedding_scale", "embedding_multiplier_scale", 78.38367176906169},
      {"logit_scale", "output_multiplier_scale", 0.5773502691896257},
  };
  for (const Scale& scale : kScales) {
    ASSIGN_OR_RETURN(const double value,
                     gguf_.number_or(key(scale.from), -kMaxNumber, kMaxNumber, scale.fallback));
    config_[scale.to] = value;
  }
  return {};
}

Status ConfigWriter::write_tokens() {
  json ends = json::array();
  for (const char* name : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (!gguf_.has(name)) continue;
    ASSIGN_OR_RETURN(const int64_t id, gguf_.integer(name, 0, kMaxSize));
    if (std::find(ends.begin(), ends.end(), json(id)) == ends.end()) ends.push_back(id);
  }
  if (!ends.empty()) config_["eos_token_id"] = ends;
  if (gguf_.has("tokenizer.ggml.bos_token_id")) {
    ASSIGN_OR_RETURN(const int64_t id, gguf_.integer("tokenizer.ggml.bos_token_id", 0, kMaxSize));
    config_["bos_token_id"] = id;
  }
  return {};
}

}  // namespace

Result<std::string> gguf_config_json(const Gguf& gguf) {
  ASSIGN_OR_RETURN(const std::string name, gguf.string("general.architecture"));
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return ConfigWriter(gguf, architecture).run();
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", architecture.name);
  }
  return unimplemented(fmt::format("GGUF files of architecture '{}' are not read; {} are",
                                   name.substr(0, 40), known));
}

}  // namespace trireme::plan
