// `trireme bench WHAT`: picks the benchmark. Every line it prints is one JSON object.
#include <cstdio>
#include <string_view>

#include "cli/commands.h"

namespace trireme::cli {
namespace {

struct Benchmark {
  std::string_view name;
  int (*run)(int argc, char** argv);
  const char* what;
};

constexpr Benchmark kBenchmarks[] = {
    {"engine", run_bench_engine, "prefill and decode of one model on this machine's ranks"},
    {"serve", run_bench_serve, "load on a running server: TTFT, TPOT, ITL, goodput"},
    {"router", run_bench_router, "the router against simulated replicas on the real wire"},
    {"scheduler", run_bench_scheduler, "time to plan one step"},
    {"collective", run_bench_collective, "all-reduce by size and transport"},
    {"ops", run_bench_ops, "every kernel against the machine's limit"},
    {"gpu", run_bench_gpu, "the kernels of a step on the first GPU, against its measured limits"},
};

void print_usage(FILE* out) {
  std::fputs("Usage: trireme bench WHAT [OPTIONS]\n\n", out);
  for (const Benchmark& benchmark : kBenchmarks) {
    std::fprintf(out, "  %-10s %s\n", benchmark.name.data(), benchmark.what);
  }
  std::fputs("\nExample: trireme bench engine configs/models/trireme-demo --batch 1,32\n", out);
}

}  // namespace

int run_bench(int argc, char** argv) {
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  const std::string_view name = argv[1];
  if (name == "--help" || name == "-h") {
    print_usage(stdout);
    return 0;
  }
  for (const Benchmark& benchmark : kBenchmarks) {
    if (benchmark.name == name) return benchmark.run(argc - 1, argv + 1);
  }
  std::fprintf(stderr, "error: there is no benchmark \"%s\"\n", argv[1]);
  return 2;
}

}  // namespace trireme::cli
