#include "cli/cluster/cluster_launch.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "cli/cluster/host_address.h"
#include "kernels/cuda/devices.h"
#include "parallel/launch/mpi_job.h"
#include "parallel/launch/resolve_config.h"
#include "parallel/plan/gpu_placement.h"
#include "parallel/plan/memory_budget.h"

namespace trireme::cli {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
// Below this many tokens of KV a replica could not serve one short conversation.
constexpr int32_t kMinKvTokens = 512;

// Chooses ports that are free now, and holds them until all are chosen, so that none is chosen
// twice. They lie below the range from which the kernel serves outgoing connections: nothing takes
// one by chance before the process that is told of it; if somebody does, that process says so.
class PortChooser {
 public:
  PortChooser() = default;
  ~PortChooser() { release(0); }
  PortChooser(const PortChooser&) = delete;
  PortChooser& operator=(const PortChooser&) = delete;

  // Replaces a port of 0. `count` neighbouring ports are wanted, since router i uses port + i.
  Status choose(int& port, const std::string& host, int count) {
    if (port != 0) return {};
    const auto address = resolve_host(host, 0);
    if (!address) return invalid_argument("the host " + host + " has no address");
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const int candidate = std::uniform_int_distribution(kFirst, kLast - count)(random_);
      const size_t n_held = held_.size();
      int n = 0;
      while (n < count && hold(address->with_port(candidate + n))) ++n;
      if (n == count) {
        port = candidate;
        return {};
      }
      release(n_held);
    }
    return unavailable("no free ports on " + host);
  }

 private:
  static constexpr int kFirst = 20'000;
  static constexpr int kLast = 32'767;
  static constexpr int kAttempts = 256;

  bool hold(const HostAddress& address) {
    const int fd = socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool bound = bind(fd, address.get(), address.size) == 0;
    if (bound) {
      held_.push_back(fd);
    } else if (fd >= 0) {
      close(fd);
    }
    return bound;
  }
  void release(size_t keep) {
    while (held_.size() > keep) {
      close(held_.back());
      held_.pop_back();
    }
  }

  std::vector<int> held_;
  std::mt19937 random_{std::random_device{}()};
};

// Where all ranks run on this machine: one GPU for each, and the bytes of the smallest. 0 where
// they need none, or have other machines' (each rank looks at its own, and the replica fails with
// one sentence).
Result<int64_t> check_gpus(const LaunchPlan& launch) {
  const ReplicaConfig& replicas = launch.config.replicas;
  if (replicas.backend != "cuda" || !launch.hosts.empty()) return 0;
  ASSIGN_OR_RETURN(const auto gpus, kernels::cuda::list_gpus());
  TRY(plan::check_gpus_of_one_machine(gpus, replicas.tp, replicas.pp, replicas.count));
  int64_t smallest = INT64_MAX;
  for (const auto& gpu : gpus) smallest = std::min(smallest, gpu.memory_bytes);
  return smallest;
}

Status check_memory(const LaunchPlan& launch, int64_t smallest_gpu_bytes) {
  const ReplicaConfig& replicas = launch.config.replicas;
  plan::MemoryInputs inputs;
  const bool f32 = launch.config.model.compute_dtype == "float32";
  inputs.weight_dtype = f32 ? DType::kF32 : DType::kBF16;
  inputs.kv_dtype = plan::kv_dtype_of(launch.config.model);
  inputs.keep_low_bit = launch.config.model.quantized_weights == "keep";
  inputs.block_size = launch.config.scheduler.block_size;
  inputs.max_step_tokens = launch.config.scheduler.max_step_tokens;
  // As worker/setup.cc asks for: prompt log-probabilities want a row per position.
  inputs.max_logits_rows =
      std::max(launch.config.scheduler.max_step_tokens, launch.config.scheduler.max_running);
  inputs.memory_bytes = static_cast<int64_t>(replicas.memory_gib * kGiB);
  if (inputs.memory_bytes == 0) inputs.memory_bytes = smallest_gpu_bytes;
  if (inputs.memory_bytes == 0) return {};  // GPUs of other machines: their ranks will say
  inputs.utilisation = replicas.memory_utilisation;
  const auto blocks = plan::plan_kv_blocks(launch.spec, launch.parallel, inputs, kMinKvTokens);
  if (!blocks.ok()) return blocks.error();
  return {};
}

bool answers_ready(const std::string& host, int port) {
  const auto address = resolve_host(reachable_host(host), port);
  if (!address) return false;
  const int fd = socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const timeval timeout{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  char reply[16] = {};
  const std::string request =
      "GET /readiness HTTP/1.1\r\nHost: trireme\r\nConnection: close\r\n\r\n";
  const bool ok = connect(fd, address->get(), address->size) == 0 &&
                  ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
                      static_cast<ssize_t>(request.size()) &&
                  recv(fd, reply, 12, MSG_WAITALL) == 12 &&
                  std::string(reply).substr(9, 3) == "200";
  close(fd);
  return ok;
}

std::vector<std::string> mpirun_argv(const LaunchPlan& launch, const std::string& bin_dir,
                                     const std::string& config_path, int replica) {
  const ReplicaConfig& replicas = launch.config.replicas;
  std::vector<std::string> argv = {"mpirun", "--quiet", "--oversubscribe", "--bind-to", "none"};
  if (geteuid() == 0) argv.emplace_back("--allow-run-as-root");
  if (!launch.hosts.empty()) {
    const std::string hosts = launch::mpirun_hosts(launch.hosts[static_cast<size_t>(replica)]);
    argv.insert(argv.end(), {"--host", hosts});
  }
  // Ranks outnumber cores here, so MPI's own waits must give the core away.
  argv.insert(argv.end(), {"--mca", "mpi_yield_when_idle", "1"});
  // Ranks of one node talk through our own nameless shared memory, so MPI need not leave files in
  // /dev/shm behind when it is killed; what it keeps elsewhere goes into the run's folder, which
  // the next start clears.
  argv.insert(argv.end(), {"--mca", "btl", "^vader", "--mca", "orte_tmpdir_base",
                           std::filesystem::path(config_path).parent_path().string()});
  // Ranks that end because they were asked to leave without a word to MPI, which would wait for
  // each of them. Any that fails still ends the job by its exit code.
  argv.insert(argv.end(), {"--mca", "orte_allowed_exit_without_sync", "1"});
  argv.insert(argv.end(), replicas.mpirun_args.begin(), replicas.mpirun_args.end());
  const std::string index = std::to_string(replica);
  argv.insert(argv.end(), {"-np", "1", bin_dir + "/trireme-coordinator", config_path, "--replica",
                           index, ":", "-np", std::to_string(replicas.tp * replicas.pp),
                           bin_dir + "/trireme-worker", config_path, "--replica", index});
  return argv;
}

}  // namespace

Result<LaunchPlan> prepare_launch(ClusterConfig config) {
  LaunchPlan launch;
  TRY(launch::resolve_config(config));
  ASSIGN_OR_RETURN(launch.spec, plan::load_model_spec(config.model.path));
  ASSIGN_OR_RETURN(launch.hosts, launch::assign_hosts(config));
  const ReplicaConfig& replicas = config.replicas;
  ASSIGN_OR_RETURN(launch.parallel,
                   plan::make_parallel_plan(launch.spec, plan::parallel_options(replicas)));
  config.model.path = std::filesystem::absolute(config.model.path).lexically_normal().string();
  PortChooser ports;
  TRY(ports.choose(config.router.port, config.router.host, config.router.count));
  TRY(ports.choose(config.router.admin_port, "127.0.0.1", config.router.count));
  TRY(ports.choose(config.router.wire_port, config.router.wire_host, config.router.count));
  TRY(ports.choose(config.replicas.metrics_port, "127.0.0.1", config.replicas.count));
  launch.config = std::move(config);
  ASSIGN_OR_RETURN(const int64_t smallest_gpu_bytes, check_gpus(launch));
  TRY(check_memory(launch, smallest_gpu_bytes));
  return launch;
}

std::vector<ProcessSpec> process_specs(const LaunchPlan& launch, const std::string& bin_dir,
                                       const std::string& config_path) {
  std::vector<ProcessSpec> specs;
  for (int i = 0; i < launch.config.router.count; ++i) {
    ProcessSpec spec;
    spec.name = "router-" + std::to_string(i);
    spec.role = Role::kRouter;
    spec.spawn.argv = {bin_dir + "/trireme-router", config_path, "--index", std::to_string(i)};
    spec.spawn.parent_death_signal = SIGKILL;
    spec.first_backoff_ns = 50 * kMillisecondNs;
    specs.push_back(std::move(spec));
  }
  for (int i = 0; i < launch.config.replicas.count; ++i) {
    ProcessSpec spec;
    spec.name = "replica-" + std::to_string(i);
    spec.role = Role::kReplica;
    if (launch.config.replicas.collective == "inproc") {
      spec.spawn.argv = {bin_dir + "/trireme", "replica", config_path, "--replica",
                         std::to_string(i)};
    } else {
      spec.spawn.argv = mpirun_argv(launch, bin_dir, config_path, i);
      spec.leave_signal = launch::kLeaveSignal;
    }
    // SIGTERM lets mpirun clear its session folder; its ranks watch it and end with it in any case.
    spec.spawn.parent_death_signal = SIGTERM;
    spec.spawn.capture_stdout = true;
    spec.first_backoff_ns = 200 * kMillisecondNs;
    specs.push_back(std::move(spec));
  }
  return specs;
}

bool routers_ready(const ClusterConfig& config) {
  for (int i = 0; i < config.router.count; ++i) {
    // The admin port speaks plain HTTP also where the API speaks TLS.
    if (!answers_ready(config.router.host, config.router.admin_port + i)) return false;
  }
  return true;
}

std::string binary_dir() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "." : self.parent_path().string();
}

}  // namespace trireme::cli
