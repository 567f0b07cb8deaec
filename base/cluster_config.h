// ClusterConfig: everything that a YAML file of configs/ may say, as plain data with its defaults.
//
// One file describes a cluster; each process reads all of it and uses its sections. Keys are
// strict: an unknown key is an error that names its line and the nearest known key (base/yaml.h).
// Durations are in seconds in the file, ns here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace trireme {

inline constexpr int64_t kSecondNs = 1'000'000'000;
inline constexpr int64_t kMillisecondNs = 1'000'000;

// model:
struct ModelConfig {
  std::string path;                    // folder of the checkpoint
  std::string served_name;             // empty: the folder's name
  std::string compute_dtype = "auto";  // auto | bfloat16 | float32
  // auto: keys and values are cached in the compute dtype | fp8_e4m3: in a byte each, with the
  // scales that the checkpoint names
  std::string kv_cache_dtype = "auto";
  // expand: weights that are stored quantised are held as plain ones | keep: as codes, where the
  // backend has kernels for them (FP8, int8, int4, MXFP4)
  std::string quantized_weights = "expand";
  bool random_weights = false;
  int32_t max_context = 0;  // 0: the model's own
};

// replicas: how one replica is cut, and how many there are
struct ReplicaConfig {
  int count = 1;
  int tp = 1;
  int pp = 1;
  std::vector<int> stage_layers;    // empty: by cost
  std::string experts = "expert";   // expert: whole ones per rank | tensor: a slice of each
  std::string backend = "auto";     // auto | cpu | cuda
  std::string collective = "auto";  // auto | inproc | mpi | nccl
  // Of the tensor-parallel groups of GPUs: auto: what was measured at start to be faster for a size
  // | nccl | one_shot: over the GPUs' memory, up to 4 MiB
  std::string all_reduce = "auto";
  int threads_per_rank = 0;  // cpu backend; 0: the cores divided among the ranks of this machine
  double memory_gib =
      0;  // per rank; 0: what the machine has, divided among the ranks of this machine
  double memory_utilisation = 0.8;
  bool batch_invariant = false;  // cuda backend: one order of sums for every batch, at a price
  bool decode_graphs = true;     // cuda backend: decode steps are recorded once per size
  int metrics_port =
      9100;  // replica i serves /metrics on 127.0.0.1:metrics_port + i; 0: any free port
  std::vector<std::string> hosts;  // mpirun --host; empty: this machine
  std::vector<std::string> mpirun_args;
};

// scheduler:
struct SchedulerConfig {
  int32_t block_size = 16;        // tokens per KV block
  int64_t max_kv_blocks = 0;      // 0: what fits
  int32_t max_step_tokens = 512;  // one step's budget, prefill chunks and decode together
  int32_t max_running = 256;      // sequences
  int32_t max_waiting = 1024;     // requests; beyond: resource_exhausted
  bool prefix_cache = true;
  // With one stage, the next step is sent before this one has sampled: auto (on devices) | on |
  // off.
  std::string run_ahead = "auto";
  int64_t step_deadline_ns = 60 * kSecondNs;
  int64_t idle_heartbeat_ns = 500 * kMillisecondNs;
  int64_t rank_dead_ns = 5 * kSecondNs;
};

// price:
struct PriceConfig {
  double usd_per_device_hour = 0.05;         // what a rank's device costs
  double list_usd_per_million_input = 0.10;  // shown by /v1/pricing beside the measured cost
  double list_usd_per_million_cached_input = 0.025;
  double list_usd_per_million_output = 0.40;
};

// limits: the HTTP front's hard limits
struct LimitConfig {
  int64_t body_bytes = 8 << 20;
  int32_t header_bytes = 32 << 10;
  int32_t header_count = 100;
  int32_t json_depth = 64;
  int32_t json_keys = 100'000;
  int32_t messages = 2048;
  int32_t prompt_tokens = 0;  // 0: the model's context
  int32_t n = 128;
  int64_t n_times_max_tokens = 1 << 20;
  int32_t stop_count = 16;
  int32_t stop_bytes = 1024;
  int32_t logit_bias_entries = 1024;
  int32_t top_logprobs = 20;
  int32_t streams_per_key = 1024;
  int64_t slow_reader_bytes = 1 << 20;
  int64_t header_timeout_ns = 10 * kSecondNs;
  int64_t body_timeout_ns = 30 * kSecondNs;
  int64_t idle_timeout_ns = 120 * kSecondNs;
  int64_t request_timeout_ns = 600 * kSecondNs;
  int64_t queue_timeout_ns = 60 * kSecondNs;
  int32_t queue_requests = 4096;
  int64_t queue_tokens = 16 << 20;
  int32_t connections = 4096;
};

// keys: a list; empty: no key is needed and the router listens on loopback only
struct KeyConfig {
  std::string name;    // the tenant: metric label and ledger line
  std::string sha256;  // hex of SHA-256 of the key; the key itself is never in a file
  bool admin = false;
  int64_t rpm = 0, rpd = 0, tpm = 0, tpd = 0;  // 0: no limit
  int32_t priority = 0;
  int32_t weight = 1;  // of two busy tenants, one with weight 2 is served twice as much
  std::vector<std::string> models;  // empty: all
};

// router:
struct RouterConfig {
  int count = 1;
  std::string host = "127.0.0.1";
  int port = 8000;        // router i listens on port + i
  int admin_port = 9000;  // /metrics and /v1/routing/explain; likewise; 0: any free port
  std::string wire_host = "127.0.0.1";
  int wire_port = 7000;  // router i binds wire_port + i; 0: any free port
  bool curve = true;
  std::string tls_certificate;  // PEM paths; both or neither
  std::string tls_key;
  // Origins of web pages that may use the API from a browser: "https://chat.example.com", or "*"
  // alone for every page. Empty: none may.
  std::vector<std::string> allowed_origins;
  int64_t heartbeat_ns = 500 * kMillisecondNs;
  int64_t replica_dead_ns = 5 * kSecondNs;
  int64_t drain_ns = 30 * kSecondNs;
  int64_t stream_ping_ns = 15 * kSecondNs;  // silence, then a stream gets a comment; 0: never
  double balance_load_weight = 0.5;         // beta of the score
  int tokenizer_threads = 1;
  bool vllm_metric_names = false;
};

// log:
struct LogConfig {
  std::string level = "info";   // debug | info | warn | error
  std::string format = "text";  // text | json
};

struct ClusterConfig {
  ModelConfig model;
  ReplicaConfig replicas;
  SchedulerConfig scheduler;
  PriceConfig price;
  LimitConfig limits;
  std::vector<KeyConfig> keys;
  RouterConfig router;
  LogConfig log;
  std::string state_dir;  // CURVE keys and run files; empty: $XDG_STATE_HOME/trireme or
                          // ~/.local/state/trireme
};

// Reads and checks a YAML file. Relative paths in it are relative to the file's folder.
Result<ClusterConfig> load_cluster_config(const std::string& path);
Result<ClusterConfig> parse_cluster_config(const std::string& yaml, const std::string& base_dir);
// The same checks for a config that was changed after it was read, such as by command line options.
Status check_cluster_config(const ClusterConfig& config);
// The YAML text of a config: what `trireme serve` hands to its processes.
std::string to_yaml(const ClusterConfig& config);

}  // namespace trireme
