// IsaKernels: the inner loops of the CPU backend, once per instruction set.
//
// Each instruction set has one .cc file, compiled with its own flags, that fills one of these
// tables; nothing else in the backend depends on the instruction set. Those files use no inline
// function of other headers: the linker could otherwise keep a copy that was compiled for a newer
// machine than it runs on.
//
// Every function computes one row (or several independent ones) on the calling thread. A row's
// instructions and their order depend on its own length alone, which is what makes the backend
// batch-invariant.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/dtype.h"

namespace trireme::kernels::cpu {

// Output features per panel of a packed weight, and keys per tile of attention.
inline constexpr int kPanelWidth = 64;

// sums[r][o] = (accumulate ? sums[r][o] : 0) + sum_u x[r][u] * panel[u][o], for one panel of
// kPanelWidth outputs, u in ascending order. What a unit is, the function says: one f32, or a pair
// of neighbouring inputs.
struct PanelGemm {
  const void* x = nullptr;      // n_rows rows of n_units units
  int64_t x_stride = 0;         // elements of x between rows
  int64_t n_rows = 0;           //
  const void* panel = nullptr;  // [n_units][kPanelWidth], 4 bytes each
  int64_t n_units = 0;
  int64_t unit_words = kPanelWidth;  // 4-byte words between units; packed weights have no gaps
  float* sums = nullptr;
  int64_t sums_stride = 0;
  bool accumulate = false;
};

// Attention of consecutive query tokens of one sequence for query heads that share a key head.
struct AttentionItem {
  const float* q = nullptr;  // first token, first head of the group
  int64_t q_stride = 0;      // f32s between tokens
  int64_t n_tokens = 0;
  int64_t group = 0;           // query heads; they stand next to each other
  int64_t key_dim = 0;         // channels of queries and keys
  int64_t value_dim = 0;       // channels of values and of the output
  int64_t first_position = 0;  // of the first token
  int64_t n_keys = 0;          // some token sees keys [0, n_keys)
  bool causal = true;          // false: every token sees them all
  float scale = 1;
  int64_t window = 0;            // position p sees keys j > p - window only; 0: all
  int64_t chunk = 0;             // and keys j >= p - p % chunk only; 0: all
  float softcap = 0;             // 0: none
  const float* sinks = nullptr;  // [group], or null

  DType cache_dtype = DType::kF32;
  float value_scale = 1;  // of what is cached
  // Of e4m3: LowBitKernels::expand.
  void (*expand_e4m3)(const uint32_t* units, int64_t n_units, uint32_t* pairs) = nullptr;
  const void* k_cache = nullptr;  // at this key head, in block 0; keys follow each other
  const void* v_cache = nullptr;
  int64_t value_stride = 0;  // elements between values
  int64_t block_stride = 0;  // elements between blocks
  int64_t block_size = 0;    // keys, a multiple of 16
  const int32_t* blocks = nullptr;

  DType out_dtype = DType::kF32;
  void* out = nullptr;     // like q
  int64_t out_stride = 0;  // elements between tokens
  float* scratch = nullptr;
};

// n rounded up to whole panels.
constexpr int64_t whole_panels(int64_t n) {
  return (n + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
}

// f32s of scratch that an item with n_rows = n_tokens * group needs.
constexpr int64_t attention_scratch_size(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
  const int64_t keys = whole_panels(key_dim);
  const int64_t values = whole_panels(value_dim);
  // Queries, scores, outputs, maxima and sums of every row; keys as rows and transposed; values.
  return n_rows * (keys + values + kPanelWidth + 2) + kPanelWidth * (2 * keys + values);
}

// A unit of e2m1 codes: 32 inputs of kPanelWidth outputs, [4][kPanelWidth] words of eight codes,
// and then the outputs' scales [kPanelWidth] as exponents plus 127, a byte each.
inline constexpr int64_t kScaledUnitCodeWords = int64_t{4} * kPanelWidth;
inline constexpr int64_t kScaledUnitWords = kScaledUnitCodeWords + kPanelWidth / 4;

// Groups of a panel's units, whose sums are scaled one by one:
// sums[r][o] = sum_g (part[r][g][o] - input_sums[r][g] * offsets[g][o]) * scales[g][o].
// A product may be of some of the panel's units; sums are complete when the last ones have come.
struct PanelGroups {
  int64_t first_unit = 0;             // of the panel; those before it have been added
  int64_t n_units = 0;                // of the panel
  int64_t group_units = 0;            // the last group ends with the panel
  const float* scales = nullptr;      // [n_groups][kPanelWidth]
  const float* offsets = nullptr;     // the same, or null: none
  const float* input_sums = nullptr;  // of each row's inputs by group, where there are offsets
  int64_t input_sums_stride = 0;
  float* parts = nullptr;  // [n_rows][kPanelWidth], sums of the group that a product ended in
};

// Low-bit panels (low_bit_weight.h): codes of one kind, in units of a word, 4 or 8 inputs.
struct LowBitKernels {
  // The product with low-bit units as they lie, every code standing for e4m3(code), code - 8, or
  // the code itself; x holds f32s. The same bits as by `expand` and then groups_bf16_as_f32.
  void (*groups_f32)(const PanelGemm&, const PanelGroups&) = nullptr;
  // The same of pairs of bf16 inputs, as by groups_bf16; null where there is none.
  void (*groups_bf16)(const PanelGemm&, const PanelGroups&) = nullptr;
  // Units to the units of bf16 pairs that stand for the same, [n_units * inputs per unit / 2].
  void (*expand)(const uint32_t* units, int64_t n_units, uint32_t* pairs) = nullptr;
};
// The same of scaled units: no groups are left.
struct ScaledUnitKernels {
  void (*gemm_f32)(const PanelGemm&) = nullptr;
  void (*gemm_bf16)(const PanelGemm&) = nullptr;
  void (*expand)(const uint32_t* units, int64_t n_units, uint32_t* pairs) = nullptr;
};
// Products with a piece of a low-bit panel that was expanded into pairs of bf16, and is near.
struct ExpandedKernels {
  void (*gemm_bf16_as_f32)(const PanelGemm&) = nullptr;
  void (*gemm_bf16)(const PanelGemm&) = nullptr;
  void (*groups_bf16_as_f32)(const PanelGemm&, const PanelGroups&) = nullptr;
  void (*groups_bf16)(const PanelGemm&, const PanelGroups&) = nullptr;
};

struct IsaKernels {
  const char* name = "";

  // Units are one f32 each.
  void (*gemm_f32)(const PanelGemm&) = nullptr;
  // Units are pairs of bf16 weights, expanded exactly; x holds two f32 per unit.
  void (*gemm_bf16_as_f32)(const PanelGemm&) = nullptr;
  // Units are pairs of bf16 weights and of bf16 inputs, multiplied by one instruction. Null where
  // there is none.
  void (*gemm_bf16)(const PanelGemm&) = nullptr;

  LowBitKernels e4m3;
  LowBitKernels int4;
  LowBitKernels int8;
  ScaledUnitKernels e2m1;
  ExpandedKernels expanded;
  // sums[i] = the sum of group i of a row of f32 or bf16, n a multiple of 16, as is group_size.
  void (*sum_groups)(const void* x, DType dtype, int64_t n, int64_t group_size,
                     float* sums) = nullptr;

  // panel[u][r] = rows[r][u] for n_rows <= kPanelWidth rows of 4-byte units; missing rows are
  // zeros.
  void (*transpose_to_panel)(const uint32_t* rows, int64_t row_stride, int64_t n_rows,
                             int64_t n_units, uint32_t* panel) = nullptr;

  void (*to_f32)(const void* from, DType from_dtype, int64_t n, float* to) = nullptr;
  void (*from_f32)(const float* from, int64_t n, DType to_dtype, void* to) = nullptr;
  void (*convert_scaled)(const void* from, DType from_dtype, float factor, int64_t n,
                         DType to_dtype, void* to) = nullptr;
  // to = from + bias, bias may be null.
  void (*add_bias)(const float* from, const float* bias, int64_t n, DType to_dtype,
                   void* to) = nullptr;
  // y += scale * x.
  void (*add)(const float* x, float scale, int64_t n, float* y) = nullptr;
  // out = x * factor * weight, weight may be null.
  void (*scale)(const float* x, float factor, const float* weight, int64_t n, DType out_dtype,
                void* out) = nullptr;
  float (*sum_squares)(const float* x, int64_t n) = nullptr;
  // x += delta_scale * delta where delta is not null, then out = rms_norm(x). Weight may be null.
  void (*rms_norm)(float* x, const float* delta, float delta_scale, const float* weight, float eps,
                   int64_t n, DType out_dtype, void* out) = nullptr;
  // Weight and bias may be null.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                     DType out_dtype, void* out) = nullptr;
  // out = activation(x) * up, up may be null.
  void (*activate)(const float* x, const float* up, Activation activation, int64_t n,
                   DType out_dtype, void* out) = nullptr;
  void (*clamped_swiglu)(const float* gate, const float* up, float alpha, float limit, int64_t n,
                         DType out_dtype, void* out) = nullptr;
  void (*sigmoid)(const float* x, int64_t n, float* out) = nullptr;
  void (*exp_minus)(const float* x, float offset, int64_t n, float* out) = nullptr;
  void (*softcap)(float* x, float cap, int64_t n) = nullptr;
  // Rotates the channel pairs (i, i + half) of n_heads heads.
  void (*rope)(float* heads, int64_t n_heads, int64_t head_dim, int64_t half, const float* cos,
               const float* sin) = nullptr;
  // Rotates the channel pairs (2i, 2i + 1): cos and sin have one value per channel, those of sin at
  // even channels negated.
  void (*rope_interleaved)(float* heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim,
                           const float* cos, const float* sin) = nullptr;
  void (*max_sum_exp)(const float* x, int64_t n, float* max, float* sum_exp) = nullptr;
  void (*attention)(const AttentionItem&) = nullptr;

  // What the machine can do at most, for benchmarks: n rounds of independent multiply-adds, and a
  // read of memory. Each returns a value that depends on all of its work.
  float (*spin_f32)(int64_t n_rounds) = nullptr;
  int64_t spin_f32_flops = 0;  // per round
  float (*spin_bf16)(int64_t n_rounds) = nullptr;
  int64_t spin_bf16_flops = 0;
  uint64_t (*read_memory)(const void* memory, size_t bytes) = nullptr;  // bytes: a multiple of 512
};

IsaKernels portable_kernels();
// These two are linked on x86-64 only, and run only where the processor has what their names say.
IsaKernels avx2_kernels();    // AVX2, FMA, F16C
IsaKernels avx512_kernels();  // AVX-512 F, BW, VL, DQ
// Adds the bf16 dot product of AVX512_BF16 to a table.
void add_avx512_bf16(IsaKernels* kernels);
// Adds faster products with e4m3 codes, by lookups of bytes, to a table that has the dot product.
void add_avx512_vbmi(IsaKernels* kernels);

}  // namespace trireme::kernels::cpu
