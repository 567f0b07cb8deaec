#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

struct Case {
  int64_t rows;
  int64_t in;
  int64_t out;
};

// Around the tiles (8, 16, 64 rows; 16, 64, 128 outputs), the chunk (64 inputs), the split of few
// outputs' inputs, and odd sizes that are padded.
constexpr Case kCases[] = {
    {0, 8, 8},    {1, 1, 1},      {1, 64, 64},    {1, 65, 130},   {2, 3, 17},    {3, 33, 3},
    {4, 16, 63},  {5, 2048, 16},  {8, 264, 40},   {9, 72, 65},    {16, 128, 33}, {17, 65, 17},
    {33, 40, 64}, {65, 515, 129}, {20, 1101, 66}, {130, 96, 257}, {1, 4096, 24}, {13, 8192, 20}};

using DeviceLinear = DeviceTest;

void run(Backend* backend, const TensorView& x, const HostTensor& weight, const HostTensor* bias,
         const TensorView& out) {
  const auto packed = pack(backend, weight.view());
  ASSERT_EQ(packed->out_features(), weight.view().dim(0));
  ASSERT_EQ(packed->in_features(), weight.view().dim(1));
  backend->linear({.x = x,
                   .weight = packed.get(),
                   .bias = bias == nullptr ? TensorView() : bias->view(),
                   .out = out},
                  {});
}

TEST_F(DeviceLinear, AgreesWithTheReference) {
  Random random(3);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    Backend* device = compute == ComputeDType::kBF16 ? bf16_.get() : f32_.get();
    Backend* reference = compute == ComputeDType::kBF16 ? reference_bf16_.get() : reference_.get();
    for (const Case& c : kCases) {
      const float deviation = 1.0f / std::sqrt(static_cast<float>(c.in));
      for (const DType weight_dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        const HostTensor weight = random.tensor(weight_dtype, {c.out, c.in}, deviation);
        const HostTensor bias = random.tensor(DType::kF32, {c.out});
        for (const DType x_dtype : {DType::kF32, DType::kBF16}) {
          const HostTensor x = random.tensor(x_dtype, {c.rows, c.in});
          const DType out_dtype = weight_dtype == DType::kF16 ? DType::kBF16 : DType::kF32;
          const HostTensor* b = out_dtype == x_dtype ? &bias : nullptr;
          HostTensor actual(out_dtype, {c.rows, c.out});
          HostTensor expected(out_dtype, {c.rows, c.out});
          run(device, x.view(), weight, b, actual.view());
          run(reference, x.view(), weight, b, expected.view());
          expect_near(actual, expected, 2e-5f,
                      std::to_string(c.rows) + "x" + std::to_string(c.in) + "x" +
                          std::to_string(c.out) + " " + std::string(to_string(weight_dtype)));
        }
      }
    }
  }
}

TEST_F(DeviceLinear, TakesStridedTensors) {
  Random random(4);
  for (Backend* device : {bf16_.get(), f32_.get()}) {
    for (const int64_t rows : {3, 40}) {
      const HostTensor weight = random.tensor(DType::kBF16, {70, 56}, 0.2f);
      // An odd offset, and one that 16-byte loads can take.
      for (const int64_t begin : {7, 8}) {
        const HostTensor wide_x = random.tensor(DType::kBF16, {rows, 104});
        HostTensor wide_out = random.tensor(DType::kF32, {rows, 80});
        HostTensor expected = wide_out.clone();
        run(device, wide_x.view().columns(begin, begin + 56), weight, nullptr,
            wide_out.view().columns(5, 75));
        run(reference_bf16_.get(), wide_x.view().columns(begin, begin + 56), weight, nullptr,
            expected.view().columns(5, 75));
        expect_near(wide_out, expected, 2e-5f, "strided");
      }
    }
  }
}

// Small integers have exact sums in every order and dtype: nothing may differ at all, whichever
// kernel takes the rows.
TEST_F(DeviceLinear, IsExactWhereArithmeticIs) {
  Random random(5);
  for (Backend* device : {bf16_.get(), f32_.get()}) {
    for (const int64_t rows : {1, 11, 16, 50}) {
      HostTensor x(DType::kF32, {rows, 777});
      HostTensor weight(DType::kBF16, {100, 777});
      for (int64_t i = 0; i < x.view().numel(); ++i) {
        x.set(i, static_cast<float>(random.integer(-9, 9)));
      }
      for (int64_t i = 0; i < weight.view().numel(); ++i) {
        weight.set(i, static_cast<float>(random.integer(-9, 9)));
      }
      HostTensor actual(DType::kF32, {rows, 100});
      HostTensor expected(DType::kF32, {rows, 100});
      run(device, x.view(), weight, nullptr, actual.view());
      run(reference_.get(), x.view(), weight, nullptr, expected.view());
      expect_same_bits(actual.view(), expected.view(), std::to_string(rows) + " rows");
    }
  }
}

// The blocks that split a sum leave their counters at zero: the second call is like the first.
TEST_F(DeviceLinear, TwiceIsTheSameBits) {
  Random random(6);
  const HostTensor x = random.tensor(DType::kBF16, {2, 4096});
  const HostTensor weight = random.tensor(DType::kBF16, {32, 4096}, 0.02f);
  const auto packed = pack(bf16_.get(), weight.view());
  HostTensor first(DType::kF32, {2, 32});
  HostTensor second(DType::kF32, {2, 32});
  bf16_->linear({.x = x.view(), .weight = packed.get(), .out = first.view()}, {});
  bf16_->linear({.x = x.view(), .weight = packed.get(), .out = second.view()}, {});
  expect_same_bits(first.view(), second.view(), "twice");
}

TEST_F(DeviceLinear, RefusesWhatItCannotPack) {
  const HostTensor integers(DType::kI32, {4, 4});
  const HostTensor vector(DType::kF32, {4});
  const HostTensor empty(DType::kF32, {4, 0});
  for (const HostTensor* wrong : {&integers, &vector, &empty}) {
    const auto packed = f32_->pack_weight(wrong->view());
    ASSERT_FALSE(packed.ok());
    EXPECT_EQ(packed.error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace trireme::kernels::testing
