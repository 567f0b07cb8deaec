#include "base/cluster_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/yaml.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHourNs = 3600 * kSecondNs;
constexpr int64_t kMillion = 1'000'000;
constexpr int32_t kMaxTokens = 4 << 20;  // of one prompt: what one message to a replica may hold

// One function per section names its keys, in the file's order, with their ranges. V is a MapReader
// or a MapWriter.

template <typename V>
void visit(V& v, ModelConfig& c) {
  v.text("path", &c.path);
  v.text("served_name", &c.served_name);
  v.choice("compute_dtype", &c.compute_dtype, {"auto", "bfloat16", "float32"});
  v.choice("kv_cache_dtype", &c.kv_cache_dtype, {"auto", "fp8_e4m3"});
  v.choice("quantized_weights", &c.quantized_weights, {"expand", "keep"});
  v.boolean("random_weights", &c.random_weights);
  v.integer("max_context", &c.max_context, 0, kMaxTokens);
}

template <typename V>
void visit(V& v, ReplicaConfig& c) {
  v.integer("count", &c.count, 1, 1024);
  v.integer("tp", &c.tp, 1, 1024);
  v.integer("pp", &c.pp, 1, 1024);
  v.integers("stage_layers", &c.stage_layers, 1, 10'000, 1024);
  v.choice("experts", &c.experts, {"expert", "tensor"});
  v.choice("backend", &c.backend, {"auto", "cpu", "cuda"});
  v.choice("collective", &c.collective, {"auto", "inproc", "mpi", "nccl"});
  v.choice("all_reduce", &c.all_reduce, {"auto", "nccl", "one_shot"});
  v.integer("threads_per_rank", &c.threads_per_rank, 0, 4096);
  v.integer("metrics_port", &c.metrics_port, 0, 65'535);
  v.number("memory_gib", &c.memory_gib, 0, 1e6);
  v.number("memory_utilisation", &c.memory_utilisation, 0.01, 1);
  v.boolean("batch_invariant", &c.batch_invariant);
  v.boolean("decode_graphs", &c.decode_graphs);
  v.texts("hosts", &c.hosts, 4096);
  v.texts("mpirun_args", &c.mpirun_args, 256);
}

template <typename V>
void visit(V& v, SchedulerConfig& c) {
  v.integer("block_size", &c.block_size, 1, 1024);
  v.integer("max_kv_blocks", &c.max_kv_blocks, 0, INT32_MAX);
  v.integer("max_step_tokens", &c.max_step_tokens, 1, 1 << 20);
  v.integer("max_running", &c.max_running, 1, 1 << 16);
  v.integer("max_waiting", &c.max_waiting, 0, 1 << 20);
  v.boolean("prefix_cache", &c.prefix_cache);
  v.choice("run_ahead", &c.run_ahead, {"auto", "on", "off"});
  v.duration("step_deadline", &c.step_deadline_ns, 10 * kMillisecondNs, 24 * kHourNs);
  v.duration("idle_heartbeat", &c.idle_heartbeat_ns, 10 * kMillisecondNs, 60 * kSecondNs);
  v.duration("rank_dead", &c.rank_dead_ns, 50 * kMillisecondNs, kHourNs);
}

template <typename V>
void visit(V& v, PriceConfig& c) {
  v.number("usd_per_device_hour", &c.usd_per_device_hour, 0, 1e6);
  v.number("list_usd_per_million_input", &c.list_usd_per_million_input, 0, 1e6);
  v.number("list_usd_per_million_cached_input", &c.list_usd_per_million_cached_input, 0, 1e6);
  v.number("list_usd_per_million_output", &c.list_usd_per_million_output, 0, 1e6);
}

template <typename V>
void visit(V& v, LimitConfig& c) {
  v.size("body_bytes", &c.body_bytes, 1 << 10, 1 << 30);
  v.size("header_bytes", &c.header_bytes, 1 << 10, 1 << 20);
  v.integer("header_count", &c.header_count, 1, 10'000);
  v.integer("json_depth", &c.json_depth, 1, 1000);
  v.integer("json_keys", &c.json_keys, 1, 10 * kMillion);
  v.integer("messages", &c.messages, 1, kMillion);
  v.integer("prompt_tokens", &c.prompt_tokens, 0, kMaxTokens);
  v.integer("n", &c.n, 1, 1024);
  v.integer("n_times_max_tokens", &c.n_times_max_tokens, 1, int64_t{1} << 40);
  v.integer("stop_count", &c.stop_count, 0, 1024);
  v.size("stop_bytes", &c.stop_bytes, 1, 65'535);
  v.integer("logit_bias_entries", &c.logit_bias_entries, 0, 1 << 16);
  v.integer("top_logprobs", &c.top_logprobs, 0, 256);
  v.integer("streams_per_key", &c.streams_per_key, 1, kMillion);
  v.size("slow_reader_bytes", &c.slow_reader_bytes, 4 << 10, 1 << 30);
  v.duration("header_timeout", &c.header_timeout_ns, kMillisecondNs, 24 * kHourNs);
  v.duration("body_timeout", &c.body_timeout_ns, kMillisecondNs, 24 * kHourNs);
  v.duration("idle_timeout", &c.idle_timeout_ns, kMillisecondNs, 24 * kHourNs);
  v.duration("request_timeout", &c.request_timeout_ns, kMillisecondNs, 24 * kHourNs);
  v.duration("queue_timeout", &c.queue_timeout_ns, kMillisecondNs, 24 * kHourNs);
  v.integer("queue_requests", &c.queue_requests, 0, kMillion);
  v.integer("queue_tokens", &c.queue_tokens, 0, int64_t{1} << 40);
  v.integer("connections", &c.connections, 1, kMillion);
}

template <typename V>
void visit(V& v, KeyConfig& c) {
  constexpr int64_t kMost = int64_t{1} << 50;
  v.text("name", &c.name);
  v.text("sha256", &c.sha256);
  v.boolean("admin", &c.admin);
  v.integer("rpm", &c.rpm, 0, kMost);
  v.integer("rpd", &c.rpd, 0, kMost);
  v.integer("tpm", &c.tpm, 0, kMost);
  v.integer("tpd", &c.tpd, 0, kMost);
  v.integer("priority", &c.priority, -1000, 1000);
  v.integer("weight", &c.weight, 1, 1000);
  v.texts("models", &c.models, 256);
}

template <typename V>
void visit(V& v, RouterConfig& c) {
  v.integer("count", &c.count, 1, 256);
  v.text("host", &c.host);
  v.integer("port", &c.port, 0, 65'535);
  v.integer("admin_port", &c.admin_port, 0, 65'535);
  v.text("wire_host", &c.wire_host);
  v.integer("wire_port", &c.wire_port, 0, 65'535);
  v.boolean("curve", &c.curve);
  v.text("tls_certificate", &c.tls_certificate);
  v.text("tls_key", &c.tls_key);
  v.texts("allowed_origins", &c.allowed_origins, 256);
  v.duration("heartbeat", &c.heartbeat_ns, 10 * kMillisecondNs, 60 * kSecondNs);
  v.duration("replica_dead", &c.replica_dead_ns, 50 * kMillisecondNs, kHourNs);
  v.duration("drain", &c.drain_ns, 0, 24 * kHourNs);
  v.duration("stream_ping", &c.stream_ping_ns, 0, kHourNs);
  v.number("balance_load_weight", &c.balance_load_weight, 0, 1000);
  v.integer("tokenizer_threads", &c.tokenizer_threads, 1, 256);
  v.boolean("vllm_metric_names", &c.vllm_metric_names);
}

template <typename V>
void visit(V& v, LogConfig& c) {
  v.choice("level", &c.level, {"debug", "info", "warn", "error"});
  v.choice("format", &c.format, {"text", "json"});
}

template <typename V>
void visit(V& v, ClusterConfig& c) {
  v.map("model", [&](V& section) { visit(section, c.model); });
  v.map("replicas", [&](V& section) { visit(section, c.replicas); });
  v.map("scheduler", [&](V& section) { visit(section, c.scheduler); });
  v.map("price", [&](V& section) { visit(section, c.price); });
  v.map("limits", [&](V& section) { visit(section, c.limits); });
  v.maps("keys", &c.keys, 10'000, [](V& item, KeyConfig& key) { visit(item, key); });
  v.map("router", [&](V& section) { visit(section, c.router); });
  v.map("log", [&](V& section) { visit(section, c.log); });
  v.text("state_dir", &c.state_dir);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.");
}

Status check_replicas(const ReplicaConfig& c) {
  const int64_t ranks = int64_t{c.tp} * c.pp;
  if (ranks < 1 || ranks > 16'384) {
    return invalid_argument(fmt::format(
        "`replicas.tp` x `replicas.pp` is {} ranks; a replica has from 1 to 16384", ranks));
  }
  if (!c.stage_layers.empty() && c.stage_layers.size() != static_cast<size_t>(c.pp)) {
    return invalid_argument(
        fmt::format("`replicas.stage_layers` has {} entries, but `replicas.pp` is {}: name every "
                    "stage or none",
                    c.stage_layers.size(), c.pp));
  }
  if (c.collective == "nccl" && c.backend == "cpu") {
    return invalid_argument(
        "`replicas.collective` is nccl, which needs the cuda backend, but `replicas.backend` is "
        "cpu");
  }
  if (c.all_reduce != "auto" && c.backend == "cpu") {
    return invalid_argument(fmt::format(
        "`replicas.all_reduce` is {}, which is about sums of GPUs, but `replicas.backend` is cpu",
        c.all_reduce));
  }
  if (c.all_reduce == "one_shot" && c.tp == 1) {
    return invalid_argument(
        "`replicas.all_reduce` is one_shot, but with `replicas.tp` 1 there is nothing to sum");
  }
  if (c.all_reduce == "one_shot" && c.tp > 8) {
    return invalid_argument(fmt::format(
        "`replicas.all_reduce` is one_shot, which is for up to 8 GPUs of a machine, but "
        "`replicas.tp` is {}",
        c.tp));
  }
  if (c.collective == "inproc" && !c.hosts.empty()) {
    return invalid_argument(
        "`replicas.collective` is inproc, which keeps all ranks in one process, but "
        "`replicas.hosts` names machines");
  }
  for (const std::string& host : c.hosts) {
    if (host.empty() || host.starts_with('-')) {
      return invalid_argument(fmt::format("`replicas.hosts` holds \"{}\", which is no host", host));
    }
  }
  return {};
}

Status check_scheduler(const SchedulerConfig& c) {
  if (c.rank_dead_ns < 2 * c.idle_heartbeat_ns) {
    return invalid_argument(
        "`scheduler.rank_dead` must be at least twice `scheduler.idle_heartbeat`, or one late "
        "heartbeat ends a replica");
  }
  return {};
}

Status check_keys(std::vector<KeyConfig>& keys) {
  std::set<std::string> names;
  std::set<std::string> hashes;
  for (size_t i = 0; i < keys.size(); ++i) {
    KeyConfig& key = keys[i];
    const bool good_name =
        !key.name.empty() && key.name.size() <= 64 &&
        std::all_of(key.name.begin(), key.name.end(), [](unsigned char c) {
          return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '@';
        });
    if (!good_name) {
      return invalid_argument(fmt::format(
          "`keys[{}].name` must be 1 to 64 letters, digits or any of -_.@, because it is a metric "
          "label",
          i));
    }
    const bool good_hash =
        key.sha256.size() == 64 && std::all_of(key.sha256.begin(), key.sha256.end(),
                                               [](unsigned char c) { return std::isxdigit(c); });
    if (!good_hash) {
      return invalid_argument(fmt::format(
          "`keys[{}].sha256` must be 64 hexadecimal digits: the SHA-256 of the key, never the key "
          "itself",
          i));
    }
    for (char& c : key.sha256) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!names.insert(key.name).second) {
      return invalid_argument(fmt::format("`keys` names \"{}\" twice", key.name));
    }
    if (!hashes.insert(key.sha256).second) {
      return invalid_argument(fmt::format("`keys[{}].sha256` is that of an earlier key", i));
    }
  }
  return {};
}

Status check_ports(const RouterConfig& router, const ReplicaConfig& replicas) {
  struct Range {
    const char* name;
    int first;
    int count;
  };
  const Range ranges[] = {{"router.port", router.port, router.count},
                          {"router.admin_port", router.admin_port, router.count},
                          {"router.wire_port", router.wire_port, router.count},
                          {"replicas.metrics_port", replicas.metrics_port, replicas.count}};
  for (const Range& range : ranges) {
    if (range.first + range.count - 1 > 65'535) {
      return invalid_argument(
          fmt::format("`{}` is {}, but {} processes need as many ports and the last is 65535",
                      range.name, range.first, range.count));
    }
  }
  for (size_t i = 0; i < std::size(ranges); ++i) {
    for (size_t j = i + 1; j < std::size(ranges); ++j) {
      const Range& a = ranges[i];
      const Range& b = ranges[j];
      if (a.first == 0 || b.first == 0) continue;  // any free port
      if (a.first < b.first + b.count && b.first < a.first + a.count) {
        return invalid_argument(
            fmt::format("`{}` {} and `{}` {} collide: they take {} and {} ports from there", a.name,
                        a.first, b.name, b.first, a.count, b.count));
      }
    }
  }
  return {};
}

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// scheme://host[:port] exactly as a browser writes it into a request's Origin, with which it is
// compared byte by byte: lower case, no path, no default port.
bool is_origin(std::string_view text) {
  const size_t colon = text.find("://");
  if (colon == 0 || colon == std::string_view::npos || text.size() > 255) return false;
  const std::string_view scheme = text.substr(0, colon);
  std::string_view host = text.substr(colon + 3);
  const auto all = [](std::string_view part, std::string_view others) {
    return std::all_of(part.begin(), part.end(), [&](char c) {
      return is_lower_or_digit(c) || others.find(c) != std::string_view::npos;
    });
  };
  if (!all(scheme, "+-.") || scheme[0] < 'a') return false;
  const size_t bracket = host.find(']');
  const size_t port = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (port != std::string_view::npos) {
    const std::string_view digits = host.substr(port + 1);
    const bool is_port = !digits.empty() && digits.size() <= 5 && digits[0] != '0' &&
                         digits.find_first_not_of("0123456789") == std::string_view::npos &&
                         std::stoi(std::string(digits)) <= 65'535;
    const bool is_default =
        (scheme == "https" && digits == "443") || (scheme == "http" && digits == "80");
    if (!is_port || is_default) return false;
    host = host.substr(0, port);
  }
  if (host.starts_with('[')) {
    return host.size() > 3 && host.ends_with(']') && all(host.substr(1, host.size() - 2), ":.");
  }
  return !host.empty() && all(host, "-._");
}

Status check_origins(const std::vector<std::string>& origins) {
  for (const std::string& origin : origins) {
    if (origin == "*" && origins.size() > 1) {
      return invalid_argument(
          "`router.allowed_origins` holds \"*\", which is every origin, beside others: name it "
          "alone");
    }
    if (origin == "*" || is_origin(origin)) continue;
    return invalid_argument(fmt::format(
        "`router.allowed_origins` holds \"{}\", which no browser sends: an origin is "
        "scheme://host or scheme://host:port in lower case, without a path and without the "
        "scheme's own port, or \"*\" for every page",
        origin));
  }
  return {};
}

Status check_router(const RouterConfig& c, bool has_keys) {
  TRY(check_origins(c.allowed_origins));
  if (c.host.empty() || c.wire_host.empty()) {
    return invalid_argument("`router.host` and `router.wire_host` must name an address");
  }
  if (c.tls_certificate.empty() != c.tls_key.empty()) {
    return invalid_argument(
        "`router.tls_certificate` and `router.tls_key` must be given both or not at all");
  }
  if (c.replica_dead_ns < 2 * c.heartbeat_ns) {
    return invalid_argument(
        "`router.replica_dead` must be at least twice `router.heartbeat`, or one late heartbeat "
        "takes a replica out of rotation");
  }
  if (!is_loopback(c.host) && !has_keys) {
    return invalid_argument(
        fmt::format("`router.host` is {}, which others can reach, but there are no `keys`: list "
                    "keys or listen on 127.0.0.1",
                    c.host));
  }
  if (!is_loopback(c.wire_host) && !c.curve) {
    return invalid_argument(
        fmt::format("`router.wire_host` is {}, which others can reach, but `router.curve` is "
                    "false: anybody could pose as a replica",
                    c.wire_host));
  }
  return {};
}

Status check_together(ClusterConfig& c) {
  if (c.model.path.empty()) {
    return invalid_argument("`model.path` is missing: the folder of the checkpoint to serve");
  }
  TRY(check_replicas(c.replicas));
  TRY(check_scheduler(c.scheduler));
  TRY(check_ports(c.router, c.replicas));
  TRY(check_keys(c.keys));
  return check_router(c.router, !c.keys.empty());
}

void resolve(std::string& path, const std::string& base_dir) {
  if (path.empty() || base_dir.empty() || fs::path(path).is_absolute()) return;
  path = (fs::path(base_dir) / path).lexically_normal().string();
}

Result<ClusterConfig> parse(const std::string& text, const std::string& base_dir, bool with_lines) {
  ASSIGN_OR_RETURN(const yaml::Node root, yaml::parse(text));
  ClusterConfig config;
  yaml::MapReader reader(root, "", with_lines);
  visit(reader, config);
  TRY(reader.finish());
  TRY(check_together(config));
  resolve(config.model.path, base_dir);
  resolve(config.router.tls_certificate, base_dir);
  resolve(config.router.tls_key, base_dir);
  resolve(config.state_dir, base_dir);
  return config;
}

}  // namespace

Result<ClusterConfig> parse_cluster_config(const std::string& yaml, const std::string& base_dir) {
  return parse(yaml, base_dir, true);
}

Result<ClusterConfig> load_cluster_config(const std::string& path) {
  const size_t max_bytes = yaml::Limits().max_bytes;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return invalid_argument(fmt::format("{} is a folder, not a configuration file", path));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return not_found(
        fmt::format("cannot read the configuration {}: {}", path, std::strerror(errno)));
  }
  // One byte beyond the limit is enough to know, also where the "file" never ends.
  std::string text(max_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > max_bytes) {
    return resource_exhausted(
        fmt::format("the configuration {} is larger than {} bytes", path, max_bytes));
  }
  const std::string base_dir = fs::absolute(path, error).parent_path().string();
  Result<ClusterConfig> config = parse_cluster_config(text, base_dir);
  if (config.ok()) return config;
  return Error{config.error().code, fmt::format("{}: {}", path, config.error().message)};
}

Status check_cluster_config(const ClusterConfig& config) {
  // Through its own text, so that every range is written down once.
  const Result<ClusterConfig> parsed = parse(to_yaml(config), "", false);
  if (!parsed.ok()) return parsed.error();
  return {};
}

std::string to_yaml(const ClusterConfig& config) {
  ClusterConfig copy = config;  // the visitor is shared with the reader and takes pointers
  yaml::MapWriter writer;
  visit(writer, copy);
  return writer.take();
}

}  // namespace trireme
