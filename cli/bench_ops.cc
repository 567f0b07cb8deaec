// `trireme bench ops`: every kernel beside the machine's limit. Here those of Llama, on the
// Llama-3.2-1B shape; those of other families are in bench_ops_families.cc, those of low-bit
// weights in bench_ops_low_bit.cc.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/ops_bench.h"
#include "cli/usage_error.h"

namespace trireme::cli {
namespace {

using kernels::PackedWeight;

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

class LlamaOps {
 public:
  explicit LlamaOps(OpsBench* bench) : bench_(*bench) {}

  Status run() {
    TRY(bench_linears());
    if (bench_.wanted("attention")) {
      for (const DType cache : {DType::kBF16, DType::kE4M3}) {
        TRY(bench_attention(cache, 1, 1, 2048));
        TRY(bench_attention(cache, 1, 1, 8192));
        TRY(bench_attention(cache, 16, 1, 512));
        TRY(bench_attention(cache, 1, 256, 256));
        TRY(bench_attention(cache, 1, 256, 2048));
      }
    }
    if (bench_.wanted("rows")) TRY(bench_rows());
    return {};
  }

 private:
  struct Shape {
    const char* name;
    int64_t out;
    int64_t in;
    std::vector<std::unique_ptr<PackedWeight>> layers = {};
  };

  Status bench_linears() {
    if (!bench_.wanted("linear") && !bench_.wanted("layer") && !bench_.wanted("vocabulary"))
      return {};
    Shape shapes[] = {{"qkv", kQkv, kHidden},
                      {"o", kHidden, kHidden},
                      {"gate_up", 2 * kFfn, kHidden},
                      {"down", kHidden, kFfn}};
    double packed_bytes = 0;
    for (Shape& shape : shapes) {
      for (int layer = 0; layer < kLayers; ++layer) {
        ASSIGN_OR_RETURN(auto packed, bench_.weight(shape.out, shape.in));
        packed_bytes += static_cast<double>(packed->bytes());
        shape.layers.push_back(std::move(packed));
      }
    }
    ASSIGN_OR_RETURN(const TensorView x, bench_.tensor(DType::kBF16, {256, kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView out, bench_.tensor(DType::kF32, {256, 2 * kFfn}, 1));
    const auto run = [&](const Shape& shape, int layer, int64_t rows) {
      bench_.backend().linear({.x = x.rows(0, rows).columns(0, shape.in),
                               .weight = shape.layers[static_cast<size_t>(layer)].get(),
                               .out = out.rows(0, rows).columns(0, shape.out)},
                              {});
    };
    for (const int64_t rows : {1, 4, 8, 32, 256}) {
      if (bench_.wanted("layer")) {
        int layer = 0;
        OpsWork work{.bytes = packed_bytes / kLayers, .in_bf16 = bench_.in_bf16()};
        for (const Shape& s : shapes) work.flops += 2.0 * static_cast<double>(rows * s.out * s.in);
        bench_.measure("linear: all of a layer", std::to_string(rows) + " rows", work, [&] {
          for (const Shape& shape : shapes) run(shape, layer, rows);
          layer = (layer + 1) % kLayers;
        });
      }
      for (const Shape& shape : shapes) {
        if (!bench_.wanted("linear")) break;
        int layer = 0;
        const auto bytes = static_cast<double>(shape.layers[0]->bytes());
        const OpsWork work{bytes, 2.0 * static_cast<double>(rows * shape.out * shape.in),
                           bench_.in_bf16()};
        bench_.measure(std::string("linear: ") + shape.name, describe(rows, shape.out, shape.in),
                       work, [&] {
                         run(shape, layer, rows);
                         layer = (layer + 1) % kLayers;
                       });
      }
    }
    return bench_.wanted("vocabulary") ? bench_vocabulary(x) : Status();
  }

  static std::string describe(int64_t rows, int64_t out, int64_t in) {
    return std::to_string(rows) + " rows, " + std::to_string(in) + " to " + std::to_string(out);
  }

  Status bench_vocabulary(const TensorView& x) {
    const size_t n_kept = bench_.n_tensors();
    ASSIGN_OR_RETURN(const TensorView host,
                     bench_.tensor(DType::kBF16, {kVocabulary, kHidden}, 0.02f));
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(const auto packed, bench_.backend().pack_weight(host));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const auto bytes = static_cast<double>(packed->bytes());
    const double read = bench_.read_bytes_per_second();
    bench_.print("pack_weight", describe(0, kVocabulary, kHidden).substr(8), bytes / seconds / 1e9,
                 read / 1e9, "GB/s", 100 * bytes / seconds / read);
    bench_.release(n_kept);
    ASSIGN_OR_RETURN(const TensorView out, bench_.tensor(DType::kF32, {32, kVocabulary}, 1));
    for (const int64_t rows : {1, 32}) {
      const OpsWork work{bytes, 2.0 * static_cast<double>(rows * kVocabulary * kHidden),
                         bench_.in_bf16()};
      bench_.measure("linear: vocabulary", describe(rows, kVocabulary, kHidden), work, [&] {
        bench_.backend().linear({.x = x.rows(0, rows).columns(0, kHidden),
                                 .weight = packed.get(),
                                 .out = out.rows(0, rows)},
                                {});
      });
    }
    ASSIGN_OR_RETURN(const TensorView max, bench_.tensor(DType::kF32, {32}, 1));
    ASSIGN_OR_RETURN(const TensorView sum, bench_.tensor(DType::kF32, {32}, 1));
    bench_.measure("row_max_log_sum_exp", "32 x 128256",
                   {.bytes = static_cast<double>(out.bytes())}, [&] {
                     bench_.backend().row_max_log_sum_exp({out, max, sum}, {});
                   });
    return {};
  }

  Status bench_attention(DType cache, int64_t n_seqs, int64_t n_queries, int64_t n_keys) {
    const int64_t seq_blocks = n_keys / kBlockSize;
    const int64_t n_blocks = n_seqs * seq_blocks;
    const int64_t n_tokens = n_seqs * n_queries;
    ASSIGN_OR_RETURN(const TensorView k,
                     bench_.tensor(cache, {n_blocks, kKvHeads, kBlockSize, kHeadDim}, 1));
    ASSIGN_OR_RETURN(const TensorView v,
                     bench_.tensor(cache, {n_blocks, kKvHeads, kBlockSize, kHeadDim}, 1));
    ASSIGN_OR_RETURN(const TensorView q,
                     bench_.tensor(DType::kF32, {n_tokens, kHeads, kHeadDim}, 1));
    ASSIGN_OR_RETURN(const TensorView out,
                     bench_.tensor(DType::kBF16, {n_tokens, kHeads, kHeadDim}, 1));
    std::vector<int32_t> blocks, starts{0}, contexts;
    for (int64_t i = 0; i < n_blocks; ++i) blocks.push_back(static_cast<int32_t>(i));
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    for (int64_t s = 0; s < n_seqs; ++s) {
      starts.push_back(static_cast<int32_t>((s + 1) * n_queries));
      contexts.push_back(static_cast<int32_t>(n_keys));
    }
    // A query sees the keys up to itself: multiply-adds for the scores and for the mix of values.
    const double seen = static_cast<double>(n_keys) - static_cast<double>(n_queries - 1) / 2;
    const OpsWork work{.bytes = static_cast<double>(k.bytes() + v.bytes()),
                       .flops = 4.0 * static_cast<double>(n_tokens * kHeads * kHeadDim) * seen};
    bench_.measure("paged_attention",
                   std::to_string(n_seqs) + " x " + std::to_string(n_queries) + " queries, " +
                       std::to_string(n_keys) + " keys in " + std::string(to_string(cache)),
                   work, [&] {
                     bench_.backend().paged_attention(
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
    ASSIGN_OR_RETURN(const TensorView x, bench_.tensor(DType::kF32, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView y, bench_.tensor(DType::kF32, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView norm, bench_.tensor(DType::kF32, {kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView out, bench_.tensor(DType::kBF16, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView gate_up, bench_.tensor(DType::kF32, {kRows, 2 * kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView ffn, bench_.tensor(DType::kBF16, {kRows, kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView qkv, bench_.tensor(DType::kF32, {kRows, kQkv}, 1));
    ASSIGN_OR_RETURN(const TensorView inv_freq, bench_.tensor(DType::kF32, {kHeadDim / 2}, 1));
    const auto size = [](const TensorView& view) { return static_cast<double>(view.bytes()); };
    bench_.measure("rms_norm", "256 x 2048", {.bytes = size(x)}, [&] {
      bench_.backend().rms_norm({x, norm, 1e-5f, out}, {});
    });
    bench_.measure("add_rms_norm", "256 x 2048", {.bytes = 2 * size(x)}, [&] {
      bench_.backend().add_rms_norm({x, y, norm, 1e-5f, out}, {});
    });
    bench_.measure("gated_activation: silu", "256 x 8192", {.bytes = size(gate_up)}, [&] {
      bench_.backend().gated_activation({.gate_up = gate_up, .out = ffn}, {});
    });
    const TensorView q = qkv.columns(0, kHidden).split_columns(kHeads, kHeadDim);
    const TensorView k =
        qkv.columns(kHidden, kHidden + kKvHeads * kHeadDim).split_columns(kKvHeads, kHeadDim);
    std::vector<int32_t> positions(kRows);
    bench_.measure(
        "rope", "256 x 40 heads of 64, new positions each time", {.bytes = size(qkv) * 5 / 6}, [&] {
          for (int32_t& p : positions) ++p;
          bench_.backend().rope({q, k, {positions.data(), DType::kI32, {kRows}}, inv_freq, 1}, {});
        });
    return {};
  }

  OpsBench& bench_;
};

Status bench_ops(const OpsBenchOptions& options) {
  ASSIGN_OR_RETURN(const auto bench, OpsBench::create(options));
  bench->print_limits();
  TRY(LlamaOps(bench.get()).run());
  TRY(bench_family_ops(bench.get()));
  return bench_low_bit_ops(bench.get());
}

}  // namespace

int run_bench_ops(int argc, char** argv) {
  OpsBenchOptions options;
  CLI::App app(
      "Times every kernel against this machine's limit: on the Llama-3.2-1B shape, and on those of "
      "other families.",
      "trireme bench ops");
  app.footer("Example: trireme bench ops --threads 1 --only layer");
  app.add_option("--threads", options.n_threads, "threads; 0 is every core")
      ->check(CLI::Range(0, 1024));
  app.add_option("--compute-dtype", options.compute, "bf16 or f32")
      ->check(CLI::IsMember({"bf16", "f32"}));
  app.add_option("--rounds", options.n_rounds, "rounds, of which the median counts")
      ->check(CLI::Range(1, 1000));
  app.add_option("--only", options.only,
                 "one group: layer, linear, vocabulary, attention, rows, families, latent, moe, "
                 "low_bit")
      ->check(CLI::IsMember({"layer", "linear", "vocabulary", "attention", "rows", "families",
                             "latent", "moe", "low_bit"}));
  app.add_option("--clock", options.clock,
                 "wall, or cpu: processor time of one thread, for a machine that others use too")
      ->check(CLI::IsMember({"wall", "cpu"}));
  bool json = false;
  app.add_flag("--json", json, "accepted for symmetry: the output is JSON lines in any case");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
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
