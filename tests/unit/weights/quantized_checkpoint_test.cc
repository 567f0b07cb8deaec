// Quantised safetensors: values against plain formulas, slices against the whole, and what is said
// of checkpoints that are broken.
#include "worker/weights/quantized_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "parallel/plan/model_spec.h"
#include "tests/unit/weights/file_builders.h"
#include "tests/unit/weights/format_goldens.h"

namespace trireme::worker {
namespace {

using testing::AllOf;
using testing::HasSubstr;

plan::QuantizationSpec quantization_of(const std::string& dir) {
  const auto spec = plan::parse_quantization(read_whole_file(dir + "/config.json"));
  CHECK(spec.ok()) << spec.error().message;
  return *spec;
}

std::unique_ptr<WeightSource> open(const std::string& dir) {
  auto source = open_checkpoint(dir, quantization_of(dir));
  CHECK(source.ok()) << source.error().message;
  return std::move(*source);
}

const FileTensor& find(const std::vector<FileTensor>& tensors, const std::string& name) {
  for (const FileTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  CHECK(false) << "no tensor " << name;
  return tensors.front();
}

TEST(QuantizedCheckpoint, SlicesOfEveryFormAgree) {
  for (const char* name : {"deepseek_v3_fp8", "gpt_oss_mxfp4", "llama_awq", "llama_fp8_channel",
                           "llama_fp8_static", "llama_gptq_actorder", "llama_w8a8"}) {
    SCOPED_TRACE(name);
    const auto source = open(cut_dir(name));
    EXPECT_THAT(source->note(), HasSubstr("expanded"));
    const auto inventory = source->inventory();
    for (const SourceTensor& tensor : *inventory) {
      EXPECT_TRUE(tensor.dtype.has_value()) << tensor.name;
      EXPECT_THAT(tensor.name, testing::Not(HasSubstr("scale")));
    }
    expect_slices_agree(*source);
  }
}

// A second decoder of E4M3, from the definition.
float e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const float fraction = static_cast<float>(bits & 7) / 8;
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

TEST(QuantizedCheckpoint, Fp8BlocksWithCutEdges) {
  const std::string dir = cut_dir("deepseek_v3_fp8");
  const auto tensors = read_safetensors(dir + "/model.safetensors");
  const auto source = open(dir);
  int n_matrices = 0;
  for (const FileTensor& tensor : tensors) {
    if (tensor.dtype != "F8_E4M3") continue;
    ++n_matrices;
    const FileTensor& scales = find(tensors, tensor.name + "_scale_inv");
    std::vector<float> scale(scales.bytes.size() / 4);
    std::memcpy(scale.data(), scales.bytes.data(), scales.bytes.size());
    const std::vector<float> got = read_all(*source, tensor.name);
    const int64_t width = tensor.shape[1];
    for (int64_t i = 0; i < tensor.shape[0] * width; ++i) {
      const float s =
          scale[static_cast<size_t>(i / width / 128 * scales.shape[1] + i % width / 128)];
      const float expected = e4m3(static_cast<uint8_t>(tensor.bytes[static_cast<size_t>(i)])) * s;
      ASSERT_EQ(got[static_cast<size_t>(i)], expected) << tensor.name << " " << i;
    }
  }
  EXPECT_EQ(n_matrices, 17);
}

TEST(QuantizedCheckpoint, Mxfp4IsShownAsInputsByOutputs) {
  const std::string dir = cut_dir("gpt_oss_mxfp4");
  const auto tensors = read_safetensors(dir + "/model.safetensors");
  const auto source = open(dir);
  const std::string name = "model.layers.1.mlp.experts.gate_up_proj";
  const FileTensor& blocks = find(tensors, name + "_blocks");
  const FileTensor& scales = find(tensors, name + "_scales");
  const int64_t n_out = blocks.shape[1];
  const int64_t n_in = blocks.shape[2] * 32;
  const auto inventory = *source->inventory();
  const auto shown = std::find_if(inventory.begin(), inventory.end(),
                                  [&](const SourceTensor& t) { return t.name == name; });
  ASSERT_NE(shown, inventory.end());
  EXPECT_EQ(shown->shape, (std::vector<int64_t>{blocks.shape[0], n_in, n_out}));
  const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const std::vector<float> got = read_all(*source, name);
  for (int64_t e = 0; e < blocks.shape[0]; ++e) {
    for (int64_t i = 0; i < n_in; ++i) {
      for (int64_t o = 0; o < n_out; ++o) {
        const int64_t block = (e * n_out + o) * (n_in / 32) + i / 32;
        const auto byte =
            static_cast<uint8_t>(blocks.bytes[static_cast<size_t>(block * 16 + i % 32 / 2)]);
        const int code = i % 2 == 0 ? byte & 15 : byte >> 4;
        const auto scale = static_cast<uint8_t>(scales.bytes[static_cast<size_t>(block)]);
        const float expected =
            std::ldexp((code & 8) != 0 ? -values[code & 7] : values[code & 7], scale - 127);
        ASSERT_EQ(got[static_cast<size_t>((e * n_in + i) * n_out + o)], expected);
      }
    }
  }
}

// Written by hand from the published layout: value k of a word is input 8 c + k, plus 8.
TEST(QuantizedCheckpoint, PackedIntegersOfCompressedTensors) {
  constexpr int64_t kOut = 10;
  constexpr int64_t kIn = 37;
  constexpr int64_t kGroup = 16;
  constexpr int64_t kGroups = 3;
  const auto q = [](int64_t o, int64_t i) { return static_cast<int>((o * 5 + i * 3) % 16) - 8; };
  const auto z = [](int64_t o, int64_t g) { return static_cast<int>((o + g * 7) % 16) - 8; };
  const auto s = [](int64_t o, int64_t g) { return 0.125f * static_cast<float>(o + g + 1); };
  std::vector<uint32_t> packed(kOut * 5, 0);
  for (int64_t o = 0; o < kOut; ++o) {
    for (int64_t i = 0; i < kIn; ++i) {
      packed[static_cast<size_t>(o * 5 + i / 8)] |= static_cast<uint32_t>(q(o, i) + 8)
                                                    << (4 * (i % 8));
    }
  }
  std::vector<uint32_t> zeros(2 * kGroups, 0);
  std::vector<float> scales;
  for (int64_t o = 0; o < kOut; ++o) {
    for (int64_t g = 0; g < kGroups; ++g) {
      scales.push_back(s(o, g));
      zeros[static_cast<size_t>(o / 8 * kGroups + g)] |= static_cast<uint32_t>(z(o, g) + 8)
                                                         << (4 * (o % 8));
    }
  }
  std::vector<int32_t> index;
  for (int64_t i = 0; i < kIn; ++i) index.push_back(static_cast<int32_t>((i * 7) % kGroups));
  const auto check = [&](bool symmetric, bool act_order) {
    std::vector<FileTensor> tensors = {
        {"m.weight_packed", "I32", {kOut, 5}, bytes_of(packed)},
        {"m.weight_scale", "F32", {kOut, kGroups}, bytes_of(scales)},
        {"m.weight_shape", "I64", {2}, bytes_of(std::vector<int64_t>{kOut, kIn})}};
    if (!symmetric)
      tensors.push_back({"m.weight_zero_point", "I32", {2, kGroups}, bytes_of(zeros)});
    if (act_order) tensors.push_back({"m.weight_g_idx", "I32", {kIn}, bytes_of(index)});
    const TempDir dir;
    write_file(dir / "model.safetensors", safetensors_bytes(tensors));
    plan::QuantizationSpec spec;
    spec.layout = plan::QuantLayout::kPackedInts;
    spec.name = "packed";
    spec.bits = 4;
    spec.group_size = kGroup;
    spec.symmetric = symmetric;
    auto source = open_checkpoint(dir.path(), spec);
    ASSERT_TRUE(source.ok()) << source.error().message;
    const std::vector<float> got = read_all(**source, "m.weight");
    ASSERT_EQ(got.size(), static_cast<size_t>(kOut * kIn));
    for (int64_t o = 0; o < kOut; ++o) {
      for (int64_t i = 0; i < kIn; ++i) {
        const int64_t g = act_order ? index[static_cast<size_t>(i)] : i / kGroup;
        const int zero = symmetric ? 0 : z(o, g);
        EXPECT_EQ(got[static_cast<size_t>(o * kIn + i)],
                  static_cast<float>(q(o, i) - zero) * s(o, g))
            << o << " " << i;
      }
    }
    expect_slices_agree(**source);
  };
  check(true, false);
  check(false, false);
  check(true, true);
  check(false, true);
}

TEST(QuantizedCheckpoint, AwqAndGptqAgreeOnTheSameNumbers) {
  // The same 4-bit matrix in both packings, all zero points 7.
  constexpr int64_t kOut = 16;
  constexpr int64_t kIn = 24;
  const auto q = [](int64_t o, int64_t i) { return static_cast<uint32_t>((o * 3 + i * 5) % 16); };
  const int order[] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<uint32_t> awq(kIn * kOut / 8, 0);
  std::vector<uint32_t> gptq(kIn / 8 * kOut, 0);
  for (int64_t i = 0; i < kIn; ++i) {
    for (int64_t word = 0; word < kOut / 8; ++word) {
      for (int k = 0; k < 8; ++k) {
        awq[static_cast<size_t>(i * (kOut / 8) + word)] |= q(word * 8 + order[k], i) << (4 * k);
      }
    }
    for (int64_t o = 0; o < kOut; ++o) {
      gptq[static_cast<size_t>(i / 8 * kOut + o)] |= q(o, i) << (4 * (i % 8));
    }
  }
  const auto read = [&](const std::vector<FileTensor>& tensors, const std::string& method) {
    const TempDir dir;
    write_file(dir / "model.safetensors", safetensors_bytes(tensors));
    const auto spec = plan::parse_quantization(
        R"({"quantization_config":{"bits":4,"group_size":-1,"quant_method":")" + method + "\"}}");
    auto source = open_checkpoint(dir.path(), *spec);
    CHECK(source.ok()) << source.error().message;
    return read_all(**source, "m.weight");
  };
  const std::string scales = bytes_of(std::vector<float>(kOut, 0.5f));
  const auto from_awq =
      read({{"m.qweight", "I32", {kIn, kOut / 8}, bytes_of(awq)},
            {"m.qzeros", "I32", {1, 2}, bytes_of(std::vector<uint32_t>{0x77777777, 0x77777777})},
            {"m.scales", "F32", {1, kOut}, scales}},
           "awq");
  const auto from_gptq =
      read({{"m.qweight", "I32", {kIn / 8, kOut}, bytes_of(gptq)},
            {"m.qzeros", "I32", {1, 2}, bytes_of(std::vector<uint32_t>{0x66666666, 0x66666666})},
            {"m.scales", "F32", {1, kOut}, scales}},
           "gptq");
  ASSERT_EQ(from_awq.size(), static_cast<size_t>(kOut * kIn));
  EXPECT_EQ(from_awq, from_gptq);
  for (int64_t o = 0; o < kOut; ++o) {
    for (int64_t i = 0; i < kIn; ++i) {
      EXPECT_EQ(from_awq[static_cast<size_t>(o * kIn + i)],
                (static_cast<float>(q(o, i)) - 7) * 0.5f);
    }
  }
}

// The message of opening a golden after a change.
std::string broken(const std::string& golden,
                   const std::function<void(std::vector<FileTensor>&)>& change) {
  const std::string from = cut_dir(golden);
  std::vector<FileTensor> tensors = read_safetensors(from + "/model.safetensors");
  change(tensors);
  const TempDir dir;
  write_file(dir / "model.safetensors", safetensors_bytes(tensors));
  const auto source = open_checkpoint(dir.path(), quantization_of(from));
  return source.ok() ? "accepted" : source.error().to_string();
}

FileTensor& at(std::vector<FileTensor>& tensors, const std::string& name) {
  return const_cast<FileTensor&>(find(tensors, name));
}

void drop(std::vector<FileTensor>& tensors, const std::string& name) {
  std::erase_if(tensors, [&](const FileTensor& tensor) { return tensor.name == name; });
}

TEST(QuantizedCheckpoint, BrokenOnesNameTheTensor) {
  const std::string down = "model.layers.1.mlp.down_proj";
  const auto says = [](const std::string& name) {
    return AllOf(HasSubstr("invalid_argument"), HasSubstr("\"" + name + "\""));
  };
  struct Case {
    const char* golden;
    std::vector<std::string> parts;
  };
  const Case cases[] = {{"llama_awq", {".qzeros", ".scales"}},
                        {"llama_gptq_actorder", {".qzeros", ".scales"}},
                        {"llama_fp8_channel", {".weight_scale"}},
                        {"llama_fp8_static", {".weight_scale"}},
                        {"llama_w8a8", {".weight_scale"}}};
  for (const Case& test : cases) {
    SCOPED_TRACE(test.golden);
    EXPECT_EQ(broken(test.golden, [](auto&) {}), "accepted");
    for (const std::string& part : test.parts) {
      const std::string name = down + part;
      EXPECT_THAT(broken(test.golden, [&](auto& t) { drop(t, name); }), says(name));
      EXPECT_THAT(broken(test.golden,
                         [&](auto& t) {
                           FileTensor& tensor = at(t, name);
                           tensor.shape = {static_cast<int64_t>(tensor.bytes.size()), 1};
                           tensor.bytes += tensor.bytes;
                           if (tensor.dtype != "F16" && tensor.dtype != "BF16") {
                             tensor.bytes += tensor.bytes;
                           }
                         }),
                  says(name));
      EXPECT_THAT(broken(test.golden,
                         [&](auto& t) {
                           FileTensor& tensor = at(t, name);
                           const bool two = tensor.dtype == "F16" || tensor.dtype == "BF16";
                           tensor.dtype = two ? "I16" : "U32";
                         }),
                  says(name));
      // A part of a module that there is not.
      const std::string other = "model.layers.1.mlp.other" + part;
      EXPECT_THAT(broken(test.golden, [&](auto& t) { at(t, name).name = other; }), HasSubstr(down));
      EXPECT_THAT(broken(test.golden,
                         [&](auto& t) {
                           FileTensor surplus = at(t, name);
                           surplus.name = other;
                           t.push_back(surplus);
                         }),
                  says(other));
    }
  }
}

TEST(QuantizedCheckpoint, WhatConfigAndFilesMustAgreeOn) {
  const std::string up = "model.layers.0.mlp.up_proj";
  // A plain weight where all others of its kind are quantised.
  const std::string plain = broken("llama_w8a8", [&](auto& t) {
    FileTensor& weight = at(t, up + ".weight");
    weight.dtype = "BF16";
    weight.bytes += weight.bytes;
    drop(t, up + ".weight_scale");
  });
  EXPECT_THAT(plain, AllOf(HasSubstr(up + ".weight"), HasSubstr("BF16")));
  // One that the config leaves alone.
  EXPECT_THAT(broken("llama_fp8_channel",
                     [&](auto& t) {
                       FileTensor head = at(t, up + ".weight");
                       head.name = "lm_head.weight";
                       drop(t, "lm_head.weight");
                       t.push_back(head);
                     }),
              AllOf(HasSubstr("lm_head.weight"), HasSubstr("left alone")));
  // Both forms of one weight.
  EXPECT_THAT(broken("llama_awq",
                     [&](auto& t) {
                       t.push_back({up + ".weight", "F16", {1}, "xx"});
                     }),
              AllOf(HasSubstr(up + ".weight"), HasSubstr("both")));
  // The other 8-bit type.
  EXPECT_THAT(broken("llama_w8a8", [&](auto& t) { at(t, up + ".weight").dtype = "F8_E4M3"; }),
              AllOf(HasSubstr(up + ".weight"), HasSubstr("I8")));
  // Nothing quantised at all.
  EXPECT_THAT(broken("llama_awq",
                     [&](auto& t) {
                       std::erase_if(t, [](const FileTensor& tensor) {
                         return tensor.name.find("_proj") != std::string::npos;
                       });
                     }),
              HasSubstr("no tensor of it is"));
  // A group index that points outside.
  EXPECT_THAT(broken("llama_gptq_actorder",
                     [&](auto& t) {
                       FileTensor& index = at(t, up + ".g_idx");
                       index.bytes.replace(4, 4, u32_bytes(77));
                     }),
              AllOf(HasSubstr(up + ".g_idx"), HasSubstr("77")));
  EXPECT_THAT(broken("llama_gptq_actorder",
                     [&](auto& t) { at(t, up + ".g_idx").bytes.replace(4, 4, u32_bytes(-1)); }),
              HasSubstr(up + ".g_idx"));
}

TEST(QuantizedCheckpoint, Mxfp4Broken) {
  const std::string name = "model.layers.0.mlp.experts.down_proj";
  EXPECT_THAT(broken("gpt_oss_mxfp4", [&](auto& t) { drop(t, name + "_scales"); }),
              HasSubstr(name + "_scales"));
  EXPECT_THAT(broken("gpt_oss_mxfp4",
                     [&](auto& t) {
                       std::swap(at(t, name + "_scales").shape[0],
                                 at(t, name + "_scales").shape[1]);
                     }),
              HasSubstr(name + "_scales"));
  EXPECT_THAT(broken("gpt_oss_mxfp4", [&](auto& t) { drop(t, name + "_blocks"); }),
              HasSubstr(name + "_scales"));
  EXPECT_THAT(broken("gpt_oss_mxfp4", [&](auto& t) { at(t, name + "_blocks").dtype = "I8"; }),
              HasSubstr(name + "_blocks"));
}

TEST(Checkpoint, OtherSerialisationsAreNamedAndNeverOpened) {
  const TempDir dir;
  write_file(dir / "pytorch_model.bin", "\x80\x02}q\x00.");
  const auto source = open_checkpoint(dir.path());
  ASSERT_FALSE(source.ok());
  EXPECT_THAT(source.error().message,
              AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("never opened")));
}

}  // namespace
}  // namespace trireme::worker
