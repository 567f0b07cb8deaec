// Low-bit weights for the op tests of every backend: random ones of each form, with their owner.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/low_bit.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {

struct LowBitForm {
  const char* name;
  LowBitCode code;
  int64_t group_size;  // 0: whole rows
  bool zeros = false;
  bool ordered = false;
};

inline constexpr LowBitForm kLowBitForms[] = {
    {"e4m3, a scale per row", LowBitCode::kE4M3, 0},
    {"e4m3, blocks of 128", LowBitCode::kE4M3, 128},
    {"e4m3, groups of 64", LowBitCode::kE4M3, 64},
    {"int4, groups of 128", LowBitCode::kInt4, 128},
    {"int4, groups of 128, zero points", LowBitCode::kInt4, 128, true},
    {"int4, groups of 32, zero points", LowBitCode::kInt4, 32, true},
    {"int4, groups of 96", LowBitCode::kInt4, 96},
    {"int4, a group, zero points", LowBitCode::kInt4, 0, true},
    {"int4, groups of 64, zero points, ordered", LowBitCode::kInt4, 64, true, true}};

class LowBitTensor {
 public:
  // Codes over their whole range, scales so that a row's products sum to about 1.
  LowBitTensor(Random* random, const LowBitForm& form, int64_t out, int64_t in) {
    m_.code = form.code;
    m_.in_features = in;
    m_.group_size = form.group_size == 0 ? in : form.group_size;
    const bool is_int4 = form.code == LowBitCode::kInt4;
    const int64_t words = is_int4 ? (in + kInt4PerWord - 1) / kInt4PerWord : in;
    const int64_t groups = (in + m_.group_size - 1) / m_.group_size;
    codes_ = HostTensor(is_int4 ? DType::kI32 : DType::kU8, {out, words});
    auto* bytes = static_cast<uint8_t*>(codes_.view().data);
    for (size_t i = 0; i < codes_.view().bytes(); ++i) {
      bytes[i] = static_cast<uint8_t>(random->integer(0, 255));
      if (!is_int4 && (bytes[i] & 0x7f) == 0x7f) bytes[i] = 1;  // no NaN, a subnormal instead
    }
    const float typical = is_int4 ? 5.0f : 120.0f;
    const float deviation = 1 / (typical * std::sqrt(static_cast<float>(in)));
    scales_ = random->tensor(DType::kF32, {out, groups}, deviation);
    m_.codes = codes_.view();
    m_.scales = scales_.view();
    if (form.zeros) {
      zeros_ = HostTensor(DType::kU8, {out, groups});
      for (int64_t i = 0; i < out * groups; ++i) {
        zeros_.view().as<uint8_t>()[i] = static_cast<uint8_t>(random->integer(0, 16));
      }
      m_.zeros = zeros_.view();
    }
    if (form.ordered) {
      std::vector<int32_t> order(static_cast<size_t>(in));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random->engine());
      order_ = tensor_of(order);
      m_.input_order = order_.view();
    }
  }
  LowBitTensor(const LowBitTensor&) = delete;
  LowBitTensor& operator=(const LowBitTensor&) = delete;

  LowBitMatrix& matrix() { return m_; }

  HostTensor expanded() const {
    HostTensor weights(DType::kF32, {m_.out_features(), m_.in_features});
    for (int64_t o = 0; o < m_.out_features(); ++o) {
      expand_low_bit_row(m_, o, weights.view().row<float>(o));
    }
    return weights;
  }

 private:
  HostTensor codes_;
  HostTensor scales_;
  HostTensor zeros_;
  HostTensor order_;
  LowBitMatrix m_;
};

inline std::unique_ptr<PackedWeight> pack_low_bit(Backend* backend, const LowBitMatrix& matrix) {
  auto packed = backend->pack_low_bit(matrix);
  CHECK(packed.ok()) << packed.error().message;
  return std::move(packed).value();
}

}  // namespace trireme::kernels::testing
