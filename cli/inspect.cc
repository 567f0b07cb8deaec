// `trireme inspect`: what a model's config.json says, whether the files beside it fit it, and the
// fewest devices that can serve it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/kv_text.h"
#include "cli/model_folder.h"
#include "cli/usage_error.h"
#include "parallel/plan/cost_model.h"
#include "parallel/plan/format.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/plan/model_spec.h"

namespace trireme::cli {
namespace {

using plan::DeviceKind;
using plan::format_bytes;
using plan::format_grouped;
using plan::ModelSpec;
using plan::ParallelPlan;

constexpr int kUsualContext = 8192;
constexpr int kMaxTp = 8;
constexpr int kMaxDevices = 64;

std::string describe_rope(const plan::RopeSpec& rope) {
  const auto scaled = [&](const char* how) {
    return fmt::format("theta {:g}, {} x {:g} of {} tokens", rope.theta, how, rope.factor,
                       format_grouped(rope.original_context));
  };
  switch (rope.scaling) {
    case plan::RopeScaling::kLinear:
      return fmt::format("theta {:g}, linear x {:g}", rope.theta, rope.factor);
    case plan::RopeScaling::kDynamic:
      return scaled("dynamic");
    case plan::RopeScaling::kLlama3:
      return scaled("llama3");
    case plan::RopeScaling::kYarn:
      return scaled("yarn");
    case plan::RopeScaling::kLongRope:
      return scaled("longrope");
    case plan::RopeScaling::kNone:
      break;
  }
  return fmt::format("theta {:g}", rope.theta);
}

std::string describe_positions(const ModelSpec& spec) {
  std::vector<std::string> ropes;
  for (const plan::RopeSpec& rope : spec.ropes) ropes.push_back(describe_rope(rope));
  return ropes.empty() ? "none" : fmt::format("{}", fmt::join(ropes, "; "));
}

template <typename Predicate>
int64_t count_layers(const ModelSpec& spec, Predicate is) {
  return std::count_if(spec.layers.begin(), spec.layers.end(), is);
}

// "4 layers see 4,096 tokens back, 4 all that came before".
std::string describe_attention(const ModelSpec& spec) {
  std::map<std::pair<plan::AttentionKind, int32_t>, int> kinds;
  for (const plan::LayerSpec& layer : spec.layers) ++kinds[{layer.attention, layer.span}];
  std::vector<std::string> parts;
  for (const auto& [kind, n] : kinds) {
    const std::string span = format_grouped(kind.second);
    switch (kind.first) {
      case plan::AttentionKind::kFull:
        parts.push_back(fmt::format("{} layers see all that came before", n));
        break;
      case plan::AttentionKind::kSliding:
        parts.push_back(fmt::format("{} layers see {} tokens back", n, span));
        break;
      case plan::AttentionKind::kChunked:
        parts.push_back(fmt::format("{} layers see their own chunk of {} tokens", n, span));
        break;
    }
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string describe_heads(const ModelSpec& spec) {
  if (!spec.mla) {
    return fmt::format("{} query, {} key-value, {} channels each", spec.n_heads, spec.n_kv_heads,
                       spec.head_dim);
  }
  return fmt::format("{} query; keys and values from a latent of {} + {} channels", spec.n_heads,
                     spec.mla->kv_rank, spec.mla->rope_dim);
}

std::string describe_experts(const ModelSpec& spec) {
  const plan::MoeSpec& moe = *spec.moe;
  const int64_t n = count_layers(spec, [](const plan::LayerSpec& layer) { return layer.moe; });
  std::string text = fmt::format("{} of width {} in {} layers, {} for each token", moe.n_experts,
                                 format_grouped(moe.width), n, moe.top_k);
  if (moe.shared_width > 0) text += fmt::format("; {} shared", format_grouped(moe.shared_width));
  return text;
}

Json experts_json(const ModelSpec& spec) {
  if (!spec.moe) return Json(nullptr);
  return {{"experts", spec.moe->n_experts},
          {"per_token", spec.moe->top_k},
          {"width", spec.moe->width},
          {"shared_width", spec.moe->shared_width},
          {"layers", count_layers(spec, [](const plan::LayerSpec& layer) { return layer.moe; })}};
}

// The fewest devices of a kind that hold the weights and one sequence.
struct Fit {
  DeviceKind device;
  std::optional<ParallelPlan> plan;
};

std::vector<Fit> find_fits(const ModelSpec& spec, int32_t context, DType kv_dtype) {
  plan::Workload workload;
  workload.context_tokens = context;
  workload.weight_dtype = spec.weight_dtype;
  workload.kv_dtype = kv_dtype;
  std::vector<Fit> fits;
  for (const DeviceKind& device : plan::device_kinds()) {
    plan::Topology topology;
    topology.device = device;
    const plan::MemoryInputs inputs = plan::memory_inputs(topology, workload);
    fits.push_back(
        {device, plan::smallest_plan_that_fits(spec, inputs, context, kMaxTp, kMaxDevices)});
  }
  return fits;
}

void print_text(const ModelSpec& spec, const std::optional<ModelFolder>& folder, int32_t context,
                DType kv_dtype, const std::vector<Fit>& fits) {
  const auto row = [](std::string_view name, const std::string& value) {
    fmt::print("{:<14} {}\n", name, value);
  };
  const int64_t kv = spec.kv_bytes_per_token(kv_dtype);
  row("architecture", spec.architecture);
  row("parameters", format_grouped(spec.n_parameters()));
  if (spec.moe) row("active", format_grouped(spec.n_active_parameters()) + " per token");
  row("weights",
      fmt::format("{} bytes ({}) in {}", format_grouped(spec.weight_bytes(spec.weight_dtype)),
                  format_bytes(spec.weight_bytes(spec.weight_dtype)),
                  to_string(spec.weight_dtype)));
  row("layers", std::to_string(spec.n_layers()));
  const std::string mlp = spec.intermediate > 0 ? fmt::format(", MLP {}", spec.intermediate) : "";
  row("hidden", fmt::format("{}{}", spec.hidden, mlp));
  row("heads", describe_heads(spec));
  row("attention", describe_attention(spec));
  if (spec.moe) row("experts", describe_experts(spec));
  row("vocabulary", fmt::format("{}{}", format_grouped(spec.vocab),
                                spec.tied_embeddings ? ", head tied to the embedding" : ""));
  row("context", format_grouped(spec.context) + " tokens");
  row("rope", describe_positions(spec));
  row("KV cache", fmt::format("{} bytes per token in {}, {} for {} tokens", format_grouped(kv),
                              to_string(kv_dtype),
                              format_bytes(plan::kv_sequence_bytes(spec, kv_dtype, context)),
                              format_grouped(context)));
  for (const std::string& line : describe_kv_kinds(spec, kv_dtype)) row("", line);
  const std::vector<int32_t>& eos_ids =
      folder && !folder->eos_ids.empty() ? folder->eos_ids : spec.eos_ids;
  row("end of text", eos_ids.empty() ? "not said" : fmt::format("{}", fmt::join(eos_ids, ", ")));
  if (folder) {
    row("tokenizer", folder->tokenizer);
    row("files", folder->weights);
  }
  fmt::print("\nfewest devices for the weights and one sequence of {} tokens (tp at most {}):\n",
             format_grouped(context), kMaxTp);
  for (const Fit& fit : fits) {
    const std::string need =
        fit.plan ? fmt::format("{:>3} as {}", fit.plan->tp * fit.plan->pp, fit.plan->to_string())
                 : fmt::format("more than {}", kMaxDevices);
    fmt::print("  {:<8} {}\n", fit.device.name, need);
  }
}

void print_json(const ModelSpec& spec, const std::optional<ModelFolder>& folder, int32_t context,
                DType kv_dtype, const std::vector<Fit>& fits) {
  Json j;
  j["architecture"] = spec.architecture;
  j["family"] = spec.family;
  j["parameters"] = spec.n_parameters();
  j["active_parameters"] = spec.n_active_parameters();
  j["weight_dtype"] = to_string(spec.weight_dtype);
  j["weight_bytes"] = spec.weight_bytes(spec.weight_dtype);
  j["layers"] = spec.n_layers();
  j["hidden"] = spec.hidden;
  j["intermediate"] = spec.intermediate;
  j["heads"] = spec.n_heads;
  j["kv_heads"] = spec.n_kv_heads;
  j["head_dim"] = spec.head_dim;
  j["attention"] = describe_attention(spec);
  j["moe"] = experts_json(spec);
  j["vocabulary"] = spec.vocab;
  j["context_tokens"] = spec.context;
  j["rope"] = describe_positions(spec);
  j["tied_embeddings"] = spec.tied_embeddings;
  j["kv_dtype"] = to_string(kv_dtype);
  j["kv_bytes_per_token"] = spec.kv_bytes_per_token(kv_dtype);
  j["kv_kinds"] = kv_kinds_json(spec, kv_dtype);
  j["kv_bytes_of_sequence"] = {{"tokens", context},
                               {"bytes", plan::kv_sequence_bytes(spec, kv_dtype, context)}};
  j["eos_token_ids"] = spec.eos_ids;
  j["bos_token_id"] = spec.bos_id ? Json(*spec.bos_id) : Json(nullptr);
  j["folder"] = folder ? folder_json(*folder) : Json(nullptr);
  j["fewest_devices"] = Json::object();
  for (const Fit& fit : fits) {
    Json need(nullptr);
    if (fit.plan) {
      need = {{"devices", fit.plan->tp * fit.plan->pp}, {"tp", fit.plan->tp}, {"pp", fit.plan->pp}};
      if (spec.moe) {
        need["experts"] = fit.plan->experts == plan::ExpertCut::kTensor ? "tensor" : "expert";
      }
    }
    j["fewest_devices"][std::string(fit.device.name)] = need;
  }
  j["fewest_devices_context_tokens"] = context;
  fmt::print("{}\n", j.dump(2));
}

}  // namespace

int run_inspect(int argc, char** argv) {
  std::string model;
  std::string kv_cache_dtype = "auto";
  bool json = false;
  CLI::App app("What a model folder holds and what it takes to serve it.", "trireme inspect");
  app.footer("Example: trireme inspect configs/models/trireme-demo");
  app.add_option("model", model, "a model folder or its config.json")->required();
  app.add_option("--kv-cache-dtype", kv_cache_dtype,
                 "cached keys and values: auto (bf16) fp8_e4m3 (a byte each)")
      ->check(CLI::IsMember({"auto", "fp8_e4m3"}));
  app.add_flag("--json", json, "one JSON object");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const Result<ModelSpec> spec = plan::load_model_spec(model);
  if (!spec.ok()) {
    fmt::print(stderr, "error: {}\n", spec.error().message);
    return 1;
  }
  const int32_t context = std::min(spec->context, kUsualContext);
  const DType kv_dtype = plan::kv_dtype_of({.kv_cache_dtype = kv_cache_dtype});
  const std::vector<Fit> fits = find_fits(*spec, context, kv_dtype);
  const std::optional<ModelFolder> folder = look_into(model, *spec);
  if (json) {
    print_json(*spec, folder, context, kv_dtype, fits);
  } else {
    print_text(*spec, folder, context, kv_dtype, fits);
  }
  if (folder && folder->wrong) {
    fmt::print(stderr, "error: {}\n", *folder->wrong);
    return 1;
  }
  return 0;
}

}  // namespace trireme::cli
