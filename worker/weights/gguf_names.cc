#include "worker/weights/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <string_view>

#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

constexpr int64_t kMaxHeads = 1 << 12;
constexpr int64_t kMaxExperts = 1 << 14;

// Which heads the rows of a tensor belong to.
enum class Rows : uint8_t { kPlain, kHeads, kKvHeads };

// One tensor of a layer: its name behind "blk.N.", and behind "model.layers.N.". An "{}" in the
// second is the expert: the stored tensor is a stack of all of them.
struct LayerName {
  std::string_view gguf;
  std::string_view name;
  Rows rows = Rows::kPlain;
};

constexpr LayerName kAttention[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight", Rows::kHeads},
    {"attn_k.weight", "self_attn.k_proj.weight", Rows::kKvHeads},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias", Rows::kHeads},
    {"attn_k.bias", "self_attn.k_proj.bias", Rows::kKvHeads},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.bias", "self_attn.o_proj.bias"},
};
constexpr LayerName kHeadNorms[] = {
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
};
constexpr LayerName kGatedMlp[] = {
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
};
constexpr LayerName kMixtralMoe[] = {
    {"ffn_gate_inp.weight", "block_sparse_moe.gate.weight"},
    {"ffn_gate_exps.weight", "block_sparse_moe.experts.{}.w1.weight"},
    {"ffn_down_exps.weight", "block_sparse_moe.experts.{}.w2.weight"},
    {"ffn_up_exps.weight", "block_sparse_moe.experts.{}.w3.weight"},
};
constexpr LayerName kQwenMoe[] = {
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"ffn_gate_exps.weight", "mlp.experts.{}.gate_proj.weight"},
    {"ffn_down_exps.weight", "mlp.experts.{}.down_proj.weight"},
    {"ffn_up_exps.weight", "mlp.experts.{}.up_proj.weight"},
};
constexpr LayerName kGrok[] = {
    {"attn_norm.weight", "pre_attn_norm.weight"},
    {"attn_output_norm.weight", "post_attn_norm.weight"},
    {"ffn_norm.weight", "pre_moe_norm.weight"},
    {"layer_output_norm.weight", "post_moe_norm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
};

struct Architecture {
  std::string_view name;
  std::span<const LayerName> parts[3];
  bool interleaved_heads = false;  // rows of q and k
  bool norms_have_one_added = false;
};

constexpr Architecture kArchitectures[] = {
    {"llama", {kAttention, kGatedMlp, kMixtralMoe}, /*interleaved_heads=*/true},
    {"qwen2", {kAttention, kGatedMlp}},
    {"qwen3", {kAttention, kHeadNorms, kGatedMlp}},
    {"qwen3moe", {kAttention, kHeadNorms, kQwenMoe}},
    {"gemma", {kAttention, kGatedMlp}, false, /*norms_have_one_added=*/true},
    {"grok", {kGrok, kMixtralMoe}},
};

// "blk.12.attn_q.weight" -> 12 and "attn_q.weight".
std::optional<std::pair<int64_t, std::string_view>> split_layer(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = static_cast<size_t>(end - name.data());
  if (error != std::errc() || layer < 0 || digits >= name.size() || name[digits] != '.' ||
      (digits > 1 && name[0] == '0')) {
    return std::nullopt;
  }
  return std::pair(layer, name.substr(digits + 1));
}

class Namer {
 public:
  Namer(const Gguf& gguf, const Architecture& architecture)
      : gguf_(gguf), architecture_(architecture) {}

  Result<std::vector<GgufWeight>> run() {
    const std::string prefix(architecture_.name);
    ASSIGN_OR_RETURN(n_heads_, gguf_.integer(prefix + ".attention.head_count", 1, kMaxHeads));
    ASSIGN_OR_RETURN(n_kv_heads_,
                     gguf_.integer_or(prefix + ".attention.head_count_kv", 1, kMaxHeads, n_heads_));
    for (const GgufTensor& tensor : gguf_.tensors()) TRY(add(tensor));
    return std::move(weights_);
  }

 private:
  Status add(const GgufTensor& tensor) {
    if (tensor.name == "token_embd.weight") return add_as(tensor, "model.embed_tokens.weight");
    if (tensor.name == "output_norm.weight") return add_as(tensor, "model.norm.weight");
    if (tensor.name == "output.weight") return add_as(tensor, "lm_head.weight");
    // Part of the configuration: parallel/plan/gguf_config.h reads it.
    if (tensor.name == "rope_freqs.weight") return {};
    if (const auto layer = split_layer(tensor.name); layer.has_value()) {
      for (const std::span<const LayerName> part : architecture_.parts) {
        for (const LayerName& entry : part) {
          if (entry.gguf != layer->second) continue;
          return add_layer(tensor, entry, fmt::format("model.layers.{}.", layer->first));
        }
      }
    }
    return invalid_argument(fmt::format("tensor {} has no place in a GGUF of architecture {}",
                                        in_quotes(tensor.name), architecture_.name));
  }

  Status add_layer(const GgufTensor& tensor, const LayerName& entry, const std::string& prefix) {
    const size_t expert_at = entry.name.find("{}");
    if (expert_at == std::string_view::npos) {
      return add_as(tensor, prefix + std::string(entry.name), entry.rows);
    }
    if (tensor.shape.size() != 3 || tensor.shape[0] > kMaxExperts) {
      return invalid_argument(fmt::format("tensor {} is no stack of at most {} expert matrices",
                                          in_quotes(tensor.name), kMaxExperts));
    }
    for (int64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      weights_.push_back({.name = fmt::format("{}{}{}{}", prefix, entry.name.substr(0, expert_at),
                                              expert, entry.name.substr(expert_at + 2)),
                          .shape = {tensor.shape[1], tensor.shape[2]},
                          .stored = &tensor,
                          .first_row = expert * tensor.shape[1]});
    }
    return {};
  }

  Status add_as(const GgufTensor& tensor, std::string name, Rows rows = Rows::kPlain) {
    if (tensor.shape.size() > 2) {
      return invalid_argument(
          fmt::format("tensor {} has {} dimensions", in_quotes(tensor.name), tensor.shape.size()));
    }
    GgufWeight weight{.name = std::move(name), .shape = tensor.shape, .stored = &tensor};
    if (architecture_.norms_have_one_added && weight.name.ends_with("norm.weight")) {
      weight.change = GgufChange::kOneAdded;
    }
    if (architecture_.interleaved_heads && rows != Rows::kPlain) {
      weight.change = GgufChange::kHeadRowsInterleaved;
      weight.n_heads = rows == Rows::kHeads ? n_heads_ : n_kv_heads_;
      if (tensor.shape[0] % (2 * weight.n_heads) != 0) {
        return invalid_argument(
            fmt::format("tensor {} has {} rows, which are no {} heads of an even size",
                        in_quotes(tensor.name), tensor.shape[0], weight.n_heads));
      }
    }
    weights_.push_back(std::move(weight));
    return {};
  }

  const Gguf& gguf_;
  const Architecture& architecture_;
  int64_t n_heads_ = 1;
  int64_t n_kv_heads_ = 1;
  std::vector<GgufWeight> weights_;
};

}  // namespace

Result<std::vector<GgufWeight>> name_gguf_weights(const Gguf& gguf) {
  ASSIGN_OR_RETURN(const std::string name, gguf.string("general.architecture"));
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return Namer(gguf, architecture).run();
  }
  return unimplemented(
      fmt::format("GGUF files of architecture '{}' are not read", name.substr(0, 40)));
}

}  // namespace trireme::worker
