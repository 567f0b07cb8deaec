// `trireme bench gpu`: the kernels that a model's step is made of, on the first GPU, with the
// shapes of Llama-3.1-8B. Each line has a rate beside the device's measured copy rate or bf16 rate.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/bench_line.h"
#include "cli/bench_peer_sum.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_limits.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/term_sum.h"

namespace trireme::cli {
namespace {

using kernels::Backend;
using kernels::Buffer;
using kernels::PackedWeight;

// Llama-3.1-8B.
constexpr int64_t kHidden = 4096;
constexpr int64_t kFfn = 14336;
constexpr int64_t kHeads = 32;
constexpr int64_t kKvHeads = 8;
constexpr int64_t kHeadDim = 128;
constexpr int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int64_t kBlockSize = 32;
// Weights in turn, so that no cache holds them from one call to the next.
constexpr int kCopies = 4;
// Calls between two waits for the device: long enough that starting them is hidden.
constexpr double kRoundSeconds = 0.02;

struct Work {
  double bytes = 0;
  double flops = 0;
};

class GpuBench {
 public:
  GpuBench(std::unique_ptr<Backend> backend, const kernels::cpu::MachineLimits& limits,
           int n_rounds)
      : backend_(std::move(backend)), limits_(limits), n_rounds_(n_rounds) {}

  Status run() {
    print("limit: copy inside the device", "1 GiB", limits_.read_bytes_per_second * 1e-9,
          limits_.read_bytes_per_second * 1e-9, "GB/s");
    print("limit: bf16 product, random data", "8192 x 8192 x 8192", limits_.bf16_flops * 1e-12,
          limits_.bf16_flops * 1e-12, "TFLOP/s");
    TRY(linears());
    for (const auto& [n_seqs, n_keys] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1024}, {1, 8192}, {64, 1024}, {64, 8192}}) {
      TRY(attention(DType::kBF16, n_seqs, 1, n_keys));
      TRY(attention(DType::kE4M3, n_seqs, 1, n_keys));
    }
    TRY(attention(DType::kBF16, 1, 2048, 2048));
    TRY(attention(DType::kBF16, 4, 2048, 2048));
    for (const auto& [n_queries, n_keys] :
         std::vector<std::pair<int64_t, int64_t>>{{512, 4096}, {2048, 2048}, {8192, 8192}}) {
      prefill_kernels(n_queries, n_keys);
    }
    TRY(rows());
    for (const int n_terms : {2, 8}) TRY(term_sum(n_terms));
    return bench_peer_sums(n_rounds_, [&](const PeerSumTime& time) {
      print("all_reduce+norm, " + std::to_string(time.n_ranks) + " ranks, no link",
            std::to_string(time.n_rows) + " rows of " + std::to_string(time.width) + ", " +
                std::to_string(static_cast<int>(time.seconds * 1e6 + 0.5)) + " us",
            time.bytes / time.seconds * 1e-9, limits_.read_bytes_per_second * 1e-9, "GB/s");
    });
  }

 private:
  void print(const std::string& what, const std::string& shape, double figure, double limit,
             const char* unit) {
    Json line;
    line["what"] = what;
    line["shape"] = shape;
    line["figure"] = figure;
    line["unit"] = unit;
    line["limit"] = limit;
    line["percent_of_limit"] = 100 * figure / limit;
    line["machine"] = machine_ + ", " + backend_->description();
    line["commit"] = commit_;
    std::puts(line.dump().c_str());
    std::fflush(stdout);
  }

  double seconds_of(int n_calls, const std::function<void()>& call) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < n_calls; ++i) call();
    backend_->synchronize({});
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  void measure(const std::string& what, const std::string& shape, const Work& work,
               const std::function<void()>& call) {
    call();
    backend_->synchronize({});
    const double once = seconds_of(3, call) / 3;
    const int n_calls = std::clamp(static_cast<int>(kRoundSeconds / once), 3, 2000);
    std::vector<double> seconds;
    seconds.reserve(static_cast<size_t>(n_rounds_));
    for (int i = 0; i < n_rounds_; ++i) seconds.push_back(seconds_of(n_calls, call) / n_calls);
    std::nth_element(seconds.begin(), seconds.begin() + n_rounds_ / 2, seconds.end());
    const double median = seconds[static_cast<size_t>(n_rounds_ / 2)];
    const double memory = work.bytes / limits_.read_bytes_per_second;
    const double compute = work.flops / limits_.bf16_flops;
    if (memory >= compute) {
      print(what, shape, work.bytes / median * 1e-9, limits_.read_bytes_per_second * 1e-9, "GB/s");
    } else {
      print(what, shape, work.flops / median * 1e-12, limits_.bf16_flops * 1e-12, "TFLOP/s");
    }
  }

  // Random values: a few megabytes of them over and over.
  Result<TensorView> tensor(DType dtype, std::initializer_list<int64_t> shape) {
    TensorView view(nullptr, dtype, shape);
    ASSIGN_OR_RETURN(auto buffer, backend_->allocate(view.bytes()));
    view.data = buffer->data();
    buffers_.push_back(std::move(buffer));
    if (values_.empty()) {
      std::normal_distribution<float> normal(0, 0.5f);
      for (int i = 0; i < (1 << 20); ++i) values_.push_back(normal(random_));
      for (const float value : values_) rounded_.push_back(to_bf16(value));
      for (const float value : values_) codes_.push_back(to_e4m3(value));
    }
    const void* from = dtype == DType::kF32    ? static_cast<const void*>(values_.data())
                       : dtype == DType::kE4M3 ? static_cast<const void*>(codes_.data())
                                               : static_cast<const void*>(rounded_.data());
    const size_t piece = (size_t{1} << 20) * size_of(dtype);
    for (size_t at = 0; at < view.bytes(); at += piece) {
      backend_->copy_to_device(static_cast<char*>(view.data) + at, from,
                               std::min(piece, view.bytes() - at), {});
    }
    backend_->synchronize({});
    return view;
  }

  template <typename T>
  Result<TensorView> upload(const std::vector<T>& values, std::initializer_list<int64_t> shape) {
    TensorView view(nullptr, dtype_of<T>(), shape);
    ASSIGN_OR_RETURN(auto buffer, backend_->allocate(view.bytes()));
    view.data = buffer->data();
    buffers_.push_back(std::move(buffer));
    backend_->copy_to_device(view.data, values.data(), view.bytes(), {});
    backend_->synchronize({});
    return view;
  }

  Status linears() {
    struct Shape {
      const char* name;
      int64_t out;
      int64_t in;
    };
    for (const Shape& shape : {Shape{"qkv", kQkv, kHidden}, Shape{"o", kHidden, kHidden},
                               Shape{"gate_up", 2 * kFfn, kHidden}, Shape{"down", kHidden, kFfn}}) {
      std::vector<std::unique_ptr<PackedWeight>> weights;
      std::vector<bf16> host(static_cast<size_t>(shape.out * shape.in));
      for (size_t i = 0; i < host.size(); ++i) {
        host[i] = to_bf16(static_cast<float>(static_cast<int>(i * 2654435761u >> 24) - 128) / 4096);
      }
      for (int i = 0; i < kCopies; ++i) {
        ASSIGN_OR_RETURN(auto packed, backend_->pack_weight(TensorView(host.data(), DType::kBF16,
                                                                       {shape.out, shape.in})));
        weights.push_back(std::move(packed));
      }
      const size_t n_kept = buffers_.size();
      ASSIGN_OR_RETURN(const TensorView x, tensor(DType::kBF16, {2048, shape.in}));
      ASSIGN_OR_RETURN(const TensorView out, tensor(DType::kF32, {2048, shape.out}));
      for (const int64_t rows : {1, 2, 4, 8, 16, 32, 64, 256, 2048}) {
        size_t turn = 0;
        const Work work{static_cast<double>(weights[0]->bytes()),
                        2.0 * static_cast<double>(rows * shape.out * shape.in)};
        measure(std::string("linear: ") + shape.name,
                std::to_string(rows) + " rows, " + std::to_string(shape.in) + " to " +
                    std::to_string(shape.out),
                work, [&] {
                  backend_->linear({.x = x.rows(0, rows),
                                    .weight = weights[turn++ % kCopies].get(),
                                    .bias = {},
                                    .out = out.rows(0, rows)},
                                   {});
                });
      }
      buffers_.resize(n_kept);
    }
    return {};
  }

  Status attention(DType cache, int64_t n_seqs, int64_t n_queries, int64_t n_keys) {
    const size_t n_kept = buffers_.size();
    const int64_t seq_blocks = n_keys / kBlockSize;
    const int64_t n_blocks = n_seqs * seq_blocks;
    const int64_t n_tokens = n_seqs * n_queries;
    ASSIGN_OR_RETURN(const TensorView k, tensor(cache, {n_blocks, kKvHeads, kBlockSize, kHeadDim}));
    ASSIGN_OR_RETURN(const TensorView v, tensor(cache, {n_blocks, kKvHeads, kBlockSize, kHeadDim}));
    ASSIGN_OR_RETURN(const TensorView q, tensor(DType::kF32, {n_tokens, kHeads, kHeadDim}));
    ASSIGN_OR_RETURN(const TensorView out, tensor(DType::kBF16, {n_tokens, kHeads, kHeadDim}));
    std::vector<int32_t> blocks(static_cast<size_t>(n_blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    std::vector<int32_t> starts;
    for (int64_t s = 0; s <= n_seqs; ++s) starts.push_back(static_cast<int32_t>(s * n_queries));
    const std::vector<int32_t> contexts(static_cast<size_t>(n_seqs), static_cast<int32_t>(n_keys));
    ASSIGN_OR_RETURN(const TensorView table, upload(blocks, {n_seqs, seq_blocks}));
    ASSIGN_OR_RETURN(const TensorView start, upload(starts, {n_seqs + 1}));
    ASSIGN_OR_RETURN(const TensorView context, upload(contexts, {n_seqs}));
    const double seen = static_cast<double>(n_keys) - static_cast<double>(n_queries - 1) / 2;
    const Work work{static_cast<double>(k.bytes() + v.bytes()),
                    4.0 * static_cast<double>(n_tokens * kHeads * kHeadDim) * seen};
    measure("paged_attention",
            std::to_string(n_seqs) + " x " + std::to_string(n_queries) + " queries, " +
                std::to_string(n_keys) + " keys in " + std::string(to_string(cache)),
            work, [&] {
              backend_->paged_attention({.q = q,
                                         .k_cache = k,
                                         .v_cache = v,
                                         .block_table = table,
                                         .query_start = start,
                                         .context_len = context,
                                         .scale = 0.08838835f,
                                         .out = out},
                                        {});
            });
    buffers_.resize(n_kept);
    return {};
  }

  // One sequence through each of the kernels, whichever a backend would choose.
  void prefill_kernels(int64_t n_queries, int64_t n_keys) {
    const auto trial = kernels::cuda::bench_prefill_attention({.n_queries = n_queries,
                                                               .n_keys = n_keys,
                                                               .n_heads = kHeads,
                                                               .n_kv_heads = kKvHeads,
                                                               .head_dim = kHeadDim,
                                                               .block_size = kBlockSize},
                                                              0);
    if (!trial.ok()) {
      std::fprintf(stderr, "prefill attention by wgmma: %s\n", trial.error().message.c_str());
      return;
    }
    const double seen = static_cast<double>(n_keys) - static_cast<double>(n_queries - 1) / 2;
    const double flops = 4.0 * static_cast<double>(n_queries * kHeads * kHeadDim) * seen;
    const std::string shape =
        std::to_string(n_queries) + " queries, " + std::to_string(n_keys) + " keys in bf16";
    const bool right = judge(*trial) != kernels::cuda::PrefillVerdict::kWrong;
    print(right ? "prefill attention: wgmma" : "prefill attention: wgmma, WRONG RESULTS", shape,
          flops / trial->wgmma_seconds * 1e-12, limits_.bf16_flops * 1e-12, "TFLOP/s");
    print("prefill attention: mma", shape, flops / trial->present_seconds * 1e-12,
          limits_.bf16_flops * 1e-12, "TFLOP/s");
  }

  Status rows() {
    for (const int64_t n : {int64_t{64}, int64_t{2048}}) {
      const size_t n_kept = buffers_.size();
      ASSIGN_OR_RETURN(const TensorView x, tensor(DType::kF32, {n, kHidden}));
      ASSIGN_OR_RETURN(const TensorView delta, tensor(DType::kF32, {n, kHidden}));
      ASSIGN_OR_RETURN(const TensorView norm, tensor(DType::kF32, {kHidden}));
      ASSIGN_OR_RETURN(const TensorView h, tensor(DType::kBF16, {n, kHidden}));
      ASSIGN_OR_RETURN(const TensorView gate_up, tensor(DType::kF32, {n, 2 * kFfn}));
      ASSIGN_OR_RETURN(const TensorView ffn, tensor(DType::kBF16, {n, kFfn}));
      const auto bytes = [](const TensorView& view) { return static_cast<double>(view.bytes()); };
      const std::string count = std::to_string(n) + " rows";
      measure("add_rms_norm", count, {3 * bytes(x) + bytes(h), 0}, [&] {
        backend_->add_rms_norm(
            {.residual = x, .delta = delta, .weight = norm, .eps = 1e-5f, .out = h}, {});
      });
      measure("gated_activation", count, {bytes(gate_up) + bytes(ffn), 0},
              [&] { backend_->gated_activation({.gate_up = gate_up, .out = ffn}, {}); });
      buffers_.resize(n_kept);
    }
    return {};
  }

  // What each rank adds of a large sum in rank order, its terms having arrived.
  Status term_sum(int n_terms) {
    constexpr int64_t kElements = int64_t{4} << 20;
    const size_t n_kept = buffers_.size();
    kernels::TermSumArgs args{.n_terms = n_terms, .count = kElements, .dtype = DType::kF32};
    for (int i = 0; i < n_terms; ++i) {
      ASSIGN_OR_RETURN(const TensorView term, tensor(DType::kF32, {kElements}));
      args.terms[static_cast<size_t>(i)] = term.data;
      if (i == 0) args.out = term.data;
    }
    measure("sum in rank order, no link", std::to_string(n_terms) + " terms of 16 MiB",
            {static_cast<double>((n_terms + 1) * kElements * 4), 0},
            [&] { kernels::cuda_term_sum(args, {}); });
    buffers_.resize(n_kept);
    return {};
  }

  std::unique_ptr<Backend> backend_;
  const kernels::cpu::MachineLimits limits_;
  const int n_rounds_;
  const std::string machine_ = machine_description();
  const std::string commit_ = checkout_commit();
  std::mt19937 random_{1};
  std::vector<float> values_;
  std::vector<bf16> rounded_;
  std::vector<e4m3> codes_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

Status bench_gpu(int n_rounds) {
  ASSIGN_OR_RETURN(const auto meter, kernels::cuda::make_device_limit_meter(0));
  ASSIGN_OR_RETURN(auto backend, kernels::make_cuda_backend({}));
  return GpuBench(std::move(backend), meter->measure(0), n_rounds).run();
}

}  // namespace

int run_bench_gpu(int argc, char** argv) {
  int n_rounds = 5;
  CLI::App app("Times the kernels on the first GPU against what it was measured to reach.",
               "trireme bench gpu");
  app.footer("Example: trireme bench gpu --rounds 5");
  app.add_option("--rounds", n_rounds, "rounds, of which the median counts")
      ->check(CLI::Range(1, 1000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const Status status = bench_gpu(n_rounds);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", status.error().message.c_str());
  return 1;
}

}  // namespace trireme::cli
