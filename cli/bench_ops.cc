// `trireme bench ops`: every kernel on the Llama-3.2-1B shape, beside the machine's limit measured
// in the same run.
//
// Each figure is a median of rounds, and each round measures the limit right before the kernel: on
// a machine that is shared, the two rise and fall together.
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/commands.h"
#include "kernels/backend.h"
#include "kernels/cpu/machine_limits.h"

namespace trireme::cli {
namespace {

using kernels::Backend;
using kernels::Buffer;
using kernels::PackedWeight;
using kernels::cpu::LimitMeter;
using kernels::cpu::MachineLimits;

// Llama-3.2-1B.
constexpr int64_t kHidden = 2048;
constexpr int64_t kFfn = 8192;
constexpr int64_t kHeads = 32;
constexpr int64_t kKvHeads = 8;
constexpr int64_t kHeadDim = 64;
constexpr int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int64_t kVocabulary = 128256;
constexpr int64_t kBlockSize = 32;
// Four layers are 486 MB of bf16: no cache holds them from one round to the next.
constexpr int kLayers = 4;
constexpr size_t kLimitBytes = size_t{512} << 20;

struct Options {
  int n_threads = 1;
  std::string compute = "bf16";
  int n_rounds = 5;
  std::string only;
  std::string clock = "wall";
};

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

// What one run of a kernel has to do at least.
struct Work {
  double bytes = 0;  // read from memory
  double flops = 0;
  bool in_bf16 = false;
};

class OpsBench {
 public:
  OpsBench(const Options& options, std::unique_ptr<Backend> backend,
           std::unique_ptr<LimitMeter> meter)
      : options_(options),
        backend_(std::move(backend)),
        meter_(std::move(meter)),
        machine_(machine_description()),
        commit_(checkout_commit()) {}

  Status run() {
    print_limits();
    TRY(bench_linears());
    if (wanted("attention")) {
      TRY(bench_attention(1, 1, 2048));
      TRY(bench_attention(16, 1, 512));
      TRY(bench_attention(1, 256, 256));
      TRY(bench_attention(1, 256, 2048));
    }
    if (wanted("rows")) TRY(bench_rows());
    return {};
  }

 private:
  bool wanted(const std::string& group) const {
    return options_.only.empty() || options_.only == group;
  }

  void print(const std::string& what, const std::string& shape, double figure, double limit,
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

  void print_limits() {
    const MachineLimits limits = meter_->measure(0.6);
    print("limit: memory read", "512 MiB", limits.read_bytes_per_second / 1e9,
          limits.read_bytes_per_second / 1e9, "GB/s", 100);
    print("limit: f32 multiply-add", "registers", limits.f32_flops / 1e9, limits.f32_flops / 1e9,
          "GFLOP/s", 100);
    if (limits.bf16_flops > 0) {
      print("limit: bf16 dot product", "registers", limits.bf16_flops / 1e9,
            limits.bf16_flops / 1e9, "GFLOP/s", 100);
    }
  }

  double clock_seconds() const {
    return options_.clock == "cpu" ? thread_seconds() : now_seconds();
  }

  // Times `kernel`, which does `work`, against the larger of its two floors.
  void measure(const std::string& what, const std::string& shape, const Work& work,
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

  Result<TensorView> tensor(DType dtype, std::initializer_list<int64_t> shape, float deviation) {
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
    }
    return view;
  }

  Result<std::unique_ptr<PackedWeight>> weight(int64_t out, int64_t in) {
    const size_t n_kept = buffers_.size();
    ASSIGN_OR_RETURN(const TensorView host, tensor(DType::kBF16, {out, in}, 0.02f));
    auto packed = backend_->pack_weight(host);
    buffers_.resize(n_kept);
    return packed;
  }

  bool in_bf16() const { return backend_->compute_dtype() == kernels::ComputeDType::kBF16; }

  struct Shape {
    const char* name;
    int64_t out;
    int64_t in;
    std::vector<std::unique_ptr<PackedWeight>> layers = {};
  };

  Status bench_linears() {
    if (!wanted("linear") && !wanted("layer") && !wanted("vocabulary")) return {};
    Shape shapes[] = {{"qkv", kQkv, kHidden},
                      {"o", kHidden, kHidden},
                      {"gate_up", 2 * kFfn, kHidden},
                      {"down", kHidden, kFfn}};
    double packed_bytes = 0;
    for (Shape& shape : shapes) {
      for (int layer = 0; layer < kLayers; ++layer) {
        ASSIGN_OR_RETURN(auto packed, weight(shape.out, shape.in));
        packed_bytes += static_cast<double>(packed->bytes());
        shape.layers.push_back(std::move(packed));
      }
    }
    ASSIGN_OR_RETURN(const TensorView x, tensor(DType::kBF16, {256, kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView out, tensor(DType::kF32, {256, 2 * kFfn}, 1));
    const auto run = [&](const Shape& shape, int layer, int64_t rows) {
      backend_->linear({.x = x.rows(0, rows).columns(0, shape.in),
                        .weight = shape.layers[static_cast<size_t>(layer)].get(),
                        .out = out.rows(0, rows).columns(0, shape.out)},
                       {});
    };
    for (const int64_t rows : {1, 4, 8, 32, 256}) {
      if (wanted("layer")) {
        int layer = 0;
        Work work{.bytes = packed_bytes / kLayers, .in_bf16 = in_bf16()};
        for (const Shape& s : shapes) work.flops += 2.0 * static_cast<double>(rows * s.out * s.in);
        measure("linear: all of a layer", std::to_string(rows) + " rows", work, [&] {
          for (const Shape& shape : shapes) run(shape, layer, rows);
          layer = (layer + 1) % kLayers;
        });
      }
      for (const Shape& shape : shapes) {
        if (!wanted("linear")) break;
        int layer = 0;
        const auto bytes = static_cast<double>(shape.layers[0]->bytes());
        const Work work{bytes, 2.0 * static_cast<double>(rows * shape.out * shape.in), in_bf16()};
        measure(std::string("linear: ") + shape.name, describe(rows, shape.out, shape.in), work,
                [&] {
                  run(shape, layer, rows);
                  layer = (layer + 1) % kLayers;
                });
      }
    }
    return wanted("vocabulary") ? bench_vocabulary(x) : Status();
  }

  static std::string describe(int64_t rows, int64_t out, int64_t in) {
    return std::to_string(rows) + " rows, " + std::to_string(in) + " to " + std::to_string(out);
  }

  Status bench_vocabulary(const TensorView& x) {
    const size_t n_kept = buffers_.size();
    ASSIGN_OR_RETURN(const TensorView host, tensor(DType::kBF16, {kVocabulary, kHidden}, 0.02f));
    const double start = now_seconds();
    ASSIGN_OR_RETURN(const auto packed, backend_->pack_weight(host));
    const double seconds = now_seconds() - start;
    const auto bytes = static_cast<double>(packed->bytes());
    const double read = meter_->measure(0.15).read_bytes_per_second;
    print("pack_weight", describe(0, kVocabulary, kHidden).substr(8), bytes / seconds / 1e9,
          read / 1e9, "GB/s", 100 * bytes / seconds / read);
    buffers_.resize(n_kept);
    ASSIGN_OR_RETURN(const TensorView out, tensor(DType::kF32, {32, kVocabulary}, 1));
    for (const int64_t rows : {1, 32}) {
      const Work work{bytes, 2.0 * static_cast<double>(rows * kVocabulary * kHidden), in_bf16()};
      measure("linear: vocabulary", describe(rows, kVocabulary, kHidden), work, [&] {
        backend_->linear({.x = x.rows(0, rows).columns(0, kHidden),
                          .weight = packed.get(),
                          .out = out.rows(0, rows)},
                         {});
      });
    }
    ASSIGN_OR_RETURN(const TensorView max, tensor(DType::kF32, {32}, 1));
    ASSIGN_OR_RETURN(const TensorView sum, tensor(DType::kF32, {32}, 1));
    measure("row_max_log_sum_exp", "32 x 128256", {.bytes = static_cast<double>(out.bytes())}, [&] {
      backend_->row_max_log_sum_exp({out, max, sum}, {});
    });
    return {};
  }

  Status bench_attention(int64_t n_seqs, int64_t n_queries, int64_t n_keys) {
    const int64_t seq_blocks = n_keys / kBlockSize;
    const int64_t n_blocks = n_seqs * seq_blocks;
    const int64_t n_tokens = n_seqs * n_queries;
    ASSIGN_OR_RETURN(const TensorView k,
                     tensor(DType::kBF16, {n_blocks, kKvHeads, kBlockSize, kHeadDim}, 1));
    ASSIGN_OR_RETURN(const TensorView v,
                     tensor(DType::kBF16, {n_blocks, kKvHeads, kBlockSize, kHeadDim}, 1));
    ASSIGN_OR_RETURN(const TensorView q, tensor(DType::kF32, {n_tokens, kHeads, kHeadDim}, 1));
    ASSIGN_OR_RETURN(const TensorView out, tensor(DType::kBF16, {n_tokens, kHeads, kHeadDim}, 1));
    std::vector<int32_t> blocks, starts{0}, contexts;
    for (int64_t i = 0; i < n_blocks; ++i) blocks.push_back(static_cast<int32_t>(i));
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    for (int64_t s = 0; s < n_seqs; ++s) {
      starts.push_back(static_cast<int32_t>((s + 1) * n_queries));
      contexts.push_back(static_cast<int32_t>(n_keys));
    }
    // A query sees the keys up to itself: multiply-adds for the scores and for the mix of values.
    const double seen = static_cast<double>(n_keys) - static_cast<double>(n_queries - 1) / 2;
    const Work work{.bytes = static_cast<double>(k.bytes() + v.bytes()),
                    .flops = 4.0 * static_cast<double>(n_tokens * kHeads * kHeadDim) * seen};
    measure("paged_attention",
            std::to_string(n_seqs) + " x " + std::to_string(n_queries) + " queries, " +
                std::to_string(n_keys) + " keys",
            work, [&] {
              backend_->paged_attention(
                  {.q = q,
                   .k_cache = k,
                   .v_cache = v,
                   .block_table = {blocks.data(), DType::kI32, {n_seqs, seq_blocks}},
                   .query_start = {starts.data(), DType::kI32, {n_seqs + 1}},
                   .context_len = {contexts.data(), DType::kI32, {n_seqs}},
                   .scale = 0.125f,
                   .out = out},
                  {});
            });
    return {};
  }

  Status bench_rows() {
    constexpr int64_t kRows = 256;
    ASSIGN_OR_RETURN(const TensorView x, tensor(DType::kF32, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView y, tensor(DType::kF32, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView norm, tensor(DType::kF32, {kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView out, tensor(DType::kBF16, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView gate_up, tensor(DType::kF32, {kRows, 2 * kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView ffn, tensor(DType::kBF16, {kRows, kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView qkv, tensor(DType::kF32, {kRows, kQkv}, 1));
    ASSIGN_OR_RETURN(const TensorView inv_freq, tensor(DType::kF32, {kHeadDim / 2}, 1));
    const auto size = [](const TensorView& view) { return static_cast<double>(view.bytes()); };
    measure("rms_norm", "256 x 2048", {.bytes = size(x)}, [&] {
      backend_->rms_norm({x, norm, 1e-5f, out}, {});
    });
    measure("add_rms_norm", "256 x 2048", {.bytes = 2 * size(x)}, [&] {
      backend_->add_rms_norm({x, y, norm, 1e-5f, out}, {});
    });
    measure("gated_activation: silu", "256 x 8192", {.bytes = size(gate_up)}, [&] {
      backend_->gated_activation({.gate_up = gate_up, .out = ffn}, {});
    });
    const TensorView q = qkv.columns(0, kHidden).split_columns(kHeads, kHeadDim);
    const TensorView k =
        qkv.columns(kHidden, kHidden + kKvHeads * kHeadDim).split_columns(kKvHeads, kHeadDim);
    std::vector<int32_t> positions(kRows);
    measure("rope", "256 x 40 heads of 64, new positions each time", {.bytes = size(qkv) * 5 / 6},
            [&] {
              for (int32_t& p : positions) ++p;
              backend_->rope({q, k, {positions.data(), DType::kI32, {kRows}}, inv_freq, 1}, {});
            });
    return {};
  }

  Options options_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<LimitMeter> meter_;
  std::string machine_;
  std::string commit_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  uint64_t state_ = 42;
};

Status bench_ops(const Options& options) {
  const auto compute =
      options.compute == "f32" ? kernels::ComputeDType::kF32 : kernels::ComputeDType::kBF16;
  ASSIGN_OR_RETURN(auto backend, kernels::make_cpu_backend(
                                     {.compute_dtype = compute, .n_threads = options.n_threads}));
  const int n_threads = options.n_threads > 0
                            ? options.n_threads
                            : static_cast<int>(std::thread::hardware_concurrency());
  ASSIGN_OR_RETURN(auto meter, LimitMeter::create(n_threads, kLimitBytes));
  return OpsBench(options, std::move(backend), std::move(meter)).run();
}

}  // namespace

int run_bench_ops(int argc, char** argv) {
  Options options;
  CLI::App app("Times every kernel on the Llama-3.2-1B shape against this machine's limit.",
               "trireme bench ops");
  app.footer("Example: trireme bench ops --threads 1 --only layer");
  app.add_option("--threads", options.n_threads, "threads; 0 is every core")
      ->check(CLI::Range(0, 1024));
  app.add_option("--compute-dtype", options.compute, "bf16 or f32")
      ->check(CLI::IsMember({"bf16", "f32"}));
  app.add_option("--rounds", options.n_rounds, "rounds, of which the median counts")
      ->check(CLI::Range(1, 1000));
  app.add_option("--only", options.only, "one group: layer, linear, vocabulary, attention, rows")
      ->check(CLI::IsMember({"layer", "linear", "vocabulary", "attention", "rows"}));
  app.add_option("--clock", options.clock,
                 "wall, or cpu: processor time of one thread, for a machine that others use too")
      ->check(CLI::IsMember({"wall", "cpu"}));
  bool json = false;
  app.add_flag("--json", json, "accepted for symmetry: the output is JSON lines in any case");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (options.clock == "cpu" && options.n_threads != 1) {
    std::fputs("error: --clock cpu measures one thread; give --threads 1 with it\n", stderr);
    return 2;
  }
  const Status status = bench_ops(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", status.error().message.c_str());
  return 1;
}

}  // namespace trireme::cli
