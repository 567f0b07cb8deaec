// Linear layers whose weights stay low-bit, each right after the same layer in bf16: group
// "low_bit".
#include <array>
#include <string>
#include <vector>

#include "cli/ops_bench.h"
#include "kernels/low_bit.h"

namespace trireme::cli {
namespace {

using kernels::LowBitCode;
using kernels::LowBitMatrix;
using kernels::PackedWeight;

// A gate and up projection of Llama-3.1-8B for one of two ranks; four of them are more than caches
// hold.
constexpr int64_t kIn = 4096;
constexpr int64_t kOut = 14336;
constexpr int kLayers = 4;

struct Form {
  const char* name;
  LowBitCode code;
  int64_t group_size;
  bool zeros;
};
constexpr Form kForms[] = {{"e4m3, a scale per row", LowBitCode::kE4M3, kIn, false},
                           {"e4m3, blocks of 128", LowBitCode::kE4M3, 128, false},
                           {"int8, a scale per row", LowBitCode::kInt8, kIn, false},
                           {"e2m1", LowBitCode::kE2M1, kernels::kE2M1Group, false},
                           {"int4, groups of 128", LowBitCode::kInt4, 128, false},
                           {"int4, groups of 128, zero points", LowBitCode::kInt4, 128, true}};

using Layers = std::array<std::unique_ptr<PackedWeight>, kLayers>;

Result<Layers> make_layers(OpsBench* bench, const Form& form) {
  const int64_t n_groups = kIn / form.group_size;
  const int64_t columns = kernels::low_bit_columns(form.code, kIn);
  const DType dtype = kernels::low_bit_codes_dtype(form.code);
  std::vector<uint32_t> codes(static_cast<size_t>(kOut * columns) * size_of(dtype) / 4);
  uint64_t state = 7;
  for (uint32_t& word : codes) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    // No byte of ones: e4m3 has no number for it.
    word = static_cast<uint32_t>(state >> 32) & 0xf7f7f7f7u;
  }
  std::vector<float> scales(static_cast<size_t>(kOut * n_groups), 0.01f);
  std::vector<uint8_t> exponents(scales.size(), 120);
  std::vector<uint8_t> zeros(scales.size(), 7);
  LowBitMatrix m{.code = form.code, .in_features = kIn, .group_size = form.group_size};
  m.codes = TensorView(codes.data(), dtype, {kOut, columns});
  m.scales = form.code == LowBitCode::kE2M1
                 ? TensorView(exponents.data(), DType::kU8, {kOut, n_groups})
                 : TensorView(scales.data(), DType::kF32, {kOut, n_groups});
  if (form.zeros) m.zeros = TensorView(zeros.data(), DType::kU8, {kOut, n_groups});
  Layers layers;
  for (auto& layer : layers) {
    ASSIGN_OR_RETURN(layer, bench->backend().pack_low_bit(m));
  }
  return layers;
}

}  // namespace

Status bench_low_bit_ops(OpsBench* bench) {
  if (!bench->wanted("low_bit")) return {};
  ASSIGN_OR_RETURN(const TensorView x, bench->tensor(DType::kBF16, {256, kIn}, 1));
  ASSIGN_OR_RETURN(const TensorView out, bench->tensor(DType::kF32, {256, kOut}, 1));
  Layers plain;
  for (auto& layer : plain) {
    ASSIGN_OR_RETURN(layer, bench->weight(kOut, kIn));
  }
  const auto measure = [&](const std::string& what, const Layers& layers, int64_t rows) {
    int layer = 0;
    const OpsWork work{static_cast<double>(layers[0]->bytes()),
                       2.0 * static_cast<double>(rows * kOut * kIn), bench->in_bf16()};
    bench->measure(
        "linear: " + what,
        std::to_string(rows) + " rows, " + std::to_string(kIn) + " to " + std::to_string(kOut),
        work, [&] {
          bench->backend().linear({.x = x.rows(0, rows),
                                   .weight = layers[static_cast<size_t>(layer)].get(),
                                   .out = out.rows(0, rows)},
                                  {});
          layer = (layer + 1) % kLayers;
        });
  };
  for (const Form& form : kForms) {
    ASSIGN_OR_RETURN(const Layers layers, make_layers(bench, form));
    for (const int64_t rows : {1, 8, 32, 256}) {
      measure("plain", plain, rows);
      measure(form.name, layers, rows);
    }
  }
  return {};
}

}  // namespace trireme::cli
