// What the op tests share: tensors with an owner, seeded random data, and every CPU backend of this
// machine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace trireme::kernels::testing {

// A dense tensor that owns its memory.
class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(DType dtype, std::initializer_list<int64_t> shape) : view_(nullptr, dtype, shape) {
    // One spare byte: an empty tensor still has an address.
    memory_.resize(view_.bytes() + 1);
    view_.data = memory_.data();
  }
  HostTensor(HostTensor&&) = default;
  HostTensor& operator=(HostTensor&&) = default;
  HostTensor clone() const { return HostTensor(*this); }

  // Ops write to what it points to.
  const TensorView& view() const { return view_; }
  float at(int64_t i) const {
    switch (view_.dtype) {
      case DType::kF32:
        return view_.as<float>()[i];
      case DType::kF16:
        return to_f32(view_.as<f16>()[i]);
      case DType::kE4M3:
        return to_f32(view_.as<e4m3>()[i]);
      default:
        return to_f32(view_.as<bf16>()[i]);
    }
  }
  void set(int64_t i, float value) {
    switch (view_.dtype) {
      case DType::kF32:
        view_.as<float>()[i] = value;
        return;
      case DType::kF16:
        view_.as<f16>()[i] = to_f16(value);
        return;
      case DType::kE4M3:
        view_.as<e4m3>()[i] = to_e4m3(value);
        return;
      default:
        view_.as<bf16>()[i] = to_bf16(value);
    }
  }

 private:
  HostTensor(const HostTensor& other) : memory_(other.memory_), view_(other.view_) {
    view_.data = memory_.data();
  }

  std::vector<char> memory_;
  TensorView view_;
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  // Normal with this standard deviation.
  HostTensor tensor(DType dtype, std::initializer_list<int64_t> shape, float deviation = 1) {
    HostTensor t(dtype, shape);
    std::normal_distribution<float> normal(0, deviation);
    for (int64_t i = 0; i < t.view().numel(); ++i) t.set(i, normal(engine_));
    return t;
  }
  int32_t integer(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(engine_);
  }
  std::mt19937& engine() { return engine_; }

 private:
  std::mt19937 engine_;
};

// Scales of a cache of this type: of e4m3, some that no power of two is, beyond one and below it.
struct CacheScales {
  float k = 1;
  float v = 1;
};
inline CacheScales scales_for(DType cache) {
  return cache == DType::kE4M3 ? CacheScales{0.7f, 1.3f} : CacheScales{};
}

template <typename T>
HostTensor tensor_of(const std::vector<T>& values) {
  HostTensor t(dtype_of<T>(), {static_cast<int64_t>(values.size())});
  if (!values.empty()) std::memcpy(t.view().data, values.data(), values.size() * sizeof(T));
  return t;
}

inline std::vector<std::string> isas_of_this_machine() {
  std::vector<std::string> isas;
  for (const char* isa : {"portable", "avx2", "avx512"}) {
    if (make_cpu_backend({.n_threads = 1, .max_isa = isa}).ok()) isas.emplace_back(isa);
  }
  return isas;
}

inline std::unique_ptr<Backend> cpu_backend(const std::string& isa, ComputeDType compute,
                                            int n_threads = 1) {
  auto backend =
      make_cpu_backend({.compute_dtype = compute, .n_threads = n_threads, .max_isa = isa});
  CHECK(backend.ok()) << backend.error().message;
  return std::move(backend).value();
}

inline std::unique_ptr<PackedWeight> pack(Backend* backend, const TensorView& weight) {
  auto packed = backend->pack_weight(weight);
  CHECK(packed.ok()) << packed.error().message;
  return std::move(packed).value();
}

// A linear op into a new tensor.
inline HostTensor multiply(Backend* backend, const TensorView& x, const PackedWeight& weight,
                           const TensorView& bias = {}, DType dtype = DType::kF32) {
  HostTensor out(dtype, {x.dim(0), weight.out_features()});
  backend->linear({.x = x, .weight = &weight, .bias = bias, .out = out.view()}, {});
  return out;
}

// |actual - expected| <= absolute + relative * |expected|, where tensors of narrow types may be one
// rounding apart.
inline void expect_near(const HostTensor& actual, const HostTensor& expected, float absolute,
                        const std::string& what) {
  ASSERT_EQ(actual.view().numel(), expected.view().numel()) << what;
  const DType dtype = actual.view().dtype;
  const float relative = dtype == DType::kBF16   ? 0x1p-7f
                         : dtype == DType::kF16  ? 0x1p-10f
                         : dtype == DType::kE4M3 ? 0x1p-3f
                                                 : absolute;
  if (dtype == DType::kE4M3) absolute = std::max(absolute, 0x1p-9f);
  for (int64_t i = 0; i < actual.view().numel(); ++i) {
    const float a = actual.at(i);
    const float e = expected.at(i);
    // The negation also catches NaN.
    if (!(std::abs(a - e) <= absolute + relative * std::abs(e))) {
      FAIL() << what << ": element " << i << " is " << a << ", expected " << e;
    }
  }
}

inline void expect_same_bits(const TensorView& actual, const TensorView& expected,
                             const std::string& what) {
  ASSERT_EQ(actual.bytes(), expected.bytes()) << what;
  ASSERT_TRUE(actual.contiguous() && expected.contiguous()) << what;
  EXPECT_EQ(std::memcmp(actual.data, expected.data, actual.bytes()), 0) << what;
}

// One test per instruction set.
class EachIsa : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> reference_ = make_reference_backend(ComputeDType::kF32);
  std::unique_ptr<Backend> cpu_ = cpu_backend(GetParam(), ComputeDType::kF32);
};

inline std::string isa_name(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace trireme::kernels::testing
