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

std::unique_ptr<Codes> read_codes(WeightSource& source, const plan::TensorSlice& slice) {
  const LowBitForm& form = *source.low_bit_form(slice);
  auto read = std::make_unique<Codes>();
  const int64_t rows = slice.rows.size();
  const int64_t in = slice.columns.size();
  const bool is_int4 = form.code == LowBitCode::kInt4;
  const int64_t words = (in + 7) / 8;
  read->codes.resize(static_cast<size_t>(is_int4 ? rows * words : (rows * in + 3) / 4));
  LowBitMatrix& m = read->matrix;
  m.code = form.code;
  m.in_features = in;
  m.group_size = form.group_size == form.in_features ? in : form.group_size;
  const int64_t groups = (in + m.group_size - 1) / m.group_size;
  read->scales.resize(static_cast<size_t>(rows * groups));
  read->zeros.resize(read->scales.size());
  read->order = form.input_order;
  CHECK(source
            .read_low_bit(slice, {reinterpret_cast<uint8_t*>(read->codes.data()),
                                  read->scales.data(), read->zeros.data()})
            .ok());
  m.codes = is_int4 ? TensorView(read->codes.data(), DType::kI32, {rows, words})
                    : TensorView(read->codes.data(), DType::kU8, {rows, in});
  m.scales = TensorView(read->scales.data(), DType::kF32, {rows, groups});
  if (form.has_zeros) m.zeros = TensorView(read->zeros.data(), DType::kU8, {rows, groups});
  if (!read->order.empty()) m.input_order = TensorView(read->order.data(), DType::kI32, {in});
  return read;
}

void expect_codes_stand_for(WeightSource& source, const plan::TensorSlice& slice) {
  SCOPED_TRACE(slice.name);
  const auto in = static_cast<size_t>(slice.columns.size());
  std::vector<float> plain(static_cast<size_t>(slice.rows.size()) * in);
  ASSERT_TRUE(source.read(slice, plain.data()).ok());
  const auto codes = read_codes(source, slice);
  const Status status = kernels::check_low_bit(codes->matrix);
  ASSERT_TRUE(status.ok()) << status.error().message;
  std::vector<float> row(in);
  for (int64_t i = 0; i < slice.rows.size(); ++i) {
    kernels::expand_low_bit_row(codes->matrix, i, row.data());
    const float* expected = plain.data() + static_cast<size_t>(i) * in;
    ASSERT_EQ(std::memcmp(row.data(), expected, in * sizeof(float)), 0) << "row " << i;
  }
}

TEST(LowBitForm, CodesStandForWhatIsReadExpanded) {
  for (const char* name : {"deepseek_v3_fp8", "llama_awq", "llama_fp8_channel", "llama_fp8_static",
                           "llama_gptq_actorder"}) {
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

TEST(LowBitForm, OtherFormsHaveNone) {
  for (const char* name : {"llama_w8a8", "gpt_oss_mxfp4"}) {
    const auto source = open(cut_dir(name));
    const auto inventory = source->inventory();
    for (const SourceTensor& tensor : *inventory) {
      EXPECT_EQ(form_of(*source, tensor), nullptr) << tensor.name;
    }
  }
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
    return name.starts_with("ordered") ? &ordered_ : nullptr;
  }
  Status read_low_bit(const plan::TensorSlice& slice, const LowBitRows& out) override {
    const int64_t group = slice.name.starts_with("row") ? 256 : 64;
    int64_t i = 0;
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      uint8_t* to = out.codes + (row - slice.rows.begin) * slice.columns.size();
      for (int64_t k = slice.columns.begin; k < slice.columns.end; ++k) *to++ = code(row, k);
      for (int64_t g = slice.columns.begin; g < slice.columns.end; g += group) out.scales[i++] = 1;
    }
    return {};
  }
  static float value(int64_t row, int64_t k) { return (row + k) % 2 == 0 ? 1.0f : -2.0f; }

 private:
  static uint8_t code(int64_t row, int64_t k) { return (row + k) % 2 == 0 ? 0x38 : 0xc0; }
  static LowBitForm form(int64_t group_size) {
    return {.code = LowBitCode::kE4M3, .in_features = 256, .group_size = group_size};
  }
  static LowBitForm ordered_form() {
    LowBitForm f = form(64);
    for (int32_t j = 0; j < 256; ++j) f.input_order.push_back(255 - j);
    return f;
  }

  LowBitForm g64_ = form(64);
  LowBitForm row_ = form(256);
  LowBitForm ordered_ = ordered_form();
};

struct Packed {
  std::unique_ptr<kernels::PackedWeight> weight;
  std::string note;
  std::string error;
};

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
      for (int64_t i = part.slice.rows.begin; i < part.slice.rows.end; ++i, ++row) {
        const float expected = FakeSource::value(i, part.slice.columns.begin + k);
        EXPECT_EQ(y[static_cast<size_t>(row)], expected) << "row " << row << " input " << k;
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
