// `trireme plan`: what a model will need, do and cost on given machines, before anything is
// started.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/kv_text.h"
#include "cli/usage_error.h"
#include "parallel/plan/cost_model.h"
#include "parallel/plan/format.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/plan/model_size.h"
#include "parallel/plan/model_spec.h"

namespace trireme::cli {
namespace {

using plan::format_bytes;
using plan::format_grouped;
using plan::ModelSpec;
using plan::PlanEstimate;
using plan::Topology;
using plan::Workload;

struct Options {
  std::string model;
  int n_nodes = 1;
  int gpus_per_node = 1;
  std::string gpu = "h200";
  double memory_gb = 0;  // 0: the device kind's
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  std::string quantized_weights = "expand";
  int context = 0;  // 0: the model's, at most 8192
  int prompt = 1024;
  double price = -1;  // < 0: unknown
  int max_plans = 10;
  bool json = false;
};

void add_options(CLI::App& app, Options& options) {
  constexpr int kMaxTokens = 1 << 28;
  app.footer(
      "Example: trireme plan ./Llama-3.1-405B --nodes 2 --gpus-per-node 8 --gpu h200 --price 3.5");
  app.add_option("model", options.model, "a model folder or its config.json")->required();
  app.add_option("--nodes", options.n_nodes, "machines")->check(CLI::Range(1, 4096));
  app.add_option("--gpus-per-node", options.gpus_per_node, "devices in each")
      ->check(CLI::Range(1, 64));
  app.add_option("--gpu", options.gpu, "device kind: a100 h100 h200 b200 l4 l40s rtx4090 cpu");
  app.add_option("--memory-gb", options.memory_gb,
                 "memory of a device, where it is not the kind's usual")
      ->check(CLI::Range(0.001, 1e6));
  app.add_option("--dtype", options.dtype,
                 "weights in memory: auto (the config's) bfloat16 float16 float32")
      ->check(CLI::IsMember({"auto", "bfloat16", "float16", "float32"}));
  app.add_option("--kv-cache-dtype", options.kv_cache_dtype,
                 "cached keys and values: auto (as computed) fp8_e4m3 (a byte each)")
      ->check(CLI::IsMember({"auto", "fp8_e4m3"}));
  app.add_option("--quantized-weights", options.quantized_weights,
                 "weights that are stored quantised: expand, or keep those with kernels low-bit")
      ->check(CLI::IsMember({"expand", "keep"}));
  app.add_option("--context", options.context,
                 "tokens that a running sequence holds (default: the model's, at most 8192)")
      ->check(CLI::Range(1, kMaxTokens));
  app.add_option("--prompt", options.prompt, "prompt tokens for the time to first token")
      ->check(CLI::Range(1, kMaxTokens));
  app.add_option("--price", options.price,
                 "USD per device and hour, for the cost of a million tokens")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--max-plans", options.max_plans, "plans to print, the best first")
      ->check(CLI::Range(1, 1000));
  app.add_flag("--json", options.json, "one JSON object");
}

DType weight_dtype(const Options& options, const ModelSpec& spec) {
  if (options.dtype == "bfloat16") return DType::kBF16;
  if (options.dtype == "float16") return DType::kF16;
  if (options.dtype == "float32") return DType::kF32;
  return spec.weight_dtype;
}

Json stage_layers(const plan::ParallelPlan& p) {
  Json layers = Json::array();
  for (int stage = 0; stage < p.pp; ++stage) {
    layers.push_back(p.ranks[static_cast<size_t>(stage * p.tp)].layers.size());
  }
  return layers;
}

bool sliced(const PlanEstimate& e) { return e.plan.experts == plan::ExpertCut::kTensor; }

Json plan_json(const PlanEstimate& e, bool has_experts) {
  Json j;
  j["tp"] = e.plan.tp;
  j["pp"] = e.plan.pp;
  j["stage_layers"] = stage_layers(e.plan);
  j["experts"] = has_experts ? Json(sliced(e) ? "tensor" : "expert") : Json(nullptr);
  j["replicas"] = e.n_replicas;
  j["weight_bytes_per_rank"] = e.largest_rank.weight_bytes;
  j["activation_bytes_per_rank"] = e.largest_rank.activation_bytes;
  j["kv_bytes_per_block_per_rank"] = e.largest_rank.kv_bytes_per_block;
  j["kv_block_tables_per_sequence"] = e.kv_layout.groups.size();
  j["kv_padding"] = e.kv_layout.padding();
  j["kv_tokens_per_replica"] = e.kv_tokens;
  j["sequences_per_replica"] = e.n_sequences;
  j["time_to_first_token_s"] = e.time_to_first_token_s;
  j["tokens_per_s_one_stream"] = 1 / e.one_stream_token_s;
  j["tokens_per_s_per_stream_at_full_batch"] = 1 / e.full_batch_token_s;
  j["tokens_per_s"] = e.tokens_per_s;
  j["decode_bubble"] = e.decode_bubble;
  j["prefill_bubble"] = e.prefill_bubble;
  j["usd_per_million_tokens"] =
      e.usd_per_million_tokens ? Json(*e.usd_per_million_tokens) : Json(nullptr);
  return j;
}

void print_json(const ModelSpec& spec, const Topology& topology, const Workload& workload,
                const std::vector<PlanEstimate>& plans) {
  Json j;
  j["model"] = {{"architecture", spec.architecture},
                {"parameters", spec.n_parameters()},
                {"weight_bytes",
                 plan::held_weight_bytes(spec, {workload.weight_dtype, workload.keep_low_bit})},
                {"weight_dtype", to_string(workload.weight_dtype)},
                {"kv_dtype", to_string(workload.kv_dtype)},
                {"kv_bytes_per_token", spec.kv_bytes_per_token(workload.kv_dtype)},
                {"kv_kinds", kv_kinds_json(spec, workload.kv_dtype)}};
  j["topology"] = {{"nodes", topology.n_nodes},
                   {"gpus_per_node", topology.devices_per_node},
                   {"gpu", topology.device.name},
                   {"memory_bytes", topology.device.memory_bytes}};
  j["workload"] = {
      {"context_tokens", workload.context_tokens},
      {"prompt_tokens", workload.prompt_tokens},
      {"kv_bytes_of_sequence",
       plan::kv_sequence_bytes(spec, workload.kv_dtype, workload.context_tokens)},
      {"usd_per_gpu_hour",
       workload.usd_per_device_hour ? Json(*workload.usd_per_device_hour) : Json(nullptr)}};
  j["plans"] = Json::array();
  for (const PlanEstimate& estimate : plans) {
    j["plans"].push_back(plan_json(estimate, spec.moe.has_value()));
  }
  fmt::print("{}\n", j.dump(2));
}

void print_table(const ModelSpec& spec, const Topology& topology, const Workload& workload,
                 const std::vector<PlanEstimate>& plans) {
  fmt::print(
      "{}: {} parameters, {} in {}, {} KV bytes per token in {}\n", spec.architecture,
      format_grouped(spec.n_parameters()),
      format_bytes(plan::held_weight_bytes(spec, {workload.weight_dtype, workload.keep_low_bit})),
      to_string(workload.weight_dtype), format_grouped(spec.kv_bytes_per_token(workload.kv_dtype)),
      to_string(workload.kv_dtype));
  for (const std::string& line : describe_kv_kinds(spec, workload.kv_dtype)) {
    fmt::print("  {}\n", line);
  }
  fmt::print(
      "on {} x {} {}; {} tokens per sequence ({} of KV cache), prompts of {}\n\n", topology.n_nodes,
      topology.devices_per_node, topology.device.description,
      format_grouped(workload.context_tokens),
      format_bytes(plan::kv_sequence_bytes(spec, workload.kv_dtype, workload.context_tokens)),
      format_grouped(workload.prompt_tokens));
  // A column of its own where there are experts to cut.
  const auto experts = [&](std::string_view text) {
    return spec.moe ? fmt::format("{:<8} ", text) : std::string();
  };
  fmt::print("{:<5} {:<12} {}{:>8} {:>9} {:>11} {:>12} {:>7} {:>9} {:>12} {:>11} {:>7} {:>9}\n", "",
             "tp x pp", experts("experts"), "replicas", "weights", "activations", "KV tokens",
             "streams", "TTFT ms", "tok/s alone", "tokens/s", "bubble", "$/M tok");
  bool first = true;
  for (const PlanEstimate& e : plans) {
    fmt::print(
        "{:<5} {:<12} {}{:>8} {:>9} {:>11} {:>12} {:>7} {:>9.1f} {:>12.1f} {:>11.0f} {:>6.1f}% "
        "{:>9}\n",
        first ? "best" : "", fmt::format("{} x {}", e.plan.tp, e.plan.pp),
        experts(sliced(e) ? "sliced" : "whole"), e.n_replicas,
        format_bytes(e.largest_rank.weight_bytes), format_bytes(e.largest_rank.activation_bytes),
        format_grouped(e.kv_tokens), e.n_sequences, e.time_to_first_token_s * 1e3,
        1 / e.one_stream_token_s, e.tokens_per_s, e.decode_bubble * 100,
        e.usd_per_million_tokens ? fmt::format("{:.3f}", *e.usd_per_million_tokens) : "-");
    first = false;
  }
  fmt::print(
      "\nbest: {}, {} replica{}. A roofline's estimate, not a measurement: weights and activations "
      "are per rank,\n"
      "KV tokens and streams per replica, tokens/s of all replicas with every stream running.\n",
      plans.front().plan.to_string(), plans.front().n_replicas,
      plans.front().n_replicas == 1 ? "" : "s");
  if (sliced(plans.front())) {
    fmt::print("Sliced experts are `replicas.experts: tensor`, or `serve --experts tensor`.\n");
  }
  if (!workload.usd_per_device_hour)
    fmt::print("Give --price USD_PER_GPU_HOUR for the cost of a million tokens.\n");
}

int fail(int code, const Error& error) {
  fmt::print(stderr, "error: {}\n", error.message);
  return code;
}

int run(const Options& options) {
  const Result<plan::DeviceKind> device = plan::find_device_kind(options.gpu);
  if (!device.ok()) return fail(2, device.error());
  const Result<ModelSpec> spec = plan::load_model_spec(options.model);
  if (!spec.ok()) return fail(1, spec.error());
  Topology topology;
  topology.n_nodes = options.n_nodes;
  topology.devices_per_node = options.gpus_per_node;
  topology.device = *device;
  if (options.memory_gb > 0) {
    topology.device.memory_bytes = static_cast<int64_t>(options.memory_gb * 1e9);
  }
  constexpr int kUsualContext = 8192;
  Workload workload;
  workload.context_tokens =
      options.context > 0 ? options.context : std::min(spec->context, kUsualContext);
  workload.prompt_tokens = std::min(options.prompt, workload.context_tokens);
  workload.weight_dtype = weight_dtype(options, *spec);
  workload.keep_low_bit = options.quantized_weights == "keep";
  workload.kv_dtype = plan::kv_dtype_of(
      {.compute_dtype = workload.weight_dtype == DType::kF32 ? "float32" : "bfloat16",
       .kv_cache_dtype = options.kv_cache_dtype});
  if (options.price >= 0) workload.usd_per_device_hour = options.price;
  if (workload.context_tokens > spec->context) {
    return fail(2, invalid_argument(fmt::format("--context {} is more than the model's {} tokens.",
                                                workload.context_tokens, spec->context)));
  }
  Result<std::vector<PlanEstimate>> plans = plan::rank_plans(*spec, topology, workload);
  if (!plans.ok()) {
    return fail(1, {plans.error().code, fmt::format("the model does not fit {} x {} {}: {}",
                                                    topology.n_nodes, topology.devices_per_node,
                                                    topology.device.name, plans.error().message)});
  }
  if (plans->size() > static_cast<size_t>(options.max_plans)) {
    plans->erase(plans->begin() + options.max_plans, plans->end());
  }
  if (options.json) {
    print_json(*spec, topology, workload, *plans);
  } else {
    print_table(*spec, topology, workload, *plans);
  }
  return 0;
}

}  // namespace

int run_plan(int argc, char** argv) {
  Options options;
  CLI::App app("Memory, speed and price of a model on given machines, before anything is started.",
               "trireme plan");
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  return run(options);
}

}  // namespace trireme::cli
