// `trireme-router CONFIG.yaml [--index I]`: one router of a cluster.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>

#include "base/cluster_config.h"
#include "base/log.h"
#include "parallel/launch/process_guard.h"
#include "parallel/launch/resolve_config.h"
#include "parallel/wire/curve_keys.h"
#include "router/api/served_model.h"
#include "router/router.h"

namespace trireme::router {
namespace {

int fail(const Error& error, int code) {
  std::fprintf(stderr, "error: %s\n", error.message.c_str());
  return code;
}

Result<std::optional<wire::CurveServer>> load_curve(const ClusterConfig& config) {
  std::optional<wire::CurveServer> curve;
  if (!config.router.curve) return curve;
  ASSIGN_OR_RETURN(wire::KeyRing keys, wire::load_or_create_keys(config.state_dir));
  curve = std::move(keys.server);
  return curve;
}

int run(int argc, char** argv) {
  std::string config_path;
  RouterOptions options;
  CLI::App app{"One router: HTTP in, tokens from replicas out.", "trireme-router"};
  app.add_option("CONFIG.yaml", config_path, "the cluster's file")->required();
  app.add_option("--index", options.index, "which router of the cluster this is")
      ->check(CLI::Range(0, 1023));
  app.footer("Example: trireme-router configs/demo.yaml --index 0");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  auto config = load_cluster_config(config_path);
  if (config.ok()) {
    if (const Status resolved = launch::resolve_config(*config); !resolved.ok())
      config = resolved.error();
  }
  if (!config.ok()) return fail(config.error(), launch::kExitBadConfig);
  log::init({.level = log::level_of(config->log.level),
             .format = config->log.format == "json" ? log::Format::kJson : log::Format::kText,
             .component = "router-" + std::to_string(options.index)});
  auto model = load_served_model(config->model);
  if (!model.ok()) return fail(model.error(), launch::kExitBadConfig);
  auto curve = load_curve(*config);
  if (!curve.ok()) return fail(curve.error(), launch::kExitBadConfig);
  options.curve = std::move(*curve);
  SystemClock clock;
  auto router = Router::create(*config, std::move(*model), options, clock);
  if (!router.ok()) {
    // A taken port may be free again soon; anything else stays wrong.
    return fail(router.error(),
                router.error().code == ErrorCode::kAlreadyExists ? 1 : launch::kExitBadConfig);
  }
  log::info("API on {}:{}, admin on port {}, replicas at {}", config->router.host,
            (*router)->port(), (*router)->admin_port(), (*router)->wire_address());
  (*router)->run();
  log::info("ended");
  return 0;
}

}  // namespace
}  // namespace trireme::router

int main(int argc, char** argv) { return trireme::router::run(argc, argv); }
