// The ops that other families than Llama need, on shapes of published models.
#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cli/ops_bench.h"

namespace trireme::cli {
namespace {

using kernels::Activation;
using kernels::PackedWeight;

constexpr int64_t kBlockSize = 32;

struct AttentionCase {
  const char* name;
  int64_t n_heads;
  int64_t n_kv_heads;
  int64_t head_dim;
  int64_t n_seqs;
  int64_t n_queries;
  int64_t n_keys;
  int32_t window = 0;
  float softcap = 0;
};

// Index tensors of a batch of equal sequences in shuffled blocks.
struct Sequences {
  std::vector<int32_t> blocks;
  std::vector<int32_t> starts{0};
  std::vector<int32_t> contexts;

  Sequences(int64_t n_seqs, int64_t n_queries, int64_t n_keys)
      : blocks(static_cast<size_t>(n_seqs * n_keys / kBlockSize)) {
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    for (int64_t s = 0; s < n_seqs; ++s) {
      starts.push_back(static_cast<int32_t>((s + 1) * n_queries));
      contexts.push_back(static_cast<int32_t>(n_keys));
    }
  }
  int64_t n_blocks() const { return static_cast<int64_t>(blocks.size()); }
  TensorView block_table() {
    const auto n_seqs = static_cast<int64_t>(contexts.size());
    return {blocks.data(), DType::kI32, {n_seqs, n_blocks() / n_seqs}};
  }
  TensorView query_start() {
    return {starts.data(), DType::kI32, {static_cast<int64_t>(starts.size())}};
  }
  TensorView context_len() {
    return {contexts.data(), DType::kI32, {static_cast<int64_t>(contexts.size())}};
  }
};

std::string describe(int64_t n_seqs, int64_t n_queries, int64_t n_keys) {
  return std::to_string(n_seqs) + " x " + std::to_string(n_queries) + " queries, " +
         std::to_string(n_keys) + " keys";
}

class FamilyOps {
 public:
  explicit FamilyOps(OpsBench* bench) : bench_(*bench) {}

  Status run() {
    if (bench_.wanted("families")) {
      TRY(bench_attention({"one head per key head", 32, 32, 64, 1, 1, 2048}));
      TRY(bench_attention({"one head per key head", 32, 32, 128, 8, 1, 1024}));
      TRY(bench_attention({"one key head", 8, 1, 256, 4, 1, 2048}));
      TRY(bench_attention({"window 512", 32, 8, 64, 1, 1, 8192, 512}));
      TRY(bench_attention({"window 512", 32, 8, 64, 1, 256, 2048, 512}));
      TRY(bench_attention({"softcap", 32, 8, 64, 1, 256, 2048, 0, 50}));
      TRY(bench_rows());
    }
    if (bench_.wanted("latent")) {
      TRY(bench_latent(1, 1, 4096));
      TRY(bench_latent(16, 1, 512));
      TRY(bench_latent(1, 256, 2048));
    }
    if (bench_.wanted("moe")) TRY(bench_moe());
    return {};
  }

 private:
  // Keys that the queries of one sequence see together, or that one row sees on average.
  static double seen_keys(const AttentionCase& c) {
    double seen = 0;
    for (int64_t i = 0; i < c.n_queries; ++i) {
      const int64_t position = c.n_keys - c.n_queries + i;
      seen += static_cast<double>(c.window > 0 ? std::min<int64_t>(position + 1, c.window)
                                               : position + 1);
    }
    return seen / static_cast<double>(c.n_queries);
  }

  Status bench_attention(const AttentionCase& c) {
    const size_t n_kept = bench_.n_tensors();
    Sequences sequences(c.n_seqs, c.n_queries, c.n_keys);
    const int64_t n_tokens = c.n_seqs * c.n_queries;
    ASSIGN_OR_RETURN(
        const TensorView k,
        bench_.tensor(DType::kBF16, {sequences.n_blocks(), c.n_kv_heads, kBlockSize, c.head_dim},
                      1));
    ASSIGN_OR_RETURN(
        const TensorView v,
        bench_.tensor(DType::kBF16, {sequences.n_blocks(), c.n_kv_heads, kBlockSize, c.head_dim},
                      1));
    ASSIGN_OR_RETURN(const TensorView q,
                     bench_.tensor(DType::kF32, {n_tokens, c.n_heads, c.head_dim}, 1));
    ASSIGN_OR_RETURN(const TensorView out,
                     bench_.tensor(DType::kBF16, {n_tokens, c.n_heads, c.head_dim}, 1));
    const int64_t span = c.window > 0 ? std::min(c.n_keys, c.window + c.n_queries) : c.n_keys;
    const OpsWork work{
        .bytes = 4.0 * static_cast<double>(c.n_seqs * span * c.n_kv_heads * c.head_dim),
        .flops = 4.0 * static_cast<double>(n_tokens * c.n_heads * c.head_dim) * seen_keys(c)};
    bench_.measure("paged_attention: " + std::string(c.name),
                   describe(c.n_seqs, c.n_queries, c.n_keys) + ", " + std::to_string(c.n_heads) +
                       " on " + std::to_string(c.n_kv_heads) + " heads of " +
                       std::to_string(c.head_dim),
                   work, [&] {
                     bench_.backend().paged_attention({.q = q,
                                                       .k_cache = k,
                                                       .v_cache = v,
                                                       .block_table = sequences.block_table(),
                                                       .query_start = sequences.query_start(),
                                                       .context_len = sequences.context_len(),
                                                       .scale = 0.125f,
                                                       .out = out,
                                                       .window = c.window,
                                                       .softcap = c.softcap},
                                                      {});
                   });
    bench_.release(n_kept);
    return {};
  }

  // DeepSeek-V2-Lite: 16 heads, a latent of 512 and 64 rotated channels.
  Status bench_latent(int64_t n_seqs, int64_t n_queries, int64_t n_keys) {
    constexpr int64_t kHeads = 16, kRank = 512, kChannels = 576;
    const size_t n_kept = bench_.n_tensors();
    Sequences sequences(n_seqs, n_queries, n_keys);
    const int64_t n_tokens = n_seqs * n_queries;
    ASSIGN_OR_RETURN(const TensorView cache,
                     bench_.tensor(DType::kBF16, {sequences.n_blocks(), kBlockSize, kChannels}, 1));
    ASSIGN_OR_RETURN(const TensorView q,
                     bench_.tensor(DType::kF32, {n_tokens, kHeads, kChannels}, 1));
    ASSIGN_OR_RETURN(const TensorView out,
                     bench_.tensor(DType::kF32, {n_tokens, kHeads, kRank}, 1));
    const double seen = static_cast<double>(n_keys) - static_cast<double>(n_queries - 1) / 2;
    const OpsWork work{
        .bytes = static_cast<double>(cache.bytes()),
        .flops = 2.0 * static_cast<double>(n_tokens * kHeads * (kChannels + kRank)) * seen};
    bench_.measure("latent_attention",
                   describe(n_seqs, n_queries, n_keys) + ", 16 heads of 512 + 64", work, [&] {
                     bench_.backend().latent_attention({.q = q,
                                                        .cache = cache,
                                                        .block_table = sequences.block_table(),
                                                        .query_start = sequences.query_start(),
                                                        .context_len = sequences.context_len(),
                                                        .rank = kRank,
                                                        .scale = 0.05f,
                                                        .out = out},
                                                       {});
                   });
    bench_.release(n_kept);
    return {};
  }

  Status bench_rows() {
    constexpr int64_t kRows = 256, kFfn = 8192, kHeads = 32, kHeadDim = 64;
    const size_t n_kept = bench_.n_tensors();
    ASSIGN_OR_RETURN(const TensorView x, bench_.tensor(DType::kF32, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView weight, bench_.tensor(DType::kF32, {kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView out, bench_.tensor(DType::kBF16, {kRows, kHidden}, 1));
    ASSIGN_OR_RETURN(const TensorView gate_up, bench_.tensor(DType::kF32, {kRows, 2 * kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView ffn, bench_.tensor(DType::kBF16, {kRows, kFfn}, 1));
    ASSIGN_OR_RETURN(const TensorView inv_freq, bench_.tensor(DType::kF32, {kHeadDim / 2}, 1));
    const auto size = [](const TensorView& view) { return static_cast<double>(view.bytes()); };
    kernels::Backend& backend = bench_.backend();
    bench_.measure("layer_norm", "256 x 2048", {.bytes = size(x)}, [&] {
      backend.layer_norm({x, weight, weight, 1e-5f, out}, {});
    });
    const TensorView heads = x.split_columns(kHeads, kHeadDim);
    bench_.measure("head_rms_norm", "256 x 32 heads of 64", {.bytes = size(x)}, [&] {
      backend.head_rms_norm({heads, weight.rows(0, kHeadDim), 1e-5f}, {});
    });
    bench_.measure("gated_activation: gelu", "256 x 8192", {.bytes = size(gate_up)}, [&] {
      backend.gated_activation({gate_up, Activation::kGelu, ffn}, {});
    });
    bench_.measure("gated_activation: gelu_tanh", "256 x 8192", {.bytes = size(gate_up)}, [&] {
      backend.gated_activation({gate_up, Activation::kGeluTanh, ffn}, {});
    });
    bench_.measure("clamped_swiglu", "256 x 8192", {.bytes = size(gate_up)},
                   [&] { backend.clamped_swiglu({.gate_up = gate_up, .out = ffn}, {}); });
    bench_.measure("softcap", "256 x 16384", {.bytes = size(gate_up)}, [&] {
      backend.softcap({gate_up, 30}, {});
    });
    std::vector<int32_t> positions(kRows, 5);
    bench_.measure("rope: interleaved", "256 x 32 heads of 64, positions known", {.bytes = size(x)},
                   [&] {
                     backend.rope({.q = heads,
                                   .positions = {positions.data(), DType::kI32, {kRows}},
                                   .inv_freq = inv_freq,
                                   .layout = kernels::RopeLayout::kInterleaved},
                                  {});
                   });
    bench_.release(n_kept);
    return {};
  }

  // A rank's share of DeepSeek-V2-Lite's routed experts: 16 of 1408 channels, of which a token
  // takes 2.
  static constexpr int64_t kExperts = 16, kTopK = 2, kHidden = 2048, kWidth = 1408,
                           kMaxTokens = 256;

  struct Moe {
    std::vector<std::unique_ptr<PackedWeight>> owned;
    std::vector<const PackedWeight*> gate_up;
    std::vector<const PackedWeight*> down;
    std::vector<int32_t> ids, token_of_row, expert_start, row_of_choice;
    TensorView x, logits, weights, rows, wide, activated, out;
  };

  Status bench_moe() {
    const size_t n_kept = bench_.n_tensors();
    Moe m;
    for (int64_t e = 0; e < kExperts; ++e) {
      ASSIGN_OR_RETURN(auto gate_up, bench_.weight(2 * kWidth, kHidden));
      ASSIGN_OR_RETURN(auto down, bench_.weight(kHidden, kWidth));
      m.gate_up.push_back(gate_up.get());
      m.down.push_back(down.get());
      m.owned.push_back(std::move(gate_up));
      m.owned.push_back(std::move(down));
    }
    constexpr int64_t kMaxRows = kMaxTokens * kTopK;
    ASSIGN_OR_RETURN(m.x, bench_.tensor(DType::kBF16, {kMaxTokens, kHidden}, 1));
    ASSIGN_OR_RETURN(m.logits, bench_.tensor(DType::kF32, {kMaxTokens, kExperts}, 1));
    ASSIGN_OR_RETURN(m.weights, bench_.tensor(DType::kF32, {kMaxTokens, kTopK}, 1));
    ASSIGN_OR_RETURN(m.rows, bench_.tensor(DType::kBF16, {kMaxRows, kHidden}, 1));
    ASSIGN_OR_RETURN(m.wide, bench_.tensor(DType::kF32, {kMaxRows, 2 * kWidth}, 1));
    ASSIGN_OR_RETURN(m.activated, bench_.tensor(DType::kBF16, {kMaxRows, kWidth}, 1));
    ASSIGN_OR_RETURN(m.out, bench_.tensor(DType::kF32, {kMaxRows, kHidden}, 1));
    m.ids.resize(kMaxRows);
    m.token_of_row.resize(kMaxRows);
    m.expert_start.resize(kExperts + 1);
    m.row_of_choice.resize(kMaxRows);
    for (const int64_t n_tokens : {1, 8, 32, 256}) measure_moe(&m, n_tokens);
    bench_.release(n_kept);
    return {};
  }

  void measure_moe(Moe* m, int64_t n_tokens) {
    kernels::Backend& backend = bench_.backend();
    const int64_t n_rows = n_tokens * kTopK;
    const TensorView ids(m->ids.data(), DType::kI32, {n_tokens, kTopK});
    const TensorView token_of_row(m->token_of_row.data(), DType::kI32, {n_rows});
    const TensorView expert_start(m->expert_start.data(), DType::kI32, {kExperts + 1});
    const TensorView row_of_choice(m->row_of_choice.data(), DType::kI32, {n_tokens, kTopK});
    const TensorView weights = m->weights.rows(0, n_tokens);
    const TensorView rows = m->rows.rows(0, n_rows);
    const TensorView out = m->out.rows(0, n_rows);
    const auto route = [&] {
      backend.moe_route(
          {.logits = m->logits.rows(0, n_tokens), .expert_ids = ids, .weights = weights}, {});
    };
    const auto index = [&] {
      backend.moe_dispatch({.expert_ids = ids,
                            .n_local_experts = kExperts,
                            .token_of_row = token_of_row,
                            .expert_start = expert_start,
                            .row_of_choice = row_of_choice},
                           {});
      backend.moe_gather({.x = m->x.rows(0, n_tokens),
                          .token_of_row = token_of_row,
                          .expert_start = expert_start,
                          .row_of_choice = row_of_choice,
                          .out = rows},
                         {});
    };
    const auto linears = [&] {
      const TensorView wide = m->wide.rows(0, n_rows);
      const TensorView activated = m->activated.rows(0, n_rows);
      backend.grouped_linear({rows, m->gate_up, {}, expert_start, wide}, {});
      backend.gated_activation({.gate_up = wide, .out = activated}, {});
      backend.grouped_linear({activated, m->down, {}, expert_start, out}, {});
    };
    route();
    index();
    int64_t n_active = 0;
    double weight_bytes = 0;
    for (size_t e = 0; e < kExperts; ++e) {
      if (m->expert_start[e] == m->expert_start[e + 1]) continue;
      ++n_active;
      weight_bytes += static_cast<double>(m->gate_up[e]->bytes() + m->down[e]->bytes());
    }
    const std::string shape = std::to_string(n_tokens) + " tokens, " + std::to_string(n_active) +
                              " of 16 experts, 2048 to 1408 to 2048";
    bench_.measure("moe: grouped_linear, gated_activation, grouped_linear", shape,
                   {.bytes = weight_bytes,
                    .flops = 6.0 * static_cast<double>(n_rows * kHidden * kWidth),
                    .in_bf16 = bench_.in_bf16()},
                   linears);
    const double row_bytes = static_cast<double>(n_rows * kHidden);
    bench_.measure("moe: route", shape, {.bytes = static_cast<double>(n_tokens * kExperts) * 4},
                   route);
    bench_.measure("moe: dispatch, gather", shape, {.bytes = 4 * row_bytes}, index);
    bench_.measure("moe: combine", shape, {.bytes = 4 * row_bytes}, [&] {
      backend.moe_combine(
          {out, row_of_choice, weights, m->wide.rows(0, n_tokens).columns(0, kHidden)}, {});
    });
  }

  OpsBench& bench_;
};

}  // namespace

Status bench_family_ops(OpsBench* bench) { return FamilyOps(bench).run(); }

}  // namespace trireme::cli
