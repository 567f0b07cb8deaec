// `trireme bench engine`: prefill and decode of one model on this machine, as JSON lines.
#include "worker/bench_engine.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/gguf.h"
#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "parallel/plan/model_spec.h"

namespace trireme::cli {
namespace {

struct Arguments {
  std::string model;
  std::string rank_shard;
  std::string compute_dtype = "auto";
  std::string kv_cache_dtype = "auto";
  std::string backend = "cpu";
  worker::EngineBenchOptions options;
};

void declare(CLI::App& app, Arguments& arguments) {
  worker::EngineBenchOptions& options = arguments.options;
  app.add_option("model", arguments.model, "model folder, or a config.json with --random-weights")
      ->required();
  app.add_flag("--random-weights", options.random_weights, "invent the weights");
  app.add_flag("--keep-low-bit", options.keep_low_bit,
               "FP8, int8, int4 and MXFP4 weights of the config's quantization stay low-bit");
  app.add_option("--prompt-tokens", options.prompt_tokens, "tokens of the prefill")
      ->capture_default_str();
  app.add_option("--context-tokens", options.context_tokens, "tokens of each stream before decode")
      ->capture_default_str();
  app.add_option("--output-tokens", options.output_tokens, "decode steps per batch size")
      ->capture_default_str();
  app.add_option("--batch", options.batches, "streams in decode, e.g. 1,32")->delimiter(',');
  app.add_option("--tp", options.tp, "tensor-parallel ranks, as threads")->capture_default_str();
  app.add_option("--pp", options.pp, "pipeline stages, as threads")->capture_default_str();
  app.add_option("--rank-shard", arguments.rank_shard,
                 "tp=N,rank=R: one rank of N alone, collectives stubbed");
  app.add_option("--backend", arguments.backend, "cpu, or cuda: one rank on the first GPU")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_flag("--batch-invariant", options.batch_invariant,
               "cuda: one order of sums for every batch; beside a run without it, its price");
  app.add_flag("!--no-decode-graphs", options.decode_graphs, "cuda: launch decode steps op by op");
  app.add_option("--threads", options.n_threads, "per rank; 0: the cores divided among the ranks")
      ->capture_default_str();
  app.add_option("--rounds", options.n_rounds, "a figure is the median of so many")
      ->capture_default_str();
  app.add_option("--compute-dtype", arguments.compute_dtype)
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}))
      ->capture_default_str();
  app.add_option("--kv-cache-dtype", arguments.kv_cache_dtype,
                 "cached keys and values: the compute dtype, or a byte each")
      ->check(CLI::IsMember({"auto", "fp8_e4m3"}))
      ->capture_default_str();
  app.footer(
      "Example: trireme bench engine llama-3.2-1b.json --random-weights --threads 1 --batch "
      "1,8,32");
}

Result<worker::RankShard> parse_rank_shard(const std::string& text) {
  worker::RankShard shard;
  int n_read = 0;
  if (std::sscanf(text.c_str(), "tp=%d,rank=%d%n", &shard.tp, &shard.rank, &n_read) != 2 ||
      static_cast<size_t>(n_read) != text.size()) {
    return invalid_argument("--rank-shard is written tp=8,rank=0.");
  }
  return shard;
}

Status resolve(Arguments& arguments) {
  worker::EngineBenchOptions& options = arguments.options;
  ASSIGN_OR_RETURN(options.spec, plan::load_model_spec(arguments.model));
  options.model_dir = arguments.model;
  ASSIGN_OR_RETURN(const auto gguf, find_gguf(arguments.model));
  if (!options.random_weights && !gguf.has_value() &&
      !std::filesystem::is_directory(arguments.model)) {
    return invalid_argument(
        "Weights need a model folder or a GGUF file; with a config.json, say --random-weights.");
  }
  if (!arguments.rank_shard.empty()) {
    ASSIGN_OR_RETURN(options.rank_shard, parse_rank_shard(arguments.rank_shard));
  }
  options.e4m3_kv = arguments.kv_cache_dtype == "fp8_e4m3";
  options.on_cuda = arguments.backend == "cuda";
  options.compute_dtype = arguments.compute_dtype == "float32" ? kernels::ComputeDType::kF32
                                                               : kernels::ComputeDType::kBF16;
  return {};
}

void print_line(const worker::EngineBenchLine& line, const std::string& machine,
                const std::string& commit) {
  Json json;
  json["what"] = "engine " + line.what;
  json["shape"] = line.shape;
  json["figure"] = line.tokens_per_second;
  json["unit"] = "tokens/s";
  json["limit"] = line.limit_tokens_per_second;
  json["limit_by"] = line.bound;
  json["percent_of_limit"] = line.percent_of_limit;
  json["collective_share"] = line.collective_share;
  if (!line.note.empty()) json["note"] = line.note;
  json["machine"] = machine + ", " + line.device;
  json["commit"] = commit;
  std::puts(json.dump().c_str());
  std::fflush(stdout);
}

}  // namespace

int run_bench_engine(int argc, char** argv) {
  CLI::App app("Prefill and decode of one model, beside the limit of this machine.",
               "trireme bench engine");
  Arguments arguments;
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  if (const Status status = resolve(arguments); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.error().message.c_str());
    return 2;
  }
  const std::string machine = machine_description();
  const std::string commit = checkout_commit();
  arguments.options.on_line = [&](const worker::EngineBenchLine& line) {
    print_line(line, machine, commit);
  };
  const auto lines = worker::run_engine_bench(arguments.options);
  if (!lines.ok()) {
    std::fprintf(stderr, "%s\n", lines.error().message.c_str());
    return lines.error().code == ErrorCode::kInvalidArgument ? 2 : 1;
  }
  return 0;
}

}  // namespace trireme::cli
