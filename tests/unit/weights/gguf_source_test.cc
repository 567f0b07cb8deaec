// GGUF as a source of weights: names, undone changes, slices.
#include "worker/weights/gguf_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/weights/file_builders.h"
#include "tests/unit/weights/format_goldens.h"
#include "worker/weights/gguf_names.h"

namespace trireme::worker {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<float> counting(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

GgufBuilder header(const std::string& architecture) {
  GgufBuilder file;
  file.text("general.architecture", architecture)
      .u32(architecture + ".attention.head_count", 2)
      .u32(architecture + ".attention.head_count_kv", 1);
  return file;
}

class SourceFile {
 public:
  explicit SourceFile(const GgufBuilder& file) {
    write_file(dir_ / "m.gguf", file.bytes());
    opened_ = open_checkpoint(dir_.path());
  }
  WeightSource& operator*() {
    CHECK(opened_->ok()) << opened_->error().message;
    return ***opened_;
  }
  std::string error() const { return opened_->ok() ? "accepted" : opened_->error().to_string(); }

 private:
  TempDir dir_;
  std::optional<Result<std::unique_ptr<WeightSource>>> opened_;
};

TEST(GgufSource, UndoesTheRowsOfLlamaHeads) {
  // Two heads of 6 rows, of which each holds its own number: stored row 2 i is row i, 2 i + 1 is
  // row i + 3.
  GgufBuilder file = header("llama");
  file.f32_tensor("blk.0.attn_q.weight", {12, 1}, counting(12));
  file.f32_tensor("blk.0.attn_k.weight", {6, 1}, counting(6));
  file.f32_tensor("blk.0.attn_v.weight", {6, 1}, counting(6));
  file.f32_tensor("blk.0.attn_q.bias", {12}, counting(12));
  SourceFile source(file);
  const std::string layer = "model.layers.0.self_attn.";
  const auto q = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  EXPECT_THAT(read_all(*source, layer + "q_proj.weight"), testing::ElementsAreArray(q));
  EXPECT_THAT(read_all(*source, layer + "q_proj.bias"), testing::ElementsAreArray(q));
  EXPECT_THAT(read_all(*source, layer + "k_proj.weight"), ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THAT(read_all(*source, layer + "v_proj.weight"), ElementsAre(0, 1, 2, 3, 4, 5));
  expect_slices_agree(*source);
  // Other architectures store them as they are.
  GgufBuilder other = header("qwen2");
  other.f32_tensor("blk.0.attn_q.weight", {12, 1}, counting(12));
  SourceFile plain(other);
  EXPECT_EQ(read_all(*plain, layer + "q_proj.weight"), counting(12));
  // Rows that are no heads.
  GgufBuilder odd = header("llama");
  odd.f32_tensor("blk.0.attn_q.weight", {10, 1}, counting(10));
  EXPECT_THAT(SourceFile(odd).error(), AllOf(HasSubstr("blk.0.attn_q.weight"), HasSubstr("heads")));
}

TEST(GgufSource, TakesTheOneOffGemmaNorms) {
  GgufBuilder file = header("gemma");
  file.f32_tensor("blk.3.attn_norm.weight", {2}, {1.5f, 0.75f});
  file.tensor("output_norm.weight", {1}, 1, bytes_of(std::vector<uint16_t>{0x4000}));  // f16 2
  SourceFile source(file);
  EXPECT_THAT(read_all(*source, "model.layers.3.input_layernorm.weight"),
              ElementsAre(0.5f, -0.25f));
  EXPECT_THAT(read_all(*source, "model.norm.weight"), ElementsAre(1.0f));
  EXPECT_EQ((*source).dtype("model.norm.weight"), DType::kF32);
}

TEST(GgufSource, TakesStacksOfExpertsApart) {
  GgufBuilder file = header("grok");
  file.f32_tensor("blk.1.ffn_gate_exps.weight", {3, 2, 4}, counting(24));
  SourceFile source(file);
  EXPECT_EQ((*source).inventory()->size(), 3u);
  EXPECT_THAT(read_all(*source, "model.layers.1.block_sparse_moe.experts.2.w1.weight"),
              ElementsAre(16, 17, 18, 19, 20, 21, 22, 23));
  expect_slices_agree(*source);
}

TEST(GgufSource, WhatHasNoPlaceNamesItself) {
  const auto error_with = [](const std::string& architecture, const std::string& name,
                             const std::vector<int64_t>& shape = {1}) {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    GgufBuilder file = header(architecture);
    file.f32_tensor(name, shape, counting(static_cast<size_t>(n)));
    return SourceFile(file).error();
  };
  EXPECT_EQ(error_with("llama", "output_norm.weight"), "accepted");
  EXPECT_EQ(error_with("llama", "rope_freqs.weight"), "accepted");
  for (const char* name :
       {"blk.0.attn_q_norm.weight", "blk.0.other.weight", "blk.x.attn_norm.weight",
        "blk.00.attn_norm.weight", "blk.-1.attn_norm.weight", "blk.0", "other.weight",
        "blk.99999999999999999999.attn_norm.weight"}) {
    EXPECT_THAT(error_with("llama", name), HasSubstr(name));
  }
  EXPECT_THAT(error_with("llama", "blk.0.ffn_gate_exps.weight", {2, 2}), HasSubstr("expert"));
  EXPECT_THAT(error_with("llama", "output_norm.weight", {1, 1, 1}), HasSubstr("3 dimensions"));
  EXPECT_THAT(error_with("mamba", "output_norm.weight"),
              AllOf(HasSubstr("unimplemented"), HasSubstr("mamba")));
}

TEST(GgufSource, SlicesOfEveryTypeAgree) {
  for (const char* name : {"gguf/llama_q2_k", "gguf/gemma_q8_0", "gguf/llama_q8_0_split"}) {
    if (!has_format_golden(name)) continue;  // left_out() tells of it
    SCOPED_TRACE(name);
    auto source = open_checkpoint(format_golden_dir(name));
    ASSERT_TRUE(source.ok()) << source.error().message;
    EXPECT_THAT((*source)->note(), HasSubstr("expanded at load"));
    expect_slices_agree(**source);
  }
}

}  // namespace
}  // namespace trireme::worker
