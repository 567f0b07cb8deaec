#include "parallel/comm/rank_order_sum.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace trireme::comm {
namespace {

// Partial sums of this many elements stay in the first-level cache while the ranks' terms are
// added.
constexpr int64_t kBlock = 1024;
using Accumulator = std::array<float, kBlock>;

void add_terms(const float* terms, float* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += terms[i];
}
void add_terms(const bf16* terms, float* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += to_f32(terms[i]);
}
void load_terms(const float* terms, float* sums, int64_t n) {
  std::memcpy(sums, terms, static_cast<size_t>(n) * sizeof(float));
}
void load_terms(const bf16* terms, float* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] = to_f32(terms[i]);
}
void store_sums(const float* sums, float* out, int64_t n) {
  std::memcpy(out, sums, static_cast<size_t>(n) * sizeof(float));
}
void store_sums(const float* sums, bf16* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_bf16(sums[i]);
}

// All terms of a block are read before its sums are written, so `out` may be an input.
template <typename T>
void sum_blocks(const std::vector<const std::byte*>& inputs, std::byte* out, int64_t count) {
  Accumulator sums;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    load_terms(reinterpret_cast<const T*>(inputs[0]) + begin, sums.data(), n);
    for (size_t r = 1; r < inputs.size(); ++r) {
      add_terms(reinterpret_cast<const T*>(inputs[r]) + begin, sums.data(), n);
    }
    store_sums(sums.data(), reinterpret_cast<T*>(out) + begin, n);
  }
}

}  // namespace

bool can_sum(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

void sum_in_rank_order(DType dtype, const std::vector<const std::byte*>& inputs, std::byte* out,
                       int64_t count) {
  CHECK(can_sum(dtype)) << "cannot sum " << dtype;
  CHECK(!inputs.empty());
  if (dtype == DType::kF32) {
    sum_blocks<float>(inputs, out, count);
  } else {
    sum_blocks<bf16>(inputs, out, count);
  }
}

}  // namespace trireme::comm
