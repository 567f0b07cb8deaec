// `trireme bench collective`: latency of all_reduce by size, between threads and between mpirun's
// processes.
//
// For the processes the command starts itself again under mpirun. Rank 0 times every call; the
// limit is the time in which one core copies as many bytes as a rank must read, measured in the
// same run.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "parallel/comm/inproc/inproc_world.h"
#include "parallel/comm/mpi/mpi_mesh.h"
#include "parallel/comm/mpi/mpi_runtime.h"
#include "parallel/comm/shm/wait.h"

extern char** environ;

namespace trireme::cli {
namespace {

using Timer = std::chrono::steady_clock;

struct Options {
  int n_ranks = 2;
  std::string transport = "all";
  int n_iterations = 2000;
  bool network = false;      // between processes: messages even within the node
  bool rank_of_job = false;  // this process was started by mpirun for the benchmark
};

double micros(Timer::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

double copy_micros(size_t bytes) {
  std::vector<char> from(bytes, 1);
  std::vector<char> to(bytes);
  double best = 1e30;
  for (int i = 0; i < 50; ++i) {
    const auto begin = Timer::now();
    std::memcpy(to.data(), from.data(), bytes);
    best = std::min(best, micros(Timer::now() - begin));
    from[0] = to[bytes - 1];  // the copy is needed
  }
  return best;
}

struct Site {
  std::string transport;
  bool core_per_rank = false;
};

void print_line(const Site& site, int n_ranks, size_t bytes, std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  const double limit = copy_micros(bytes * static_cast<size_t>(n_ranks - 1));
  Json line;
  line["what"] = "all_reduce";
  line["transport"] = site.transport;
  line["shape"] = fmt::format("{} ranks x {} bytes f32", n_ranks, bytes);
  line["figure"] = median;
  line["unit"] = "us";
  line["best"] = times.front();
  line["p99"] = times[times.size() * 99 / 100];
  line["limit"] = limit;
  line["limit_unit"] = "us";
  line["percent_of_limit"] = 100 * limit / median;
  line["core_per_rank"] = site.core_per_rank;
  line["machine"] = machine_description();
  line["commit"] = checkout_commit();
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

// Every rank runs this; rank 0 prints.
Status time_all_reduce(comm::Group& group, const Clock& clock, const Site& site, int n_iterations) {
  constexpr int64_t kPatienceNs = 60'000'000'000;
  for (const size_t bytes :
       {size_t{64}, size_t{1} << 10, size_t{4} << 10, size_t{16} << 10, size_t{64} << 10,
        size_t{256} << 10, size_t{1} << 20, size_t{8} << 20}) {
    std::vector<float> x(bytes / sizeof(float), 0.0f);
    const TensorView view(x.data(), DType::kF32, {static_cast<int64_t>(x.size())});
    // Large messages need fewer rounds for a steady median.
    const int n = std::max(20, static_cast<int>(std::min<size_t>(static_cast<size_t>(n_iterations),
                                                                 (size_t{256} << 20) / bytes)));
    std::vector<double> times;
    for (int i = -n / 10; i < n; ++i) {
      comm::OpContext context;
      context.op = "bench all_reduce";
      context.deadline_ns = clock.now_ns() + kPatienceNs;
      const auto begin = Timer::now();
      TRY(group.all_reduce_sum(view, context));
      if (i >= 0) times.push_back(micros(Timer::now() - begin));
    }
    if (group.rank() == 0) print_line(site, group.size(), bytes, times);
  }
  return {};
}

Status bench_inproc(const Options& options) {
  const SystemClock clock;
  std::vector<comm::Mesh> meshes = comm::make_inproc_meshes(options.n_ranks, 1, clock);
  const Site site{"inproc", comm::usable_cores() >= options.n_ranks};
  std::vector<Status> answers(meshes.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < meshes.size(); ++i) {
    threads.emplace_back(
        [&, i] { answers[i] = time_all_reduce(*meshes[i].tp, clock, site, options.n_iterations); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& answer : answers) TRY(answer);
  return {};
}

// One process of the job that start_job() started.
Status bench_as_rank(const Options& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<comm::MpiRuntime> runtime, comm::MpiRuntime::start());
  const SystemClock clock;
  ASSIGN_OR_RETURN(
      const comm::MpiMesh made,
      comm::make_mpi_mesh_with_facts(
          {.tp = runtime->world_size(), .first_world_rank = 0, .force_network = options.network},
          clock));
  const Site site{made.tp_in_shared_memory ? "mpi (shared memory)" : "mpi (messages)",
                  made.core_per_rank};
  const Status status = time_all_reduce(*made.mesh.tp, clock, site, options.n_iterations);
  if (!status.ok()) runtime->abandon();
  return status;
}

// This binary again, under mpirun.
Status start_job(const Options& options) {
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) return internal_error("the path of this program cannot be read.");
  std::vector<std::string> words = {"mpirun", "--oversubscribe", "-np",
                                    std::to_string(options.n_ranks)};
  if (geteuid() == 0) words.push_back("--allow-run-as-root");
  for (const std::string& word :
       {self, std::string("bench"), std::string("collective"), std::string("--rank-of-job"),
        std::string("--iterations"), std::to_string(options.n_iterations)}) {
    words.push_back(word);
  }
  if (options.network) words.push_back("--network");
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) {
    return failed_precondition(
        "mpirun was not found; install Open MPI or give --transport inproc.");
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return unavailable("the job under mpirun failed.");
}

Status run(const Options& options) {
  if (options.rank_of_job) return bench_as_rank(options);
  if (options.transport != "mpi") TRY(bench_inproc(options));
  if (options.transport != "inproc") TRY(start_job(options));
  return {};
}

}  // namespace

int run_bench_collective(int argc, char** argv) {
  Options options;
  CLI::App app("Times all_reduce by size, between threads and between processes under mpirun.",
               "trireme bench collective");
  app.footer("Example: trireme bench collective --ranks 2 --transport mpi");
  app.add_option("--ranks", options.n_ranks, "ranks in the group")->check(CLI::Range(2, 64));
  app.add_option("--transport", options.transport, "all, inproc or mpi")
      ->check(CLI::IsMember({"all", "inproc", "mpi"}));
  app.add_option("--iterations", options.n_iterations, "calls per size, at most")
      ->check(CLI::Range(20, 1'000'000));
  app.add_flag("--network", options.network, "mpi: messages instead of shared memory");
  bool json = false;
  app.add_flag("--json", json, "accepted for symmetry: the output is JSON lines in any case");
  // What this command starts under mpirun; of no use by hand.
  app.add_flag("--rank-of-job", options.rank_of_job)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const Status status = run(options);
  if (status.ok()) return 0;
  fmt::print(stderr, "error: {}\n", status.error().message);
  return 1;
}

}  // namespace trireme::cli
