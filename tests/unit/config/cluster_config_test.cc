#include "base/cluster_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace trireme {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kModel = "model: {path: m}\n";

std::string error_of(const std::string& yaml) {
  const Result<ClusterConfig> config = parse_cluster_config(yaml, "");
  return config.ok() ? "" : config.error().message;
}

TEST(ClusterConfig, TheSmallestFileHasTheDefaults) {
  const ClusterConfig config = parse_cluster_config(kModel, "").value();
  ClusterConfig expected;
  expected.model.path = "m";
  EXPECT_EQ(to_yaml(config), to_yaml(expected));
}

TEST(ClusterConfig, TyposNameTheirLineAndTheNearestKey) {
  EXPECT_EQ(error_of("# c\nmodel: {path: m}\nreplicaz: {tp: 2}\n"),
            "line 3: unknown key \"replicaz\" at the top level; did you mean \"replicas\"?");
  EXPECT_EQ(error_of(kModel + "replicas:\n  tpp: 2\n"),
            "line 3: unknown key \"tpp\" in `replicas`; did you mean \"tp\"?");
  EXPECT_THAT(error_of(kModel + "keys:\n  - name: a\n    sha265: x\n"),
              HasSubstr("line 4: unknown key \"sha265\" in `keys[0]`; did you mean \"sha256\"?"));
  EXPECT_THAT(error_of(kModel + "limits: {json_dept: 3}"),
              HasSubstr("did you mean \"json_depth\"?"));
}

TEST(ClusterConfig, ValuesAreHeldToTheirTypesAndRanges) {
  EXPECT_EQ(error_of(kModel + "replicas:\n  tp: two\n"),
            "line 3: `replicas.tp` must be an integer from 1 to 1024, not \"two\"");
  for (const char* bad : {"replicas: {tp: 0}",
                          "replicas: {pp: -1}",
                          "replicas: {count: 0}",
                          "replicas: [1]",
                          "replicas: {backend: tpu}",
                          "router: {port: 65536}",
                          "router: {port: 8000.5}",
                          "scheduler: {step_deadline: -1}",
                          "scheduler: {step_deadline: soon}",
                          "limits: {body_bytes: 8 MiB}",
                          "limits: {body_bytes: -1}",
                          "price: {usd_per_device_hour: -1}",
                          "price: {usd_per_device_hour: .nan}",
                          "price: {usd_per_device_hour: 1e400}",
                          "log: {level: loud}",
                          "keys: alice",
                          "replicas: {memory_utilisation: 1.5}",
                          "replicas: {stage_layers: [1, x]}",
                          "state_dir: [a]",
                          "scheduler: {prefix_cache: maybe}"}) {
    EXPECT_NE(error_of(kModel + bad), "") << bad;
  }
}

TEST(ClusterConfig, TheCachesTypeIsOneOfTwo) {
  EXPECT_EQ(parse_cluster_config(kModel, "").value().model.kv_cache_dtype, "auto");
  const auto config = parse_cluster_config("model: {path: m, kv_cache_dtype: fp8_e4m3}", "");
  EXPECT_EQ(config.value().model.kv_cache_dtype, "fp8_e4m3");
  EXPECT_EQ(error_of("model:\n  path: m\n  kv_cache_dtype: fp8_e5m2\n"),
            "line 3: `model.kv_cache_dtype` must be one of auto, fp8_e4m3, not \"fp8_e5m2\"");
}

TEST(ClusterConfig, SectionsMustAgree) {
  const std::string hash(64, 'a');
  const std::string key = "{name: a, sha256: " + hash + "}";
  const std::pair<std::string, const char*> bad[] = {
      {"", "`model.path` is missing"},
      {"model: {served_name: x}", "`model.path` is missing"},
      {kModel + "replicas: {tp: 1024, pp: 1024}", "1048576 ranks"},
      {kModel + "replicas: {pp: 2, stage_layers: [1, 2, 3]}", "name every stage or none"},
      {kModel + "replicas: {backend: cpu, collective: nccl}", "needs the cuda backend"},
      {kModel + "replicas: {backend: cpu, all_reduce: nccl}", "about sums of GPUs"},
      {kModel + "replicas: {all_reduce: one_shot}", "there is nothing to sum"},
      {kModel + "replicas: {all_reduce: one_shot, tp: 16}", "up to 8 GPUs of a machine"},
      {kModel + "replicas: {all_reduce: ring}", "must be one of auto, nccl, one_shot"},
      {kModel + "replicas: {collective: inproc, hosts: [a]}", "names machines"},
      {kModel + "replicas: {hosts: [\"-x\"]}", "which is no host"},
      {kModel + "scheduler: {idle_heartbeat: 5s}", "at least twice"},
      {kModel + "router: {heartbeat: 5s}", "at least twice"},
      {kModel + "router: {port: 9000}", "collide"},
      {kModel + "router: {count: 5, port: 8998}", "collide"},
      {kModel + "router: {count: 9, wire_port: 65530}", "the last is 65535"},
      {kModel + "replicas: {metrics_port: 8000}",
       "`router.port` 8000 and `replicas.metrics_port` 8000"},
      {kModel + "replicas: {metrics_port: 65535, count: 2}", "the last is 65535"},
      {kModel + "router: {tls_certificate: a.pem}", "both or not at all"},
      {kModel + "router: {tls_key: a.pem}", "both or not at all"},
      {kModel + "router: {host: 0.0.0.0}", "there are no `keys`"},
      {kModel + "router: {host: 0.0.0.0}\nkeys: []", "there are no `keys`"},
      {kModel + "router: {wire_host: 10.0.0.1, curve: false}", "anybody could pose as a replica"},
      {kModel + "router: {host: \"\"}", "must name an address"},
      {kModel + "keys: [{name: a}]", "64 hexadecimal digits"},
      {kModel + "keys: [{name: a, sha256: " + std::string(64, 'g') + "}]", "64 hexadecimal digits"},
      {kModel + "keys: [{name: a b, sha256: " + hash + "}]", "metric label"},
      {kModel + "keys: [{sha256: " + hash + "}]", "metric label"},
      {kModel + "keys: [" + key + ", " + key + "]", "twice"},
      {kModel + "keys: [{name: a, weight: 0, sha256: " + hash + "}]", "weight"},
      {kModel + "keys: [{name: a, weight: 1001, sha256: " + hash + "}]", "weight"},
      {kModel + "keys: [{name: a, wieght: 2, sha256: " + hash + "}]", "did you mean \"weight\"?"},
      {kModel + "keys: [" + key + ", {name: b, sha256: " + hash + "}]", "that of an earlier key"},
  };
  for (const auto& [yaml, word] : bad) EXPECT_THAT(error_of(yaml), HasSubstr(word)) << yaml;
  for (const std::string& good : {kModel + "router: {host: 0.0.0.0}\nkeys: [" + key + "]",
                                  kModel + "router: {port: 0, admin_port: 0, wire_port: 0}",
                                  kModel + "replicas: {backend: cuda, tp: 8, all_reduce: one_shot}",
                                  kModel + "router: {host: \"::1\"}", kModel + "limits:\nkeys:\n",
                                  kModel + "router: {wire_host: 10.0.0.1}"}) {
    EXPECT_EQ(error_of(good), "") << good;
  }
}

TEST(ClusterConfig, OriginsAreWrittenAsBrowsersSendThem) {
  const auto parse_origins = [](const std::vector<std::string>& origins) {
    ClusterConfig config;
    config.model.path = "m";
    config.router.allowed_origins = origins;
    return check_cluster_config(config);
  };
  for (const char* good :
       {"*", "https://chat.example.com", "http://localhost:3000", "http://127.0.0.1:8080",
        "http://[::1]:5173", "https://[2001:db8::1]", "https://a:80", "http://a:443",
        "chrome-extension://abcdefgh", "app://-", "https://xn--bcher-kva.example"}) {
    const Status status = parse_origins({good});
    EXPECT_TRUE(status.ok()) << good << ": " << status.error().message;
  }
  for (const char* bad : {"",
                          "null",
                          "chat.example.com",
                          "https://",
                          "https:/a",
                          "https://a/",
                          "https://a/path",
                          "https://A.example",
                          "HTTPS://a",
                          "https://a:443",
                          "http://a:80",
                          "https://a:",
                          "https://a:0",
                          "https://a:65536",
                          "https://a:8x",
                          "https://u@a",
                          "https://*.example.com",
                          "https://a b",
                          "https://a,https://b",
                          "https://[::1",
                          "https://[]",
                          "https://::1",
                          "https://a?b",
                          "https://a#b",
                          "1http://a",
                          "://a",
                          "https://b\u00fccher.example"}) {
    const Status status = parse_origins({bad});
    ASSERT_FALSE(status.ok()) << bad;
    EXPECT_NE(status.error().message.find("router.allowed_origins"), std::string::npos)
        << status.error().message;
  }
  EXPECT_TRUE(parse_origins({"https://a", "https://b:8443"}).ok());
  EXPECT_FALSE(parse_origins({"https://a", "*"}).ok()) << "which of the two is meant?";
  EXPECT_TRUE(ClusterConfig().router.allowed_origins.empty()) << "off by default";
}

TEST(ClusterConfig, HashesAreLowerCase) {
  const auto config =
      parse_cluster_config(kModel + "keys: [{name: a, sha256: " + std::string(64, 'A') + "}]", "");
  EXPECT_EQ(config.value().keys[0].sha256, std::string(64, 'a'));
}

TEST(ClusterConfig, PathsAreRelativeToTheFile) {
  const auto config =
      parse_cluster_config(
          "model: {path: ../models/demo}\nrouter: {tls_certificate: a.pem, tls_key: /k.pem}\n"
          "state_dir: state\n",
          "/etc/trireme")
          .value();
  EXPECT_EQ(config.model.path, "/etc/models/demo");
  EXPECT_EQ(config.router.tls_certificate, "/etc/trireme/a.pem");
  EXPECT_EQ(config.router.tls_key, "/k.pem");
  EXPECT_EQ(config.state_dir, "/etc/trireme/state");
}

TEST(ClusterConfig, AConfigChangedByHandIsCheckedLikeAFile) {
  ClusterConfig config;
  config.model.path = "m";
  EXPECT_TRUE(check_cluster_config(config).ok());
  config.replicas.tp = 0;
  const Status status = check_cluster_config(config);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "`replicas.tp` must be an integer from 1 to 1024, not \"0\"");
  config.replicas.tp = 1;
  config.router.host = "0.0.0.0";
  EXPECT_FALSE(check_cluster_config(config).ok());
}

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "trireme-config-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string write(const std::string& text) {
    const fs::path path = folder_ / "c.yaml";
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  fs::path folder_;
};

TEST_F(ConfigFile, LoadsAndNamesTheFileInErrors) {
  EXPECT_EQ(load_cluster_config(write(kModel)).value().model.path, (folder_ / "m").string());
  const auto bad = load_cluster_config(write("model: {path: m, pth: x}"));
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.error().message, HasSubstr("c.yaml: line 1: unknown key \"pth\" in `model`"));
}

TEST_F(ConfigFile, MissingHugeAndStrangeFilesAreSentences) {
  EXPECT_EQ(load_cluster_config((folder_ / "none.yaml").string()).error().code,
            ErrorCode::kNotFound);
  EXPECT_THAT(load_cluster_config(folder_.string()).error().message, HasSubstr("is a folder"));
  EXPECT_EQ(load_cluster_config("/dev/zero").error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(load_cluster_config(write(std::string(3 << 20, '#'))).error().code,
            ErrorCode::kResourceExhausted);
  EXPECT_FALSE(load_cluster_config(write("\x7f"
                                         "ELF"))
                   .ok());
}

// Random valid configs: their text reads back as the same config.
class RandomConfig {
 public:
  explicit RandomConfig(uint64_t seed) : engine_(seed) {}

  ClusterConfig make() {
    ClusterConfig c;
    c.model = {"/" + text(),
               text(),
               pick({"auto", "bfloat16", "float32"}),
               pick({"auto", "fp8_e4m3"}),
               pick({"expand", "keep"}),
               flag(),
               below(1 << 20)};
    ReplicaConfig& r = c.replicas;
    r = {.count = 1 + below(8), .tp = 1 + below(16), .pp = 1 + below(4)};
    if (flag()) r.stage_layers.assign(static_cast<size_t>(r.pp), 1 + below(40));
    r.experts = pick({"expert", "tensor"});
    r.backend = pick({"auto", "cuda"});
    r.collective = pick({"auto", "mpi", "nccl"});
    r.all_reduce = r.tp > 1 && r.tp <= 8 ? pick({"auto", "nccl", "one_shot"}) : "auto";
    r.threads_per_rank = below(64);
    r.memory_gib = real(100);
    r.memory_utilisation = 0.01 + real(0.99);
    r.decode_graphs = random() % 2 == 0;
    r.batch_invariant = random() % 2 == 0;
    for (int n = below(3); n > 0; --n) r.hosts.push_back("h" + text());
    for (int n = below(3); n > 0; --n) r.mpirun_args.push_back(text());
    c.scheduler = {.block_size = 1 + below(64),
                   .max_kv_blocks = below(1 << 20),
                   .max_step_tokens = 1 + below(9000),
                   .max_running = 1 + below(999),
                   .max_waiting = below(999),
                   .prefix_cache = flag(),
                   .step_deadline_ns = 10 * kMillisecondNs + wide(3600 * kSecondNs),
                   .idle_heartbeat_ns = 10 * kMillisecondNs + wide(kSecondNs),
                   .rank_dead_ns = 3 * kSecondNs + wide(60 * kSecondNs)};
    c.price = {real(10), real(1), real(1), real(1)};
    LimitConfig& l = c.limits;
    l.body_bytes = 1024 + wide(1 << 29);
    l.header_bytes = 1024 + below(1 << 19);
    l.stop_bytes = 1 + below(65'000);
    l.slow_reader_bytes = 4096 + wide(1 << 29);
    l.n_times_max_tokens = 1 + wide(int64_t{1} << 39);
    l.queue_tokens = wide(int64_t{1} << 39);
    l.header_timeout_ns = kMillisecondNs + wide(kSecondNs);
    l.idle_timeout_ns = kSecondNs * (1 + below(100));
    l.request_timeout_ns = kMillisecondNs * (1 + below(100'000));
    for (int n = below(4), i = 0; i < n; ++i) {
      KeyConfig key{.name = "k" + std::to_string(i),
                    .sha256 = std::string(63, 'a') + std::to_string(i),
                    .admin = flag()};
      key.rpm = wide(1 << 20);
      key.tpd = wide(int64_t{1} << 40);
      key.priority = below(2000) - 1000;
      key.weight = 1 + below(1000);
      if (flag()) key.models = {text(), text()};
      c.keys.push_back(key);
    }
    c.router.count = 1 + below(4);
    c.router.port = 20'000 + below(1000);
    c.router.tls_certificate = flag() ? "/" + text() : "";
    c.router.tls_key = c.router.tls_certificate.empty() ? "" : "/" + text();
    if (flag()) c.router.allowed_origins = {"https://a.example:8443", "http://[::1]:3000"};
    c.router.drain_ns = wide(kSecondNs);
    c.router.stream_ping_ns = wide(60 * kSecondNs);
    c.router.balance_load_weight = real(9);
    c.router.vllm_metric_names = flag();
    c.log = {pick({"debug", "info", "warn", "error"}), pick({"text", "json"})};
    c.state_dir = flag() ? "/" + text() : "";
    return c;
  }

 private:
  int32_t below(int32_t n) { return static_cast<int32_t>(engine_() % static_cast<uint64_t>(n)); }
  int64_t wide(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  bool flag() { return below(2) == 1; }
  double real(double max) { return max * static_cast<double>(engine_()) / 18446744073709551616.0; }
  std::string pick(std::initializer_list<const char*> words) {
    return *(words.begin() + below(static_cast<int32_t>(words.size())));
  }
  std::string text() {
    static constexpr const char* kPieces[] = {"a",  " ", "\"",   "\\", "'", ": ", "#",
                                              "- ", "é", "漢",   "{",  "]", "&",  "*",
                                              "%",  "~", "null", "7",  "@", "|"};
    std::string out = "t";
    for (int n = below(10); n > 0; --n)
      out += kPieces[below(static_cast<int32_t>(std::size(kPieces)))];
    return out;
  }

  std::mt19937_64 engine_;
};

TEST(ClusterConfig, TextsReadBackAsTheSameConfig) {
  RandomConfig random(11);
  for (int i = 0; i < 500; ++i) {
    const ClusterConfig config = random.make();
    const std::string yaml = to_yaml(config);
    const Result<ClusterConfig> parsed = parse_cluster_config(yaml, "");
    ASSERT_TRUE(parsed.ok()) << parsed.error().message << "\n" << yaml;
    ASSERT_EQ(to_yaml(*parsed), yaml);
    // Not through the text alone: fields of each type, compared themselves.
    EXPECT_EQ(parsed->model.path, config.model.path);
    EXPECT_EQ(parsed->replicas.memory_gib, config.replicas.memory_gib);
    EXPECT_EQ(parsed->replicas.decode_graphs, config.replicas.decode_graphs);
    EXPECT_EQ(parsed->replicas.batch_invariant, config.replicas.batch_invariant);
    EXPECT_EQ(parsed->replicas.mpirun_args, config.replicas.mpirun_args);
    EXPECT_EQ(parsed->replicas.stage_layers, config.replicas.stage_layers);
    EXPECT_EQ(parsed->replicas.experts, config.replicas.experts);
    EXPECT_EQ(parsed->router.allowed_origins, config.router.allowed_origins);
    EXPECT_EQ(parsed->router.stream_ping_ns, config.router.stream_ping_ns);
    EXPECT_EQ(parsed->scheduler.step_deadline_ns, config.scheduler.step_deadline_ns);
    EXPECT_EQ(parsed->limits.body_bytes, config.limits.body_bytes);
    EXPECT_EQ(parsed->limits.header_timeout_ns, config.limits.header_timeout_ns);
    EXPECT_EQ(parsed->price.usd_per_device_hour, config.price.usd_per_device_hour);
    ASSERT_EQ(parsed->keys.size(), config.keys.size());
    for (size_t k = 0; k < config.keys.size(); ++k) {
      EXPECT_EQ(parsed->keys[k].weight, config.keys[k].weight);
    }
    EXPECT_EQ(parsed->router.balance_load_weight, config.router.balance_load_weight);
    EXPECT_EQ(parsed->log.level, config.log.level);
    EXPECT_EQ(parsed->state_dir, config.state_dir);
  }
}

}  // namespace
}  // namespace trireme
