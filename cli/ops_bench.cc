#include "cli/ops_bench.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "base/json.h"
#include "cli/bench_line.h"

namespace trireme::cli {
namespace {

using kernels::cpu::LimitMeter;
using kernels::cpu::MachineLimits;

constexpr size_t kLimitBytes = size_t{512} << 20;

double now_seconds() {
  const auto t = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(t).count();
}

// Time that the calling thread was on a processor.
double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Result<std::unique_ptr<OpsBench>> OpsBench::create(const OpsBenchOptions& options) {
  const auto compute =
      options.compute == "f32" ? kernels::ComputeDType::kF32 : kernels::ComputeDType::kBF16;
  ASSIGN_OR_RETURN(auto backend, kernels::make_cpu_backend(
                                     {.compute_dtype = compute, .n_threads = options.n_threads}));
  const int n_threads = options.n_threads > 0
                            ? options.n_threads
                            : static_cast<int>(std::thread::hardware_concurrency());
  ASSIGN_OR_RETURN(auto meter, LimitMeter::create(n_threads, kLimitBytes));
  return std::unique_ptr<OpsBench>(new OpsBench(options, std::move(backend), std::move(meter)));
}

OpsBench::OpsBench(const OpsBenchOptions& options, std::unique_ptr<kernels::Backend> backend,
                   std::unique_ptr<LimitMeter> meter)
    : options_(options),
      backend_(std::move(backend)),
      meter_(std::move(meter)),
      machine_(machine_description()),
      commit_(checkout_commit()) {}

void OpsBench::print(const std::string& what, const std::string& shape, double figure, double limit,
                     const std::string& unit, double percent) {
  Json line;
  line["what"] = what;
  line["shape"] = shape;
  line["figure"] = figure;
  line["unit"] = unit;
  line["limit"] = limit;
  line["limit_unit"] = unit;
  line["percent_of_limit"] = percent;
  line["machine"] = machine_ + ", " + backend_->description() +
                    (options_.clock == "cpu" ? ", processor time" : "");
  line["commit"] = commit_;
  std::puts(line.dump().c_str());
  std::fflush(stdout);
}

void OpsBench::print_limits() {
  const MachineLimits limits = meter_->measure(0.6);
  print("limit: memory read", "512 MiB", limits.read_bytes_per_second / 1e9,
        limits.read_bytes_per_second / 1e9, "GB/s", 100);
  print("limit: f32 multiply-add", "registers", limits.f32_flops / 1e9, limits.f32_flops / 1e9,
        "GFLOP/s", 100);
  if (limits.bf16_flops > 0) {
    print("limit: bf16 dot product", "registers", limits.bf16_flops / 1e9, limits.bf16_flops / 1e9,
          "GFLOP/s", 100);
  }
}

double OpsBench::clock_seconds() const {
  return options_.clock == "cpu" ? thread_seconds() : now_seconds();
}

void OpsBench::measure(const std::string& what, const std::string& shape, const OpsWork& work,
                       const std::function<void()>& kernel) {
  kernel();  // scratch and pages come into being
  std::vector<double> seconds, floors, ratios;
  bool bound_by_memory = true;
  for (int round = 0; round < options_.n_rounds; ++round) {
    const MachineLimits limits = meter_->measure(0.15);
    const double memory = work.bytes / limits.read_bytes_per_second;
    const double compute =
        work.flops / (work.in_bf16 ? limits.bf16_compute_flops() : limits.f32_flops);
    // The best of a few runs, as for the limit: a round is short, and somebody else's slice of
    // the processor is not ours.
    double best = 1e30;
    const double start = now_seconds();
    double end = start;
    for (int n_runs = 0; n_runs < 3 || end - start < 0.1; ++n_runs) {
      const double run_start = clock_seconds();
      kernel();
      best = std::min(best, clock_seconds() - run_start);
      end = now_seconds();
    }
    bound_by_memory = memory >= compute;
    seconds.push_back(best);
    floors.push_back(std::max(memory, compute));
    ratios.push_back(floors.back() / seconds.back());
  }
  const double amount = bound_by_memory ? work.bytes : work.flops;
  print(what, shape, amount / median(seconds) / 1e9, amount / median(floors) / 1e9,
        bound_by_memory ? "GB/s" : "GFLOP/s", 100 * median(ratios));
}

Result<TensorView> OpsBench::tensor(DType dtype, std::initializer_list<int64_t> shape,
                                    float deviation) {
  TensorView view(nullptr, dtype, shape);
  ASSIGN_OR_RETURN(auto buffer, backend_->allocate(view.bytes()));
  view.data = buffer->data();
  buffers_.push_back(std::move(buffer));
  // A cheap generator: hundreds of megabytes are filled. Uniform, with this standard deviation.
  const float step = deviation * 3.4641016f / 65536;
  for (int64_t i = 0; i < view.numel(); ++i) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    const float value = (static_cast<float>(state_ >> 48) - 32767.5f) * step;
    if (dtype == DType::kF32) view.as<float>()[i] = value;
    if (dtype == DType::kBF16) view.as<bf16>()[i] = to_bf16(value);
    if (dtype == DType::kE4M3) view.as<e4m3>()[i] = to_e4m3(value);
  }
  return view;
}

Result<std::unique_ptr<kernels::PackedWeight>> OpsBench::weight(int64_t out, int64_t in) {
  const size_t n_kept = buffers_.size();
  ASSIGN_OR_RETURN(const TensorView host, tensor(DType::kBF16, {out, in}, 0.02f));
  auto packed = backend_->pack_weight(host);
  buffers_.resize(n_kept);
  return packed;
}

}  // namespace trireme::cli
