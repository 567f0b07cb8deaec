// `trireme bench router`: the router against simulated replicas that speak the real wire protocol,
// and real HTTP clients.
//
// The router is a process of its own, so that its CPU time (from the kernel's scheduler statistics,
// all its threads) and its resident memory are its own, and it has cores of its own, so that the
// load generator is not in its way. Replicas emit a token per stream and interval, one message per
// step; each token carries no clock, but its index does: the time of its sending is looked up when
// its event has arrived. Added latency is from the replica's decision to send its batch (before it
// is encoded) until the event's bytes are at the client's socket, by the kernel's own clock of
// arrivals: wire, router and HTTP, and nothing of the load generator's reading.
//
// So the load generator need not hurry: it reads all sockets once a millisecond, and no kernel
// structure of its own is told of arrivals. A client that sleeps until it is woken costs whoever
// wakes it a few microseconds per event, and on one machine that is the router: --wake measures it
// so, as for clients that live beside their router.
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/bench_router_process.h"
#include "cli/commands.h"
#include "cli/http_stream.h"
#include "cli/usage_error.h"
#include "parallel/wire/endpoints.h"
#include "text/model_text.h"

namespace trireme::cli {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kVocab = 1 << 17;
constexpr int32_t kContext = 1 << 20;
constexpr int kMaxTokens = 200'000;  // per stream: more than any run needs
constexpr double kCpuLimitUs = 15;
constexpr double kLatencyLimitMs = 1;
constexpr double kRssLimitMb = 64;

struct Options {
  int n_replicas = 2;
  std::vector<int> streams = {16, 64, 256};
  double interval_ms = 5;
  double seconds = 5;
  std::string model = "configs/models/trireme-demo";
  bool wake = false;     // the client sleeps until an event wakes it
  int router_cores = 0;  // 0: one, or two from four cores on
  bool in_step = false;  // all replicas send at the same moments
};

// When each token was sent, Unix time: [stream][index], written by replicas, read by the client's
// thread.
using SendTimes = std::vector<std::vector<std::atomic<int64_t>>>;

// ---- replicas ----

struct Stream {
  uint64_t request = 0;
  int32_t stream = 0;  // the prompt's only token
  int32_t next = 0;
  int32_t max_tokens = 0;
};

void run_replica(const std::string& address, int index, const Options& options, int64_t start_ns,
                 const std::vector<int32_t>& script, SendTimes& sent,
                 const std::atomic<bool>& stop) {
  auto connected = wire::ReplicaEndpoint::connect(address, std::nullopt, {});
  if (!connected.ok()) return;
  wire::ReplicaEndpoint& endpoint = **connected;
  const SystemClock clock;
  wire::Hello hello;
  hello.replica = fmt::format("replica-{}", index);
  hello.epoch = 1;
  hello.model = "bench";
  hello.model_fingerprint = "bench";
  hello.plan = "simulated";
  hello.context = kContext;
  hello.vocab = kVocab;
  hello.block_size = 16;
  hello.n_kv_blocks = 1 << 16;
  hello.max_running = 4096;
  std::vector<Stream> streams;
  const auto interval_ns = static_cast<int64_t>(options.interval_ms * 1e6);
  // Evenly spread over the interval, whenever this thread came to run: where two batches meet at
  // the router the second one waits, and that must not be left to chance.
  int64_t next_step_ns =
      start_ns + (options.in_step ? 0 : interval_ns * index / options.n_replicas);
  int64_t next_beat_ns = 0;
  while (!stop) {
    const int64_t wait_ns = std::max<int64_t>(0, next_step_ns - clock.now_ns());
    pollfd fd{endpoint.event_fd(), POLLIN, 0};
    const timespec timeout{0, std::min<int64_t>(wait_ns, 100'000'000)};
    ::ppoll(&fd, 1, &timeout, nullptr);
    while (auto message = endpoint.receive()) {
      if (const auto* submit = std::get_if<wire::Submit>(&*message)) {
        streams.push_back({submit->request, submit->tokens.front(), 0, submit->max_tokens});
      } else if (const auto* cancel = std::get_if<wire::Cancel>(&*message)) {
        std::erase_if(streams, [&](const Stream& s) { return s.request == cancel->request; });
      } else if (std::holds_alternative<wire::HelloAgain>(*message)) {
        (void)endpoint.send(hello);
      }
    }
    int64_t now_ns = clock.now_ns();
    if (now_ns >= next_beat_ns) {
      next_beat_ns = now_ns + 500 * kMillisecondNs;
      (void)endpoint.send(
          wire::Heartbeat{.epoch = 1, .load = {.running = static_cast<int32_t>(streams.size())}});
    }
    if (now_ns < next_step_ns) continue;
    next_step_ns += interval_ns;
    if (streams.empty()) continue;
    wire::TokenBatch batch{.epoch = 1};
    batch.updates.reserve(streams.size());
    const int64_t sent_unix_ns = clock.unix_ns();
    for (Stream& stream : streams) {
      wire::TokenUpdate update;
      update.request = stream.request;
      update.first_index = stream.next;
      update.tokens = {script[static_cast<size_t>(stream.next) % script.size()]};
      sent[static_cast<size_t>(stream.stream)][static_cast<size_t>(stream.next)] = sent_unix_ns;
      if (++stream.next == stream.max_tokens) update.finish = wire::FinishReason::kLength;
      batch.updates.push_back(std::move(update));
    }
    (void)endpoint.send(batch);
    std::erase_if(streams, [](const Stream& s) { return s.next == s.max_tokens; });
  }
}

// ---- clients ----

struct Client {
  HttpStream http;
  size_t n_events = 0;
};

struct Measurement {
  double cpu_us_per_token = 0;
  double p50_ms = 0, p99_ms = 0;
  double rss_mb = 0;
  double starved_percent = 0;  // of the time in which the router was ready and had no core
  int64_t n_tokens = 0;
};

// Clients read when nobody else wants their core: when a token arrived is the kernel's to say, and
// the replicas that share the core are not to be held up by those who read.
void yield_to_replicas() { ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19); }

double percentile(std::vector<int64_t>& sorted_ns, double p) {
  if (sorted_ns.empty()) return 0;
  const auto i = static_cast<size_t>(p * static_cast<double>(sorted_ns.size() - 1));
  return static_cast<double>(sorted_ns[i]) * 1e-6;
}

Result<Measurement> measure(const Url& url, const RouterProcess& router, int n_streams,
                            const Options& options, const SendTimes& sent) {
  const SystemClock clock;
  std::vector<Client> clients(static_cast<size_t>(n_streams));
  const int epoll = options.wake ? ::epoll_create1(EPOLL_CLOEXEC) : -1;
  for (int i = 0; i < n_streams; ++i) {
    Client& client = clients[static_cast<size_t>(i)];
    TRY(client.http.connect(url));
    client.http.note_arrivals();
    const int max_tokens = static_cast<int>((options.seconds + 3) * 1000 / options.interval_ms);
    TRY(client.http.send(
        "POST", "/v1/completions",
        fmt::format(R"({{"model":"bench","prompt":[{}],"max_tokens":{},"stream":true}})", i,
                    std::min(max_tokens, kMaxTokens))));
    epoll_event event{EPOLLIN, {.u32 = static_cast<uint32_t>(i)}};
    if (options.wake) ::epoll_ctl(epoll, EPOLL_CTL_ADD, client.http.fd(), &event);
  }
  Measurement result;
  std::vector<int64_t> latencies_ns;
  latencies_ns.reserve(1 << 20);
  const int64_t begin_ns = clock.now_ns();
  const int64_t measure_from_ns = begin_ns + kSecondNs;  // streams are up and running
  const auto end_ns = measure_from_ns + static_cast<int64_t>(options.seconds * 1e9);
  std::optional<RouterProcess::Schedule> begin;
  Status failed;
  const auto read = [&](size_t i) {
    Client& client = clients[i];
    const auto state = client.http.feed(false, [&](std::string_view) {
      const size_t index = client.n_events++;
      if (!begin) return;
      latencies_ns.push_back(client.http.arrived_unix_ns() - sent[i][index]);
    });
    if (state != HttpStream::State::kRunning) {
      failed = unavailable(fmt::format("stream {} ended early with status {}: {}", i,
                                       client.http.status(), client.http.body()));
    }
  };
  if (!options.wake) yield_to_replicas();
  for (int64_t now_ns = begin_ns; now_ns < end_ns && failed.ok(); now_ns = clock.now_ns()) {
    if (!begin && now_ns >= measure_from_ns) begin = router.schedule();
    if (!options.wake) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      for (size_t i = 0; i < clients.size(); ++i) read(i);
      continue;
    }
    epoll_event events[256];
    const int n = ::epoll_wait(epoll, events, 256, 50);
    for (int e = 0; e < n; ++e) read(events[e].data.u32);
  }
  if (epoll >= 0) ::close(epoll);
  if (!failed.ok()) return failed.error();
  if (!begin) return unavailable("the streams did not run long enough");
  const RouterProcess::Schedule end = router.schedule();
  const int64_t cpu_ns = end.cpu_ns - begin->cpu_ns;
  result.starved_percent = static_cast<double>(end.waited_ns - begin->waited_ns) /
                           static_cast<double>(clock.now_ns() - measure_from_ns) * 100;
  result.n_tokens = static_cast<int64_t>(latencies_ns.size());
  if (result.n_tokens == 0) return unavailable("no token arrived");
  result.cpu_us_per_token =
      static_cast<double>(cpu_ns) * 1e-3 / static_cast<double>(result.n_tokens);
  std::sort(latencies_ns.begin(), latencies_ns.end());
  result.p50_ms = percentile(latencies_ns, 0.5);
  result.p99_ms = percentile(latencies_ns, 0.99);
  result.rss_mb = router.resident_mb();
  return result;
}

const char* what_is_measured(const std::string& what) {
  if (what.starts_with("added"))
    return "replica sends its batch -> event at the client's socket (kernel's time of arrival)";
  return what.starts_with("cpu") ? "CPU time of all threads of the router's process"
                                 : "resident memory of the router's process";
}

void print(const Cores& cores, const std::string& what, const std::string& shape, double figure,
           const char* unit, double limit, double starved_percent) {
  Json line;
  line["what"] = "router." + what;
  line["shape"] = shape;
  line["figure"] = figure;
  line["unit"] = unit;
  line["limit"] = limit;
  line["percent_of_limit"] = figure / limit * 100;
  line["measures"] = what_is_measured(what);
  line["cores"] = cores.text();
  line["router_waited_for_core_percent"] = starved_percent;
  line["machine"] = machine_description();
  line["commit"] = checkout_commit();
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

// ---- set-up ----

// A folder that looks like a model to the router: the tokenizer of a real one, and a context that
// no run reaches the end of.
Status write_model(const std::string& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "tokenizer.model"}) {
    if (fs::exists(fs::path(from) / name, error))
      fs::copy_file(fs::path(from) / name, to / name, error);
  }
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_size", 64},
                 {"num_hidden_layers", 1},
                 {"num_attention_heads", 1},
                 {"num_key_value_heads", 1},
                 {"head_dim", 64},
                 {"intermediate_size", 64},
                 {"vocab_size", kVocab},
                 {"max_position_embeddings", kContext},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000.0},
                 {"hidden_act", "silu"},
                 {"tie_word_embeddings", true},
                 {"torch_dtype", "bfloat16"},
                 {"eos_token_id", 0}};
  if (!(std::ofstream(to / "config.json") << config.dump(2)).flush())
    return internal_error("cannot write a model folder");
  return {};
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

// Ids of whole words, so that each token is one event.
Result<std::vector<int32_t>> make_script(const std::string& model) {
  ASSIGN_OR_RETURN(const text::Tokenizer tokenizer, text::ModelText::load_tokenizer(model));
  ASSIGN_OR_RETURN(
      const text::Encoding encoded,
      tokenizer.encode(
          " the quick answer is that a token is a piece of a word and a word is a piece of text",
          {.add_special_tokens = false}));
  return encoded.ids;
}

Status wait_until_ready(const Url& url, const RouterProcess& router) {
  for (int i = 0; i < 100; ++i) {
    HttpStream http;
    if (http.connect(url).ok() && http.send("GET", "/readiness", "").ok()) {
      while (http.feed(true, [](std::string_view) {}) == HttpStream::State::kRunning) {
      }
      if (http.status() == 200) return {};
    }
    if (!router.alive()) return unavailable("the router ended");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return deadline_exceeded("the router was not ready within 10 s");
}

Status run(const Options& options) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> script, make_script(options.model));
  char pattern[] = "/tmp/trireme-bench-XXXXXX";
  if (::mkdtemp(pattern) == nullptr) return internal_error("cannot make a folder in /tmp");
  const fs::path folder = pattern;
  struct Cleaner {
    const fs::path& path;
    ~Cleaner() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } cleaner{folder};
  TRY(write_model(options.model, folder / "model"));
  ClusterConfig config;
  config.model.path = (folder / "model").string();
  config.model.served_name = "bench";
  config.router.port = free_port();
  config.router.admin_port = 0;
  config.router.wire_port = free_port();
  config.router.curve = false;
  config.log.level = "warn";
  config.state_dir = folder.string();
  const std::string config_path = (folder / "cluster.yaml").string();
  if (!(std::ofstream(config_path) << to_yaml(config)).flush())
    return internal_error("cannot write a config");

  RouterProcess router;
  const Cores cores(options.router_cores);
  TRY(router.start(config_path, cores));
  cores.use_for_load();
  const int most = *std::max_element(options.streams.begin(), options.streams.end());
  SendTimes sent(static_cast<size_t>(most));
  const auto n_times = static_cast<size_t>(std::min<double>(
                           kMaxTokens, (options.seconds + 3) * 1000 / options.interval_ms)) +
                       1;
  for (auto& times : sent) times = std::vector<std::atomic<int64_t>>(n_times);
  std::atomic<bool> stop{false};
  std::vector<std::thread> replicas;
  replicas.reserve(static_cast<size_t>(options.n_replicas));
  const std::string address = fmt::format("tcp://127.0.0.1:{}", config.router.wire_port);
  const int64_t start_ns = SystemClock().now_ns();
  for (int i = 0; i < options.n_replicas; ++i) {
    replicas.emplace_back(
        [&, i] { run_replica(address, i, options, start_ns, script, sent, stop); });
  }
  const Url url{"127.0.0.1", std::to_string(config.router.port)};
  Status status = wait_until_ready(url, router);
  for (const int n_streams : options.streams) {
    if (!status.ok()) break;
    auto m = measure(url, router, n_streams, options, sent);
    if (!m.ok()) {
      status = m.error();
      break;
    }
    const std::string shape = fmt::format(
        "{} streams, a token per {} ms each, {} replicas {}, {} tokens, client {}", n_streams,
        options.interval_ms, options.n_replicas, options.in_step ? "in step" : "out of step",
        m->n_tokens, options.wake ? "woken by each event" : "reads once a ms");
    print(cores, "cpu_per_token", shape, m->cpu_us_per_token, "us", kCpuLimitUs,
          m->starved_percent);
    print(cores, "added_latency_p50", shape, m->p50_ms, "ms", kLatencyLimitMs, m->starved_percent);
    print(cores, "added_latency_p99", shape, m->p99_ms, "ms", kLatencyLimitMs, m->starved_percent);
    print(cores, "resident", shape, m->rss_mb, "MB", kRssLimitMb, m->starved_percent);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // hang-ups are cancelled
  }
  stop = true;
  for (std::thread& thread : replicas) thread.join();
  return status;
}

}  // namespace

int run_bench_router(int argc, char** argv) {
  Options options;
  CLI::App app{"CPU, latency and memory of the router against simulated replicas.",
               "trireme bench router"};
  app.add_option("--replicas", options.n_replicas, "simulated replicas")->check(CLI::Range(1, 64));
  app.add_option("--streams", options.streams, "concurrent streams, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 4000));
  app.add_option("--interval-ms", options.interval_ms, "time between two tokens of a stream")
      ->check(CLI::Range(1.0, 1000.0));
  app.add_option("--seconds", options.seconds, "measured time per line")
      ->check(CLI::Range(0.5, 600.0));
  app.add_option("--model", options.model, "folder whose tokenizer is used");
  app.add_flag("--wake", options.wake, "a client that sleeps until an event wakes it");
  app.add_flag("--in-step", options.in_step,
               "all replicas send at the same moments: the worst case");
  app.add_option("--router-cores", options.router_cores,
                 "cores of the router; with all of them the load generator shares one")
      ->check(CLI::Range(1, 64));
  bool json = true;
  app.add_flag("--json", json, "lines are always JSON");
  app.footer("Example: trireme bench router --replicas 2 --streams 64,256");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const Status status = run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", status.error().message.c_str());
  return 1;
}

}  // namespace trireme::cli
