// Linear ops on low-bit weights, on a device.
#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/low_bit_fixture.h"

namespace trireme::kernels::testing {
namespace {

struct Case {
  int64_t rows;
  int64_t in;
  int64_t out;
};

// Around the tiles (8 and 16 rows, 16 outputs), the chunks (64 and 128 inputs), two chunks per
// warp, the split of few outputs' inputs, and sizes that are padded.
constexpr Case kFewRows[] = {{0, 8, 8},   {1, 1, 1},     {1, 64, 64},   {1, 65, 130},
                             {2, 3, 17},  {3, 33, 3},    {5, 2048, 16}, {8, 264, 40},
                             {9, 72, 65}, {16, 128, 33}, {1, 4096, 24}, {13, 8192, 20}};
// Expanded by pieces: on the emulator a piece has 8192 weights.
constexpr Case kManyRows[] = {{17, 65, 17}, {33, 40, 64}, {65, 515, 129}, {70, 128, 200}};

using DeviceLowBit = DeviceTest;

std::string name_of(const LowBitForm& form, const Case& c) {
  return std::string(form.name) + " " + std::to_string(c.rows) + "x" + std::to_string(c.in) + "x" +
         std::to_string(c.out);
}

TEST_F(DeviceLowBit, FewRowsAgreeWithTheReference) {
  Random random(21);
  for (const LowBitForm& form : kLowBitForms) {
    for (const Case& c : kFewRows) {
      LowBitTensor low(&random, form, c.out, c.in);
      const auto actual = pack_low_bit(bf16_.get(), low.matrix());
      const auto expected = pack_low_bit(reference_bf16_.get(), low.matrix());
      ASSERT_EQ(actual->out_features(), c.out);
      ASSERT_EQ(actual->in_features(), c.in);
      const HostTensor bias = random.tensor(DType::kF32, {c.out});
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        const HostTensor x = random.tensor(dtype, {c.rows, c.in});
        const TensorView b = dtype == DType::kF32 ? bias.view() : TensorView();
        expect_near(multiply(bf16_.get(), x.view(), *actual, b, dtype),
                    multiply(reference_bf16_.get(), x.view(), *expected, b, dtype), 2e-5f,
                    name_of(form, c));
      }
    }
  }
}

// There the weights are rounded, as those of a plain bf16 weight are.
TEST_F(DeviceLowBit, ManyRowsAgreeWithRoundedWeights) {
  Random random(22);
  for (const LowBitForm& form : kLowBitForms) {
    for (const Case& c : kManyRows) {
      LowBitTensor low(&random, form, c.out, c.in);
      const auto actual = pack_low_bit(bf16_.get(), low.matrix());
      const auto expected = pack(reference_bf16_.get(), low.expanded().view());
      const HostTensor bias = random.tensor(DType::kF32, {c.out});
      const HostTensor x = random.tensor(DType::kBF16, {c.rows, c.in});
      expect_near(multiply(bf16_.get(), x.view(), *actual, bias.view()),
                  multiply(reference_bf16_.get(), x.view(), *expected, bias.view()), 2e-5f,
                  name_of(form, c));
    }
  }
}

TEST_F(DeviceLowBit, F32ComputeAgreesWithTheReference) {
  Random random(23);
  for (const LowBitForm& form : kLowBitForms) {
    for (const Case& c : {Case{1, 65, 130}, Case{16, 128, 33}, Case{33, 515, 66}}) {
      LowBitTensor low(&random, form, c.out, c.in);
      const auto actual = pack_low_bit(f32_.get(), low.matrix());
      const auto expected = pack_low_bit(reference_.get(), low.matrix());
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        const HostTensor x = random.tensor(dtype, {c.rows, c.in});
        expect_near(multiply(f32_.get(), x.view(), *actual),
                    multiply(reference_.get(), x.view(), *expected), 5e-6f, name_of(form, c));
      }
    }
  }
}

TEST_F(DeviceLowBit, EveryCodeIsExact) {
  for (const LowBitCode code : kLowBitCodes) {
    const EveryCode every(code);
    for (Backend* device : {bf16_.get(), f32_.get()}) {
      for (const int64_t rows : {16, 256}) every.expect_exact(device, rows);
    }
  }
}

TEST_F(DeviceLowBit, TakesStridedTensors) {
  Random random(24);
  LowBitTensor low(&random, kLowBitForms[5], 70, 56);
  for (const int64_t rows : {3, 40}) {
    for (const int64_t begin : {7, 8}) {
      const HostTensor wide_x = random.tensor(DType::kBF16, {rows, 104});
      HostTensor wide_out = random.tensor(DType::kF32, {rows, 80});
      HostTensor expected = wide_out.clone();
      const auto run = [&](Backend* backend, const HostTensor& out) {
        const auto packed = pack_low_bit(backend, low.matrix());
        backend->linear({.x = wide_x.view().columns(begin, begin + 56),
                         .weight = packed.get(),
                         .out = out.view().columns(5, 75)},
                        {});
      };
      run(bf16_.get(), wide_out);
      run(reference_bf16_.get(), expected);
      // The weights of many rows are rounded.
      expect_near(wide_out, expected, rows > 16 ? 2e-2f : 2e-5f, "strided");
    }
  }
}

TEST_F(DeviceLowBit, GroupedLinearAgreesWithTheReference) {
  Random random(25);
  for (const LowBitForm& form : kLowBitForms) {
    // Few rows of an expert, many, and more than a tile of them; weights of many are rounded.
    for (const std::vector<int32_t>& starts :
         {std::vector<int32_t>{0, 2, 2, 9}, std::vector<int32_t>{0, 37, 37, 60},
          std::vector<int32_t>{0, 66, 66, 70}}) {
      const HostTensor start = tensor_of(starts);
      const int64_t n_rows = starts.back() + 3;
      const bool rounds = n_rows > 3 * 16;
      const int64_t n_out = starts.back() == 70 ? 130 : 33;
      const HostTensor x = random.tensor(DType::kBF16, {n_rows, 200});
      const HostTensor bias = random.tensor(DType::kF32, {3, n_out});
      for (const bool exact : {false, true}) {
        Backend* device = exact ? f32_.get() : bf16_.get();
        Backend* reference = exact ? reference_.get() : reference_bf16_.get();
        std::vector<std::unique_ptr<PackedWeight>> weights, expected_weights;
        std::vector<const PackedWeight*> list, expected_list;
        for (int e = 0; e < 3; ++e) {
          LowBitTensor low(&random, form, n_out, 200);
          weights.push_back(pack_low_bit(device, low.matrix()));
          expected_weights.push_back(rounds && !exact ? pack(reference, low.expanded().view())
                                                      : pack_low_bit(reference, low.matrix()));
          list.push_back(weights.back().get());
          expected_list.push_back(expected_weights.back().get());
        }
        HostTensor out(DType::kF32, {n_rows, n_out});
        HostTensor expected = out.clone();
        GroupedLinearArgs args{.x = x.view(),
                               .weights = list,
                               .bias = bias.view(),
                               .expert_start = start.view(),
                               .out = out.view()};
        device->grouped_linear(args, {});
        args.weights = expected_list;
        args.out = expected.view();
        reference->grouped_linear(args, {});
        expect_near(out, expected, 2e-5f, form.name);
      }
    }
  }
}

TEST_F(DeviceLowBit, TwiceIsTheSameBits) {
  Random random(26);
  LowBitTensor low(&random, kLowBitForms[3], 32, 8192);
  const auto packed = pack_low_bit(bf16_.get(), low.matrix());
  const HostTensor x = random.tensor(DType::kBF16, {2, 8192});
  expect_same_bits(multiply(bf16_.get(), x.view(), *packed).view(),
                   multiply(bf16_.get(), x.view(), *packed).view(), "twice");
}

TEST_F(DeviceLowBit, RefusesWhatItCannotPack) {
  Random random(27);
  LowBitTensor low(&random, kLowBitForms[0], 4, 64);
  low.matrix().codes.as<uint8_t>()[5] = 0x7f;
  const auto packed = bf16_->pack_low_bit(low.matrix());
  ASSERT_FALSE(packed.ok());
  EXPECT_EQ(packed.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace trireme::kernels::testing
