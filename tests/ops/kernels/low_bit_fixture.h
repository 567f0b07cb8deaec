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
    {"int4, groups of 64, zero points, ordered", LowBitCode::kInt4, 64, true, true},
    {"int8, a scale per row", LowBitCode::kInt8, 0},
    {"int8, groups of 128", LowBitCode::kInt8, 128},
    {"e2m1", LowBitCode::kE2M1, kE2M1Group},
    {"e2m1, ordered", LowBitCode::kE2M1, kE2M1Group, false, true}};

class LowBitTensor {
 public:
  // Codes over their whole range, scales so that a row's products sum to about 1.
  LowBitTensor(Random* random, const LowBitForm& form, int64_t out, int64_t in) {
    m_.code = form.code;
    m_.in_features = in;
    m_.group_size = form.group_size == 0 ? in : form.group_size;
    const int64_t groups = (in + m_.group_size - 1) / m_.group_size;
    codes_ = HostTensor(low_bit_codes_dtype(form.code), {out, low_bit_columns(form.code, in)});
    auto* bytes = static_cast<uint8_t*>(codes_.view().data);
    for (size_t i = 0; i < codes_.view().bytes(); ++i) {
      bytes[i] = static_cast<uint8_t>(random->integer(0, 255));
      const bool is_nan = form.code == LowBitCode::kE4M3 && (bytes[i] & 0x7f) == 0x7f;
      if (is_nan) bytes[i] = 1;  // a subnormal instead
    }
    const float deviation = 1 / (typical(form.code) * std::sqrt(static_cast<float>(in)));
    if (form.code == LowBitCode::kE2M1) {
      scales_ = HostTensor(DType::kU8, {out, groups});
      const int middle = kExponentOfOne + std::ilogb(deviation);
      for (int64_t i = 0; i < out * groups; ++i) {
        scales_.view().as<uint8_t>()[i] = static_cast<uint8_t>(middle + random->integer(-2, 2));
      }
    } else {
      scales_ = random->tensor(DType::kF32, {out, groups}, deviation);
    }
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
  static float typical(LowBitCode code) {
    switch (code) {
      case LowBitCode::kE4M3:
        return 120;
      case LowBitCode::kInt8:
        return 74;
      case LowBitCode::kInt4:
        return 5;
      case LowBitCode::kE2M1:
        break;
    }
    return 3;
  }

  HostTensor codes_;
  HostTensor scales_;
  HostTensor zeros_;
  HostTensor order_;
  LowBitMatrix m_;
};

// One output whose inputs have every code of both signs, and what they stand for. The scales of
// kE2M1 are of many sizes, the least and the most among them.
class EveryCode {
 public:
  static constexpr int64_t kIn = 256;

  explicit EveryCode(LowBitCode code) : bytes_(kIn), weights_(kIn) {
    for (size_t i = 0; i < bytes_.size(); ++i) {
      const bool is_nan = code == LowBitCode::kE4M3 && (i & 0x7f) == 0x7f;
      bytes_[i] = static_cast<uint8_t>(is_nan ? 0 : i);
    }
    const bool is_e2m1 = code == LowBitCode::kE2M1;
    m_ = {.code = code, .in_features = kIn, .group_size = is_e2m1 ? kE2M1Group : kIn};
    m_.codes =
        TensorView(bytes_.data(), low_bit_codes_dtype(code), {1, low_bit_columns(code, kIn)});
    m_.scales = is_e2m1 ? TensorView(exponents_.data(), DType::kU8, {1, kIn / kE2M1Group})
                        : TensorView(&scale_, DType::kF32, {1, 1});
    expand_low_bit_row(m_, 0, weights_.data());
  }
  EveryCode(const EveryCode&) = delete;
  EveryCode& operator=(const EveryCode&) = delete;

  const LowBitMatrix& matrix() const { return m_; }

  // An input of ones at a time brings out the weights, `rows` of them in a product.
  void expect_exact(Backend* backend, int64_t rows) const {
    auto packed = backend->pack_low_bit(m_);
    CHECK(packed.ok()) << packed.error().message;
    HostTensor one(DType::kF32, {kIn, kIn});
    for (int64_t i = 0; i < kIn; ++i) one.set(i * kIn + i, 1);
    for (int64_t i = 0; i < kIn; i += rows) {
      const HostTensor out = multiply(backend, one.view().rows(i, i + rows), **packed);
      for (int64_t r = 0; r < rows; ++r) {
        ASSERT_EQ(out.at(r), weights_[static_cast<size_t>(i + r)])
            << to_string(m_.code) << ", input " << i + r << ", " << rows << " rows";
      }
    }
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<float> weights_;
  std::vector<uint8_t> exponents_ = {
      kLeastExponent, kMostExponent, kExponentOfOne, 120, 130, 3, 251, 64};
  float scale_ = 1;
  LowBitMatrix m_;
};
inline constexpr LowBitCode kLowBitCodes[] = {LowBitCode::kE4M3, LowBitCode::kInt4,
                                              LowBitCode::kInt8, LowBitCode::kE2M1};

inline std::unique_ptr<PackedWeight> pack_low_bit(Backend* backend, const LowBitMatrix& matrix) {
  auto packed = backend->pack_low_bit(matrix);
  CHECK(packed.ok()) << packed.error().message;
  return std::move(packed).value();
}

}  // namespace trireme::kernels::testing
