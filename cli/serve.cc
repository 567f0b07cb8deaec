// `trireme serve`: the whole cluster on this machine, from a model folder or a YAML file.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/cluster_config.h"
#include "base/log.h"
#include "cli/cluster/cluster_launch.h"
#include "cli/cluster/host_address.h"
#include "cli/cluster/load_progress.h"
#include "cli/cluster/supervisor.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "parallel/launch/run_dir.h"
#include "worker/checkpoint_check.h"

namespace trireme::cli {
namespace {

struct ServeFlags {
  std::string source;
  int tp = 0, pp = 0, replicas = 0, routers = 0;
  std::string host;
  int port = -1;
  int admin_port = -1;
  int wire_port = -1;
  int metrics_port = -1;
  std::string backend, compute_dtype, kv_cache_dtype, quantized_weights;
  std::string served_model_name, collective, experts;
  bool random_weights = false;
  std::string state_dir;
};

void add_options(CLI::App& app, ServeFlags& flags) {
  app.add_option("MODEL_DIR|CONFIG.yaml", flags.source,
                 "a checkpoint folder, a GGUF file, or a cluster file")
      ->required();
  app.add_option("--tp", flags.tp, "tensor parallel ranks per stage")->check(CLI::Range(1, 1024));
  app.add_option("--pp", flags.pp, "pipeline stages")->check(CLI::Range(1, 1024));
  app.add_option("--experts", flags.experts, "whole experts per rank, or a slice of each")
      ->check(CLI::IsMember({"expert", "tensor"}));
  app.add_option("--replicas", flags.replicas, "replicas of the model")->check(CLI::Range(1, 1024));
  app.add_option("--routers", flags.routers, "routers side by side")->check(CLI::Range(1, 64));
  app.add_option("--host", flags.host, "address that the API listens on");
  app.add_option("--port", flags.port, "API port; 0: any free one")->check(CLI::Range(0, 65535));
  app.add_option("--admin-port", flags.admin_port, "metrics port; 0: any free one")
      ->check(CLI::Range(0, 65535));
  app.add_option("--replica-metrics-port", flags.metrics_port, "replicas' metrics; 0: any free one")
      ->check(CLI::Range(0, 65535));
  app.add_option("--wire-port", flags.wire_port, "port that replicas dial; 0: any free one")
      ->check(CLI::Range(0, 65535));
  app.add_option("--backend", flags.backend)->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--compute-dtype", flags.compute_dtype)
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
  app.add_option("--kv-cache-dtype", flags.kv_cache_dtype,
                 "cached keys and values: the compute dtype, or a byte each")
      ->check(CLI::IsMember({"auto", "fp8_e4m3"}));
  app.add_option("--quantized-weights", flags.quantized_weights,
                 "weights that are stored quantised: expand them, or keep FP8, int8, int4 and "
                 "MXFP4 low-bit")
      ->check(CLI::IsMember({"expand", "keep"}));
  app.add_option("--served-model-name", flags.served_model_name, "the API's model name");
  app.add_option("--collective", flags.collective)->check(CLI::IsMember({"inproc", "mpi", "nccl"}));
  app.add_flag("--random-weights", flags.random_weights, "make weights up: config.json is enough");
  app.add_option("--state-dir", flags.state_dir, "keys and run files");
  app.footer("Example: trireme serve configs/models/trireme-demo --tp 2 --pp 2 --replicas 2");
}

Result<ClusterConfig> build_config(const ServeFlags& flags) {
  ClusterConfig config;
  const std::string extension = std::filesystem::path(flags.source).extension().string();
  if (extension == ".yaml" || extension == ".yml") {
    ASSIGN_OR_RETURN(config, load_cluster_config(flags.source));
  } else {
    config.model.path = flags.source;
  }
  if (flags.tp > 0) config.replicas.tp = flags.tp;
  if (flags.pp > 0) config.replicas.pp = flags.pp;
  if (!flags.experts.empty()) config.replicas.experts = flags.experts;
  if (flags.replicas > 0) config.replicas.count = flags.replicas;
  if (flags.routers > 0) config.router.count = flags.routers;
  if (!flags.host.empty()) config.router.host = flags.host;
  if (flags.port >= 0) config.router.port = flags.port;
  if (flags.admin_port >= 0) config.router.admin_port = flags.admin_port;
  if (flags.wire_port >= 0) config.router.wire_port = flags.wire_port;
  if (flags.metrics_port >= 0) config.replicas.metrics_port = flags.metrics_port;
  if (!flags.backend.empty()) config.replicas.backend = flags.backend;
  if (!flags.compute_dtype.empty()) config.model.compute_dtype = flags.compute_dtype;
  if (!flags.kv_cache_dtype.empty()) config.model.kv_cache_dtype = flags.kv_cache_dtype;
  if (!flags.quantized_weights.empty()) config.model.quantized_weights = flags.quantized_weights;
  if (!flags.served_model_name.empty()) config.model.served_name = flags.served_model_name;
  if (!flags.collective.empty()) config.replicas.collective = flags.collective;
  if (flags.random_weights) config.model.random_weights = true;
  if (!flags.state_dir.empty()) config.state_dir = flags.state_dir;
  TRY(check_cluster_config(config));
  return config;
}

// "http://127.0.0.1:[9000-9001]/metrics (2 x router)": all ports, as curl takes them.
std::string metrics_urls(const std::string& host, int port, int count, const char* of) {
  if (count == 1) return fmt::format("http://{}:{}/metrics ({})", host, port, of);
  return fmt::format("http://{}:[{}-{}]/metrics ({} x {})", host, port, port + count - 1, count,
                     of);
}

// Wrong weights are said once, here, and not by every rank of every replica. The hosts of a larger
// cluster may hold files that this machine does not.
Status check_weights(const LaunchPlan& launch) {
  if (launch.config.model.random_weights || !launch.hosts.empty()) return {};
  const auto checked = worker::check_checkpoint(launch.config.model.path, launch.spec);
  return checked.ok() ? Status() : checked.error();
}

void print_banner(const LaunchPlan& launch) {
  const ClusterConfig& config = launch.config;
  std::string apis;
  for (int i = 0; i < config.router.count; ++i) {
    apis += fmt::format("{}http{}://{}:{}/v1", i == 0 ? "" : "  ",
                        config.router.tls_certificate.empty() ? "" : "s",
                        url_host(config.router.host), config.router.port + i);
  }
  fmt::print(stderr, "  API      {}\n", apis);
  const std::string admin_host = url_host(reachable_host(config.router.host));
  fmt::print(stderr, "  metrics  {}  {}\n",
             metrics_urls(admin_host, config.router.admin_port, config.router.count, "router"),
             metrics_urls("127.0.0.1", config.replicas.metrics_port, config.replicas.count,
                          launch.hosts.empty() ? "replica" : "replica, on its first host"));
  fmt::print(stderr, "  model    {}  ({:.1f} M parameters, context {})\n", config.model.served_name,
             static_cast<double>(launch.spec.n_parameters()) / 1e6, launch.spec.context);
  const std::string kv = config.model.kv_cache_dtype == "auto"
                             ? std::string()
                             : fmt::format(" (KV cache in {})", config.model.kv_cache_dtype);
  fmt::print(stderr, "  plan     {} replica{} of {}, {}{} on {}, {} thread{} per rank\n",
             config.replicas.count, config.replicas.count == 1 ? "" : "s",
             launch.parallel.to_string(), config.model.compute_dtype, kv, config.replicas.backend,
             config.replicas.threads_per_rank, config.replicas.threads_per_rank == 1 ? "" : "s");
  for (size_t i = 0; i < launch.hosts.size(); ++i) {
    fmt::print(stderr, "  {}    replica {}: {}\n", i == 0 ? "hosts" : "     ", i,
               launch::describe_hosts(launch.hosts[i]));
  }
  fmt::print(
      stderr,
      "  price    $ {:.4f} per million input tokens, $ {:.4f} cached, $ {:.4f} output; a rank "
      "costs $ {:.4f} an hour\n",
      config.price.list_usd_per_million_input, config.price.list_usd_per_million_cached_input,
      config.price.list_usd_per_million_output, config.price.usd_per_device_hour);
}

}  // namespace

int run_serve(int argc, char** argv) {
  ServeFlags flags;
  CLI::App app{"Serves a model: router, coordinators and ranks on this machine.", "trireme serve"};
  add_options(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const auto fail = [](const Error& error) {
    fmt::print(stderr, "error: {}\n", error.message);
    return 1;
  };
  auto config = build_config(flags);
  if (!config.ok()) return fail(config.error());
  log::init({.level = log::level_of(config->log.level),
             .format = config->log.format == "json" ? log::Format::kJson : log::Format::kText,
             .component = "serve"});
  auto launch = prepare_launch(std::move(*config));
  if (!launch.ok()) return fail(launch.error());
  if (const Status checked = check_weights(*launch); !checked.ok()) return fail(checked.error());
  auto run_dir = launch::RunDir::create(launch->config.state_dir);
  if (!run_dir.ok()) return fail(run_dir.error());
  launch->config.state_dir = (*run_dir)->state_dir();
  const std::string config_path = (*run_dir)->path() + "/cluster.yaml";
  if (!(std::ofstream(config_path) << to_yaml(launch->config)).flush()) {
    return fail(internal_error("cannot write " + config_path));
  }

  print_banner(*launch);
  SystemClock clock;
  LoadProgress progress(launch->config.replicas.count);
  SupervisorOptions options;
  options.processes = process_specs(*launch, binary_dir(), config_path);
  options.on_line = [&](const std::string& process, const std::string& line) {
    progress.on_line(process, line);
  };
  options.probe = [&] { return routers_ready(launch->config); };
  options.on_ready = [&] {
    progress.finish();
    fmt::print("ready http{}://{}:{}\n", launch->config.router.tls_certificate.empty() ? "" : "s",
               url_host(launch->config.router.host), launch->config.router.port);
    std::fflush(stdout);
  };
  options.drain_ns = launch->config.router.drain_ns;
  Supervisor supervisor(std::move(options), clock);
  return supervisor.run();
}

}  // namespace trireme::cli
