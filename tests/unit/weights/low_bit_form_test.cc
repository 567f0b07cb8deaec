// Weights that stay low-bit: the codes that a checkpoint offers stand for exactly what it reads
// expanded, and stacks of them are kept or expanded as their cuts allow.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "parallel/plan/model_spec.h"
#include "tests/unit/weights/file_builders.h"
#include "tests/unit/weights/format_goldens.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {
namespace {

using kernels::LowBitCode;
using kernels::LowBitMatrix;
using testing::AllOf;
using testing::HasSubstr;

std::unique_ptr<WeightSource> open(const std::string& dir) {
  const auto spec = plan::parse_quantization(read_whole_file(dir + "/config.json"));
  CHECK(spec.ok()) << spec.error().message;
  auto source = open_checkpoint(dir, *spec);
  CHECK(source.ok()) << source.error().message;
  return std::move(*source);
}

const LowBitForm* form_of(const WeightSource& source, const SourceTensor& tensor) {
  return source.low_bit_form({tensor.name, tensor.shape, {}, {}});
}

// A slice read as codes.
struct Codes {
  std::vector<uint32_t> codes;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;
  std::vector<int32_t> order;
  LowBitMatrix matrix;
};

Result<std::unique_ptr<Codes>> read_codes(WeightSource& source, const plan::TensorSlice& slice) {
  const LowBitForm& form = *source.low_bit_form(slice);
  auto read = std::make_unique<Codes>();
  const int64_t out = form.transposed ? slice.columns.size() : slice.rows.size();
  const int64_t in = form.transposed ? slice.rows.size() : slice.columns.size();
  LowBitMatrix& m = read->matrix;
  m.code = form.code;
  m.in_features = in;
  const bool whole = form.group_size == form.in_features && form.code != LowBitCode::kE2M1;
  m.group_size = whole ? in : form.group_size;
  const int64_t groups = (in + m.group_size - 1) / m.group_size;
  read->codes.resize(static_cast<size_t>(out * in / 4 + out));
  read->scales.resize(static_cast<size_t>(out * groups));
  read->zeros.resize(read->scales.size());
  read->order = form.input_order;
  TRY(source.read_low_bit(slice, {reinterpret_cast<uint8_t*>(read->codes.data()),
                                  read->scales.data(), read->zeros.data()}));
  m.codes = TensorView(read->codes.data(), kernels::low_bit_codes_dtype(form.code),
                       {out, kernels::low_bit_columns(form.code, in)});
  m.scales =
      TensorView(read->scales.data(), kernels::low_bit_scales_dtype(form.code), {out, groups});
  if (form.has_zeros) m.zeros = TensorView(read->zeros.data(), DType::kU8, {out, groups});
  if (!read->order.empty()) m.input_order = TensorView(read->order.data(), DType::kI32, {in});
  return read;
}

void expect_codes_stand_for(WeightSource& source, const plan::TensorSlice& slice) {
  SCOPED_TRACE(slice.name);
  const auto columns = static_cast<size_t>(slice.columns.size());
  std::vector<float> plain(static_cast<size_t>(slice.rows.size()) * columns);
  ASSERT_TRUE(source.read(slice, plain.data()).ok());
  const auto codes = read_codes(source, slice);
  ASSERT_TRUE(codes.ok()) << codes.error().message;
  const LowBitMatrix& matrix = (*codes)->matrix;
  const Status status = kernels::check_low_bit(matrix);
  ASSERT_TRUE(status.ok()) << status.error().message;
  const bool transposed = source.low_bit_form(slice)->transposed;
  std::vector<float> row(static_cast<size_t>(matrix.in_features));
  for (int64_t i = 0; i < matrix.out_features(); ++i) {
    kernels::expand_low_bit_row(matrix, i, row.data());
    const auto o = static_cast<size_t>(i);
    for (size_t k = 0; k < row.size(); ++k) {
      const float expected = transposed ? plain[k * columns + o] : plain[o * columns + k];
      ASSERT_EQ(std::memcmp(&row[k], &expected, sizeof(float)), 0)
          << "output " << i << ", input " << k << ": " << row[k] << ", not " << expected;
    }
  }
}

TEST(LowBitForm, CodesStandForWhatIsReadExpanded) {
  for (const char* name : {"deepseek_v3_fp8", "llama_awq", "llama_fp8_channel", "llama_fp8_static",
                           "llama_gptq_actorder", "llama_w8a8"}) {
    SCOPED_TRACE(name);
    const auto source = open(cut_dir(name));
    int n_forms = 0;
    int n_cut = 0;
    const auto inventory = source->inventory();
    for (const SourceTensor& tensor : *inventory) {
      const LowBitForm* form = form_of(*source, tensor);
      if (form == nullptr) continue;
      ++n_forms;
      const int64_t out = tensor.shape[0];
      const int64_t in = tensor.shape[1];
      ASSERT_EQ(form->in_features, in);
      expect_codes_stand_for(*source, {tensor.name, tensor.shape, {0, out}, {0, in}});
      expect_codes_stand_for(*source, {tensor.name, tensor.shape, {3, out - 5}, {0, in}});
      if (!form->input_order.empty() || form->group_size == in) continue;
      ++n_cut;
      const int64_t g = form->group_size;
      expect_codes_stand_for(*source, {tensor.name, tensor.shape, {0, out}, {g, in}});
      expect_codes_stand_for(*source, {tensor.name, tensor.shape, {1, out}, {0, in / g * g}});
    }
    EXPECT_GT(n_forms, 0);
    if (std::string(name) == "llama_awq" || std::string(name) == "deepseek_v3_fp8") {
      EXPECT_GT(n_cut, 0);
    }
  }
}

TEST(LowBitForm, ActOrderPutsGroupsTogether) {
  const auto source = open(cut_dir("llama_gptq_actorder"));
  int n_ordered = 0;
  const auto inventory = source->inventory();
  for (const SourceTensor& tensor : *inventory) {
    const LowBitForm* form = form_of(*source, tensor);
    if (form != nullptr && !form->input_order.empty()) ++n_ordered;
  }
  EXPECT_GT(n_ordered, 0);
}

// A stack of experts is shown as inputs by outputs; its codes are outputs by inputs.
TEST(LowBitForm, ExpertsOfMxfp4) {
  const auto source = open(cut_dir("gpt_oss_mxfp4"));
  int n_forms = 0;
  const auto inventory = source->inventory();
  for (const SourceTensor& tensor : *inventory) {
    const LowBitForm* form = form_of(*source, tensor);
    if (form == nullptr) continue;
    ++n_forms;
    EXPECT_EQ(form->code, LowBitCode::kE2M1);
    EXPECT_TRUE(form->transposed);
    const int64_t n_in = tensor.shape[1];
    const int64_t n_out = tensor.shape[2];
    ASSERT_EQ(form->in_features, n_in);
    for (const int64_t expert : {int64_t{0}, tensor.shape[0] - 1}) {
      const int64_t first = expert * n_in;
      expect_codes_stand_for(*source,
                             {tensor.name, tensor.shape, {first, first + n_in}, {0, n_out}});
      expect_codes_stand_for(*source,
                             {tensor.name, tensor.shape, {first + 32, first + n_in}, {3, n_out}});
    }
  }
  EXPECT_GT(n_forms, 0);
}

// One expert of one output and 64 inputs: blocks of 2^scale.
TEST(LowBitForm, ScalesOfMxfp4BeyondBf16AreExpanded) {
  const auto form_with = [](uint8_t code, uint8_t scale) {
    const TempDir dir;
    const std::string blocks(32, static_cast<char>(code));
    const std::string scales = {127, static_cast<char>(scale)};
    write_file(dir / "model.safetensors",
               safetensors_bytes({{"x.experts.down_proj_blocks", "U8", {1, 1, 2, 16}, blocks},
                                  {"x.experts.down_proj_scales", "U8", {1, 1, 2}, scales}}));
    write_file(dir / "config.json", R"({"quantization_config": {"quant_method": "mxfp4"}})");
    const auto source = open(dir.path());
    const plan::TensorSlice slice{"x.experts.down_proj", {1, 64, 1}, {0, 64}, {0, 1}};
    const auto codes = read_codes(*source, slice);
    if (!codes.ok()) return std::string(codes.error().message);
    expect_codes_stand_for(*source, slice);
    return std::string();
  };
  EXPECT_EQ(form_with(0x17, 252), "");
  EXPECT_EQ(form_with(0x17, 2), "");
  EXPECT_THAT(form_with(0x17, 1), HasSubstr("block 1 of output 0 has the scale 2^-126"));
  EXPECT_THAT(form_with(0x17, 253), HasSubstr("2^126"));
  // Zeros are zeros at any scale that is a number.
  EXPECT_EQ(form_with(0x08, 0), "");
  EXPECT_THAT(form_with(0x08, 255), HasSubstr("2^128"));
}

// Matrices of 8 outputs and 256 inputs whose values a test can say. Names tell the form: "g64",
// "row", "ordered", "plain".
class FakeSource final : public WeightSource {
 public:
  std::optional<std::vector<SourceTensor>> inventory() const override { return std::nullopt; }
  DType dtype(const std::string&) const override { return DType::kF32; }
  Status read(const plan::TensorSlice& slice, void* out) override {
    auto* to = static_cast<float*>(out);
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      for (int64_t k = slice.columns.begin; k < slice.columns.end; ++k) *to++ = value(row, k);
    }
    return {};
  }
  const LowBitForm* low_bit_form(const plan::TensorSlice& slice) const override {
    const std::string& name = slice.name;
    if (name.starts_with("g64")) return &g64_;
    if (name.starts_with("row")) return &row_;
    if (name.starts_with("far")) return &far_;
    if (name.starts_with("stack")) return &stack_;
    return name.starts_with("ordered") ? &ordered_ : nullptr;
  }
  Status read_low_bit(const plan::TensorSlice& slice, const LowBitRows& out) override {
    if (slice.name.starts_with("far")) return unimplemented("a scale is far out");
    if (slice.name.starts_with("stack")) return read_stack(slice, out);
    const int64_t group = slice.name.starts_with("row") ? 256 : 64;
    auto* scales = static_cast<float*>(out.scales);
    int64_t i = 0;
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      uint8_t* to = out.codes + (row - slice.rows.begin) * slice.columns.size();
      for (int64_t k = slice.columns.begin; k < slice.columns.end; ++k) *to++ = code(row, k);
      for (int64_t g = slice.columns.begin; g < slice.columns.end; g += group) scales[i++] = 1;
    }
    return {};
  }
  static float value(int64_t row, int64_t k) { return (row + k) % 2 == 0 ? 1.0f : -2.0f; }

 private:
  static uint8_t code(int64_t row, int64_t k) { return (row + k) % 2 == 0 ? 0x38 : 0xc0; }
  static LowBitForm form(int64_t group_size) {
    return {.code = LowBitCode::kE4M3, .in_features = 256, .group_size = group_size};
  }
  // e2m1: 1 and -2.
  static Status read_stack(const plan::TensorSlice& slice, const LowBitRows& out) {
    const int64_t n_words = slice.rows.size() / 8;
    auto* words = reinterpret_cast<uint32_t*>(out.codes);
    std::fill_n(words, slice.columns.size() * n_words, 0u);
    for (int64_t o = slice.columns.begin; o < slice.columns.end; ++o, words += n_words) {
      for (int64_t k = 0; k < slice.rows.size(); ++k) {
        const uint32_t code = value(slice.rows.begin + k, o) == 1 ? 0x2 : 0xc;
        words[k / 8] |= code << kernels::nibble_shift(k);
      }
    }
    std::fill_n(static_cast<uint8_t*>(out.scales), slice.columns.size() * slice.rows.size() / 32,
                kernels::kExponentOfOne);
    return {};
  }
  static LowBitForm stack_form() {
    return {.code = LowBitCode::kE2M1, .in_features = 64, .group_size = 32, .transposed = true};
  }
  static LowBitForm ordered_form() {
    LowBitForm f = form(64);
    for (int32_t j = 0; j < 256; ++j) f.input_order.push_back(255 - j);
    return f;
  }

  LowBitForm g64_ = form(64);
  LowBitForm row_ = form(256);
  LowBitForm ordered_ = ordered_form();
  LowBitForm far_ = form(64);
  LowBitForm stack_ = stack_form();
};

struct Packed {
  std::unique_ptr<kernels::PackedWeight> weight;
  std::string note;
  std::string error;
};

// Of row `i` of a part, input `k`.
float expected_weight(const WeightPart& part, int64_t i, int64_t k) {
  const plan::TensorSlice& slice = part.slice;
  const int64_t n = part.n_rows();
  const int64_t row = !part.interleaved ? i : (i < (n + 1) / 2 ? 2 * i : 2 * (i - (n + 1) / 2) + 1);
  return part.transposed ? FakeSource::value(slice.rows.begin + k, slice.columns.begin + row)
                         : FakeSource::value(slice.rows.begin + row, slice.columns.begin + k);
}

Packed pack(const std::vector<WeightPart>& parts, QuantizedWeights quantized,
            int64_t min_rows = 0) {
  FakeSource source;
  const auto backend = make_test_backend("cpu", kernels::ComputeDType::kF32);
  ShardLoader declaring;
  (void)declaring.packed(parts, min_rows);
  int64_t done = 0;
  int64_t total = 0;
  auto loader = ShardLoader::create(
      "Fake", {declaring.declaration()}, 0, source, *backend,
      [&](int64_t now, int64_t all) {
        done = now;
        total = all;
      },
      quantized);
  CHECK(loader.ok());
  Packed packed;
  packed.weight = loader->packed(parts, min_rows);
  packed.note = loader->low_bit_note();
  if (!loader->status().ok()) packed.error = loader->status().error().message;
  EXPECT_EQ(done, total);
  if (packed.weight == nullptr) return packed;
  EXPECT_EQ(loader->device_bytes(), static_cast<int64_t>(packed.weight->bytes()));
  // One input at a time brings out the weights.
  const int64_t in = packed.weight->in_features();
  const int64_t out = packed.weight->out_features();
  int64_t n_rows = 0;
  for (const WeightPart& part : parts) n_rows += part.n_rows();
  std::vector<float> x(static_cast<size_t>(in), 0.0f);
  std::vector<float> y(static_cast<size_t>(out));
  for (int64_t k = 0; k < in; ++k) {
    x[static_cast<size_t>(k)] = 1;
    backend->linear({.x = TensorView(x.data(), DType::kF32, {1, in}),
                     .weight = packed.weight.get(),
                     .out = TensorView(y.data(), DType::kF32, {1, out})},
                    {});
    x[static_cast<size_t>(k)] = 0;
    int64_t row = 0;
    for (const WeightPart& part : parts) {
      for (int64_t i = 0; i < part.n_rows(); ++i, ++row) {
        EXPECT_EQ(y[static_cast<size_t>(row)], expected_weight(part, i, k))
            << "row " << row << " input " << k;
      }
    }
    for (; row < out; ++row) EXPECT_EQ(y[static_cast<size_t>(row)], 0.0f);
  }
  return packed;
}

WeightPart part_of(const std::string& name, plan::Range rows, plan::Range columns) {
  return {.slice = {name, {8, 256}, rows, columns}};
}

TEST(LowBitLoader, StacksThatAgreeStay) {
  const std::vector<WeightPart> parts = {part_of("g64 q", {0, 8}, {0, 256}),
                                         part_of("g64 k", {2, 5}, {0, 256})};
  const Packed kept = pack(parts, QuantizedWeights::kKeep, 16);
  EXPECT_EQ(kept.error, "");
  EXPECT_EQ(kept.note, "1 quantised matrix stays low-bit");
  const Packed expanded = pack(parts, QuantizedWeights::kExpand, 16);
  EXPECT_EQ(expanded.note, "");
  EXPECT_LT(kept.weight->bytes(), expanded.weight->bytes() / 3);
}

TEST(LowBitLoader, CutsBetweenGroupsStay) {
  for (const plan::Range columns : {plan::Range{64, 192}, plan::Range{192, 256}}) {
    EXPECT_THAT(pack({part_of("g64", {0, 8}, columns)}, QuantizedWeights::kKeep).note,
                HasSubstr("1 quantised matrix stays"));
  }
  // A row's scale holds wherever the row is cut.
  EXPECT_THAT(pack({part_of("row", {0, 8}, {5, 77})}, QuantizedWeights::kKeep).note,
              HasSubstr("1 quantised matrix stays"));
}

// Experts [inputs, outputs], gate and up columns alternating.
TEST(LowBitLoader, TransposedStacksStay) {
  const auto part = [](plan::Range rows, plan::Range columns, bool interleaved) {
    return WeightPart{.slice = {"stack", {4, 64, 10}, rows, columns},
                      .transposed = true,
                      .interleaved = interleaved};
  };
  for (const bool interleaved : {false, true}) {
    for (const plan::Range rows : {plan::Range{64, 128}, plan::Range{96, 128}}) {
      const Packed kept = pack({part(rows, {2, 9}, interleaved)}, QuantizedWeights::kKeep, 9);
      EXPECT_EQ(kept.error, "");
      EXPECT_EQ(kept.note, "1 quantised matrix stays low-bit");
    }
  }
  EXPECT_THAT(pack({part({64, 112}, {0, 10}, true)}, QuantizedWeights::kKeep).note,
              HasSubstr("inputs 0 to 48 are not whole groups of 32"));
  EXPECT_THAT(pack({part({32, 96}, {0, 10}, true)}, QuantizedWeights::kKeep).note,
              HasSubstr("across its matrices"));
  WeightPart upright = part({0, 64}, {0, 10}, false);
  upright.transposed = false;
  EXPECT_THAT(pack({upright}, QuantizedWeights::kKeep).note, HasSubstr("another order"));
}

TEST(LowBitLoader, WhatLeavesTheRangeIsExpanded) {
  const Packed packed = pack({part_of("far", {0, 8}, {0, 256})}, QuantizedWeights::kKeep);
  EXPECT_EQ(packed.error, "");
  EXPECT_EQ(packed.note,
            "0 quantised matrices stay low-bit, 1 is expanded; the first: tensor \"far\": a scale "
            "is far out");
}

TEST(LowBitLoader, OtherCutsAndStacksAreExpandedAndSaidSo) {
  const auto note = [](const std::vector<WeightPart>& parts) {
    const Packed packed = pack(parts, QuantizedWeights::kKeep);
    EXPECT_EQ(packed.error, "");
    return packed.note;
  };
  EXPECT_THAT(note({part_of("g64 down", {0, 8}, {32, 192})}),
              AllOf(HasSubstr("0 quantised matrices stay low-bit, 1 is expanded"),
                    HasSubstr("\"g64 down\": inputs 32 to 192 are not whole groups of 64")));
  EXPECT_THAT(note({part_of("g64", {0, 8}, {0, 256}), part_of("row", {0, 8}, {0, 256})}),
              HasSubstr("other groups"));
  EXPECT_THAT(note({part_of("g64", {0, 8}, {0, 256}), part_of("plain", {0, 8}, {0, 256})}),
              HasSubstr("not all stored"));
  EXPECT_THAT(note({part_of("ordered", {0, 8}, {64, 128})}), HasSubstr("neighbouring"));
  EXPECT_EQ(note({part_of("plain", {0, 8}, {64, 128})}), "");
  EXPECT_THAT(note({part_of("g64", {0, 8}, {64, 200})}), HasSubstr("64 to 200"));
}

}  // namespace
}  // namespace trireme::worker
