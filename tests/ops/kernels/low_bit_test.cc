// Weights that stay low-bit: what they stand for, and products with them.
#include <gmock/gmock.h>

#include "kernels/cpu/isa_kernels.h"
#include "kernels/quant/number_formats.h"
#include "tests/ops/kernels/low_bit_fixture.h"

namespace trireme::kernels::testing {
namespace {

using ::testing::HasSubstr;

struct Case {
  int64_t rows;
  int64_t in;
  int64_t out;
};

// Around the tile (6 rows), the rows from which codes are expanded (7), the unit (4 and 8 inputs),
// the group, the expanded piece (512 inputs), the vector (16) and the panel (64).
constexpr Case kCases[] = {{0, 8, 8},      {1, 1, 1},     {1, 64, 64},  {1, 65, 130}, {2, 3, 17},
                           {3, 33, 3},     {5, 200, 65},  {6, 129, 9},  {7, 17, 33},  {13, 130, 70},
                           {33, 1100, 67}, {7, 1101, 66}, {20, 256, 64}};

TEST(LowBit, RowsStandForTheirCodesTimesScales) {
  // Two groups of 32, zero points 3 and 16; in a word the even inputs come before the odd ones.
  std::vector<int32_t> words(5, 0);
  words[0] = static_cast<int32_t>(0xfdb97531u | 0);  // inputs 0 2 4 6 | 1 3 5 7
  words[4] = 0x0000000f;
  std::vector<float> scales = {0.5f, -2};
  std::vector<uint8_t> zeros = {3, 16};
  LowBitMatrix m{.code = LowBitCode::kInt4, .in_features = 35, .group_size = 32};
  m.codes = TensorView(words.data(), DType::kI32, {1, 5});
  m.scales = TensorView(scales.data(), DType::kF32, {1, 2});
  m.zeros = TensorView(zeros.data(), DType::kU8, {1, 2});
  ASSERT_TRUE(check_low_bit(m).ok()) << check_low_bit(m).error().message;
  std::vector<float> row(35);
  expand_low_bit_row(m, 0, row.data());
  const std::vector<float> first = {-1, 3, 0, 4, 1, 5, 2, 6, -1.5f};
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(row[i], first[i]) << i;
  EXPECT_EQ(row[32], 2);
  EXPECT_EQ(row[33], 32);
  // The stored input j is the layer's input order[j].
  std::vector<int32_t> order(35);
  for (size_t j = 0; j < order.size(); ++j) order[j] = static_cast<int32_t>(34 - j);
  m.input_order = TensorView(order.data(), DType::kI32, {35});
  std::vector<float> turned(35);
  expand_low_bit_row(m, 0, turned.data());
  for (size_t i = 0; i < row.size(); ++i) EXPECT_EQ(turned[34 - i], row[i]);

  std::vector<uint8_t> codes = {0x01, 0x80, 0x7e, 0xb8};
  LowBitMatrix f{.code = LowBitCode::kE4M3, .in_features = 4, .group_size = 4};
  f.codes = TensorView(codes.data(), DType::kU8, {1, 4});
  f.scales = TensorView(scales.data(), DType::kF32, {1, 1});
  f.code = LowBitCode::kInt8;
  expand_low_bit_row(f, 0, row.data());
  EXPECT_EQ(row[0], 0.5f);
  EXPECT_EQ(row[1], -64);
  EXPECT_EQ(row[2], 63);
  f.code = LowBitCode::kE4M3;
  expand_low_bit_row(f, 0, row.data());
  EXPECT_EQ(row[0], 0x1p-10f);
  EXPECT_EQ(row[1], 0);
  EXPECT_EQ(row[2], 224);
  EXPECT_EQ(row[3], -0.5f);
  // Inputs 0 and 1 in the low nibbles of the halves.
  std::vector<int32_t> halves = {0x000f0003, 0};
  std::vector<uint8_t> exponents = {126};
  LowBitMatrix e{.code = LowBitCode::kE2M1, .in_features = 9, .group_size = 32};
  e.codes = TensorView(halves.data(), DType::kI32, {1, 2});
  e.scales = TensorView(exponents.data(), DType::kU8, {1, 1});
  ASSERT_TRUE(check_low_bit(e).ok()) << check_low_bit(e).error().message;
  expand_low_bit_row(e, 0, row.data());
  EXPECT_EQ(row[0], 0.75f);
  EXPECT_EQ(row[1], -3);
  EXPECT_EQ(row[2], 0);
  EXPECT_EQ(low_bit_row_bytes(LowBitCode::kE2M1, 2880, 32, false), 1440 + 90);
  EXPECT_EQ(low_bit_row_bytes(LowBitCode::kInt8, 4096, 4096, false), 4096 + 4);
  EXPECT_EQ(low_bit_row_bytes(LowBitCode::kInt4, 4096, 128, true), 2048 + 32 * 5);
  EXPECT_EQ(low_bit_row_bytes(LowBitCode::kE4M3, 4096, 4096, false), 4096 + 4);
}

TEST(LowBit, TheReferenceMultipliesWhatTheyStandFor) {
  Random random(1);
  const auto reference = make_reference_backend(ComputeDType::kF32);
  for (const LowBitForm& form : kLowBitForms) {
    LowBitTensor low(&random, form, 19, 300);
    const HostTensor x = random.tensor(DType::kF32, {3, 300});
    const auto kept = pack_low_bit(reference.get(), low.matrix());
    const auto expanded = pack(reference.get(), low.expanded().view());
    expect_same_bits(multiply(reference.get(), x.view(), *kept).view(),
                     multiply(reference.get(), x.view(), *expanded).view(), form.name);
  }
}

class LowBitIsa : public ::testing::TestWithParam<std::string> {};

TEST_P(LowBitIsa, AgreesWithTheReference) {
  Random random(2);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    const auto cpu = cpu_backend(GetParam(), compute);
    const auto reference = make_reference_backend(compute);
    for (const LowBitForm& form : kLowBitForms) {
      for (const Case& c : kCases) {
        LowBitTensor low(&random, form, c.out, c.in);
        const auto actual = pack_low_bit(cpu.get(), low.matrix());
        const auto expected = pack_low_bit(reference.get(), low.matrix());
        ASSERT_EQ(actual->out_features(), c.out);
        ASSERT_EQ(actual->in_features(), c.in);
        const HostTensor bias = random.tensor(DType::kF32, {c.out});
        for (const DType dtype : {DType::kF32, DType::kBF16}) {
          const HostTensor x = random.tensor(dtype, {c.rows, c.in});
          const TensorView b = dtype == DType::kF32 ? bias.view() : TensorView();
          expect_near(multiply(cpu.get(), x.view(), *actual, b, dtype),
                      multiply(reference.get(), x.view(), *expected, b, dtype), 1e-5f,
                      std::string(form.name) + " " + std::to_string(c.rows) + "x" +
                          std::to_string(c.in) + "x" + std::to_string(c.out));
        }
      }
    }
  }
}

TEST_P(LowBitIsa, EveryCodeIsExact) {
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    const auto cpu = cpu_backend(GetParam(), compute);
    for (const LowBitCode code : kLowBitCodes) {
      const EveryCode every(code);
      // Alone, and so many together that codes are expanded.
      for (const int64_t rows : {1, 256}) every.expect_exact(cpu.get(), rows);
    }
  }
}

// What e2m1 codes and their scales stand for is bf16: kept or expanded, sums have the same bits.
TEST_P(LowBitIsa, E2M1IsWhatItsExpandedWeightIs) {
  Random random(7);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    const auto cpu = cpu_backend(GetParam(), compute);
    LowBitTensor low(&random, kLowBitForms[11], 130, 1000);
    const HostTensor weights = low.expanded();
    HostTensor rounded(DType::kBF16, {130, 1000});
    for (int64_t i = 0; i < weights.view().numel(); ++i) {
      rounded.set(i, weights.at(i));
      ASSERT_EQ(rounded.at(i), weights.at(i));
    }
    const auto kept = pack_low_bit(cpu.get(), low.matrix());
    const auto expanded = pack(cpu.get(), rounded.view());
    for (const int64_t rows : {1, 3, 40}) {
      const HostTensor x = random.tensor(DType::kBF16, {rows, 1000});
      expect_same_bits(multiply(cpu.get(), x.view(), *kept).view(),
                       multiply(cpu.get(), x.view(), *expanded).view(), std::to_string(rows));
    }
  }
}

TEST_P(LowBitIsa, RowsDoNotKnowTheirBatch) {
  Random random(3);
  for (const ComputeDType compute : {ComputeDType::kBF16, ComputeDType::kF32}) {
    for (const LowBitForm& form : kLowBitForms) {
      const auto cpu = cpu_backend(GetParam(), compute, 2);
      LowBitTensor low(&random, form, 130, 1301);
      const auto weight = pack_low_bit(cpu.get(), low.matrix());
      const HostTensor x = random.tensor(DType::kF32, {300, 1301});
      const HostTensor whole = multiply(cpu.get(), x.view(), *weight);
      for (const int64_t n : {1, 2, 5, 6, 7, 12, 65, 299}) {
        for (int64_t begin = 0; begin + n <= 300; begin += n > 7 ? n : 61) {
          const HostTensor part = multiply(cpu.get(), x.view().rows(begin, begin + n), *weight);
          expect_same_bits(part.view(), whole.view().rows(begin, begin + n),
                           form.name + std::string(" ") + std::to_string(n) + " rows");
        }
      }
    }
  }
}

// Experts of low bits beside plain ones, some without rows, each in an order of its own.
TEST_P(LowBitIsa, GroupedLinearIsLinearByExpert) {
  Random random(4);
  const auto cpu = cpu_backend(GetParam(), ComputeDType::kBF16);
  const HostTensor x = random.tensor(DType::kBF16, {60, 192});
  const HostTensor bias = random.tensor(DType::kF32, {6, 70});
  const HostTensor start = tensor_of<int32_t>({0, 3, 3, 29, 31, 46, 58});
  std::vector<std::unique_ptr<PackedWeight>> weights;
  for (const size_t form : {8, 1, 4, 10, 12}) {
    LowBitTensor low(&random, kLowBitForms[form], 70, 192);
    weights.push_back(pack_low_bit(cpu.get(), low.matrix()));
  }
  weights.push_back(pack(cpu.get(), random.tensor(DType::kBF16, {70, 192}, 0.1f).view()));
  std::vector<const PackedWeight*> list;
  for (const auto& weight : weights) list.push_back(weight.get());
  HostTensor out(DType::kF32, {60, 70});
  cpu->grouped_linear({.x = x.view(),
                       .weights = list,
                       .bias = bias.view(),
                       .expert_start = start.view(),
                       .out = out.view()},
                      {});
  for (size_t e = 0; e < weights.size(); ++e) {
    const int64_t begin = start.view().as<int32_t>()[e];
    const int64_t end = start.view().as<int32_t>()[e + 1];
    const TensorView b(bias.view().row<float>(static_cast<int64_t>(e)), DType::kF32, {70});
    const HostTensor alone = multiply(cpu.get(), x.view().rows(begin, end), *weights[e], b);
    expect_same_bits(out.view().rows(begin, end), alone.view(), "expert " + std::to_string(e));
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, LowBitIsa, ::testing::ValuesIn(isas_of_this_machine()), isa_name);

// Tables that are chosen by what the processor has beyond AVX-512, each against the portable one.
TEST(LowBit, EveryTableOfThisMachineExpandsAlike) {
  std::vector<cpu::IsaKernels> tables;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables.push_back(cpu::avx2_kernels());
  }
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    tables.push_back(cpu::avx512_kernels());
    if (__builtin_cpu_supports("avx512bf16")) {
      tables.push_back(tables.back());
      cpu::add_avx512_bf16(&tables.back());
      if (__builtin_cpu_supports("avx512vbmi")) {
        tables.push_back(tables.back());
        cpu::add_avx512_vbmi(&tables.back());
      }
    }
  }
#endif
  const cpu::IsaKernels portable = cpu::portable_kernels();
  constexpr int64_t kUnits = 3;
  std::vector<uint32_t> units(kUnits * cpu::kPanelWidth);
  for (size_t i = 0; i < units.size(); ++i) {
    for (size_t b = 0; b < 4; ++b) {
      const size_t code = (i * 4 + b) % 256;
      units[i] |= static_cast<uint32_t>((code & 0x7f) == 0x7f ? 3 : code) << (8 * b);
    }
  }
  std::vector<uint32_t> scaled(kUnits * cpu::kScaledUnitWords);
  for (size_t i = 0; i < scaled.size() * 4; ++i) {
    const size_t word = i / 4 % cpu::kScaledUnitWords;
    const bool is_scale = word >= cpu::kScaledUnitCodeWords;
    const size_t byte = is_scale ? kLeastExponent + i % (kMostExponent - kLeastExponent + 1) : i;
    scaled[i / 4] |= static_cast<uint32_t>(byte % 256) << (8 * (i % 4));
  }
  std::vector<uint32_t> expected(kUnits * 16 * cpu::kPanelWidth);
  std::vector<uint32_t> actual(expected.size());
  for (const cpu::IsaKernels& table : tables) {
    SCOPED_TRACE(table.name);
    const auto expect_alike = [&](const auto code, const std::vector<uint32_t>& from) {
      (portable.*code).expand(from.data(), kUnits, expected.data());
      (table.*code).expand(from.data(), kUnits, actual.data());
      EXPECT_EQ(actual, expected);
    };
    expect_alike(&cpu::IsaKernels::e4m3, units);
    expect_alike(&cpu::IsaKernels::int4, units);
    expect_alike(&cpu::IsaKernels::int8, units);
    expect_alike(&cpu::IsaKernels::e2m1, scaled);
  }
}

TEST(LowBit, HoldsWhatItSays) {
  Random random(5);
  const auto cpu = cpu_backend("", ComputeDType::kBF16);
  for (const LowBitForm& form : kLowBitForms) {
    LowBitTensor low(&random, form, 128, 768);
    const LowBitMatrix& m = low.matrix();
    const int64_t order = form.ordered ? 768 * 4 : 0;
    EXPECT_EQ(static_cast<int64_t>(pack_low_bit(cpu.get(), m)->bytes()),
              128 * low_bit_row_bytes(m.code, 768, m.group_size, form.zeros) + order)
        << form.name;
  }
}

TEST(LowBit, RefusesWhatItCannotPack) {
  Random random(6);
  const auto cpu = cpu_backend("", ComputeDType::kF32);
  const auto error = [&](const LowBitForm& form, auto&& spoil) {
    LowBitTensor low(&random, form, 6, 256);
    spoil(low.matrix());
    const auto packed = cpu->pack_low_bit(low.matrix());
    EXPECT_FALSE(packed.ok());
    if (packed.ok()) return std::string();
    EXPECT_EQ(packed.error().code, ErrorCode::kInvalidArgument);
    return packed.error().message;
  };
  const LowBitForm& e2m1 = kLowBitForms[12];
  EXPECT_THAT(error(e2m1, [](LowBitMatrix& m) { m.scales.as<uint8_t>()[3] = 1; }),
              HasSubstr("exponents from 2 to 252"));
  EXPECT_THAT(error(e2m1, [](LowBitMatrix& m) { m.scales.as<uint8_t>()[3] = 253; }),
              HasSubstr("exponents from 2 to 252"));
  EXPECT_THAT(error(e2m1, [](LowBitMatrix& m) { m.group_size = 64; }), HasSubstr("of 32 inputs"));
  EXPECT_THAT(error(e2m1, [](LowBitMatrix& m) { m.scales.dtype = DType::kI8; }),
              HasSubstr("scales"));
  const LowBitForm& fp8 = kLowBitForms[1];
  const LowBitForm& int4 = kLowBitForms[8];
  EXPECT_THAT(error(fp8, [](LowBitMatrix& m) { m.codes.as<uint8_t>()[77] = 0xff; }),
              HasSubstr("not a number"));
  EXPECT_THAT(error(fp8, [](LowBitMatrix& m) { m.scales.as<float>()[3] = INFINITY; }),
              HasSubstr("finite"));
  EXPECT_THAT(error(fp8, [](LowBitMatrix& m) { m.group_size = 32; }), HasSubstr("multiples of 64"));
  EXPECT_THAT(error(fp8, [](LowBitMatrix& m) { m.group_size = 0; }), HasSubstr("groups of 0"));
  EXPECT_THAT(error(fp8, [](LowBitMatrix& m) { m.in_features = 255; }), HasSubstr("[6, 255]"));
  EXPECT_THAT(error(fp8, [](LowBitMatrix& m) { m.scales.shape[1] = 1; }), HasSubstr("scales"));
  EXPECT_THAT(error(int4, [](LowBitMatrix& m) { m.zeros.as<uint8_t>()[0] = 17; }),
              HasSubstr("at most 16"));
  EXPECT_THAT(error(int4, [](LowBitMatrix& m) { m.zeros.dtype = DType::kI8; }),
              HasSubstr("zero points"));
  EXPECT_THAT(error(int4, [](LowBitMatrix& m) { m.input_order.as<int32_t>()[0] = 256; }),
              HasSubstr("permutation"));
  EXPECT_THAT(error(int4, [](LowBitMatrix& m) { m.input_order.shape[0] = 255; }),
              HasSubstr("256 inputs"));
  EXPECT_THAT(error(int4, [](LowBitMatrix& m) { m.codes.data = nullptr; }), HasSubstr("codes"));
}

}  // namespace
}  // namespace trireme::kernels::testing
