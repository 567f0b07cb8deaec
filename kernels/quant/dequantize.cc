#include "kernels/quant/dequantize.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/quant/gguf_blocks.h"

namespace trireme::kernels::quant {
namespace {

// `decode` turns one block of N elements in B bytes into f32.
template <int N, int B, void (*decode)(const uint8_t*, float*)>
void dequantize_blocks(const uint8_t* row, int64_t begin, int64_t end, float* out) {
  float edge[N];
  for (int64_t at = begin; at < end;) {
    const int64_t index = at / N;
    const int64_t block_end = std::min((index + 1) * N, end);
    if (at == index * N && block_end == (index + 1) * N) {
      decode(row + index * B, out);
    } else {
      decode(row + index * B, edge);
      std::copy(edge + (at - index * N), edge + (block_end - index * N), out);
    }
    out += block_end - at;
    at = block_end;
  }
}

template <int B, float (*decode)(const uint8_t*)>
void convert_elements(const uint8_t* row, int64_t begin, int64_t end, float* out) {
  for (int64_t i = begin; i < end; ++i) *out++ = decode(row + i * B);
}

}  // namespace

void dequantize_row(GgufType type, const uint8_t* row, int64_t begin, int64_t end, float* out) {
  switch (type) {
    case GgufType::kF32:
      return convert_elements<4, load_f32>(row, begin, end, out);
    case GgufType::kF16:
      return convert_elements<2, load_f16>(row, begin, end, out);
    case GgufType::kBF16:
      return convert_elements<2, load_bf16>(row, begin, end, out);
    case GgufType::kQ4_0:
      return dequantize_blocks<32, 18, dequantize_q4_0>(row, begin, end, out);
    case GgufType::kQ4_1:
      return dequantize_blocks<32, 20, dequantize_q4_1>(row, begin, end, out);
    case GgufType::kQ5_0:
      return dequantize_blocks<32, 22, dequantize_q5_0>(row, begin, end, out);
    case GgufType::kQ5_1:
      return dequantize_blocks<32, 24, dequantize_q5_1>(row, begin, end, out);
    case GgufType::kQ8_0:
      return dequantize_blocks<32, 34, dequantize_q8_0>(row, begin, end, out);
    case GgufType::kIQ4_NL:
      return dequantize_blocks<32, 18, dequantize_iq4_nl>(row, begin, end, out);
    case GgufType::kMXFP4:
      return dequantize_blocks<32, 17, dequantize_mxfp4>(row, begin, end, out);
    case GgufType::kQ2_K:
      return dequantize_blocks<256, 84, dequantize_q2_k>(row, begin, end, out);
    case GgufType::kQ3_K:
      return dequantize_blocks<256, 110, dequantize_q3_k>(row, begin, end, out);
    case GgufType::kQ4_K:
      return dequantize_blocks<256, 144, dequantize_q4_k>(row, begin, end, out);
    case GgufType::kQ5_K:
      return dequantize_blocks<256, 176, dequantize_q5_k>(row, begin, end, out);
    case GgufType::kQ6_K:
      return dequantize_blocks<256, 210, dequantize_q6_k>(row, begin, end, out);
    case GgufType::kIQ4_XS:
      return dequantize_blocks<256, 136, dequantize_iq4_xs>(row, begin, end, out);
  }
  CHECK(false) << "unknown block type " << static_cast<uint32_t>(type);
}

}  // namespace trireme::kernels::quant
