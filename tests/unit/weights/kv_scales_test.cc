// Scales of a cache of e4m3 as checkpoints name them, and what they do to a model.
#include "worker/weights/kv_scales.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/unit/weights/file_builders.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/weights/checkpoint.h"

namespace trireme::worker {
namespace {

using testing::HasSubstr;

TEST(KvScaleNames, AreThoseOfPublishedCheckpoints) {
  for (const char* name :
       {"model.layers.17.self_attn.k_scale", "model.layers.17.self_attn.attn.k_scale",
        "model.layers.17.self_attn.k_proj.k_scale", "model.layers.17.self_attn.qkv_proj.k_scale",
        "language_model.model.layers.17.self_attn.k_scale", "layers.17.self_attn.k_scale"}) {
    const auto found = find_kv_scale(name);
    ASSERT_TRUE(found.has_value()) << name;
    EXPECT_EQ(found->layer, 17);
    EXPECT_TRUE(found->of_keys && !found->of_values) << name;
  }
  for (const char* name :
       {"model.layers.0.self_attn.v_scale", "model.layers.0.self_attn.v_proj.v_scale"}) {
    const auto found = find_kv_scale(name);
    ASSERT_TRUE(found.has_value()) << name;
    EXPECT_TRUE(!found->of_keys && found->of_values) << name;
  }
  const auto both = find_kv_scale("model.layers.3.self_attn.kv_scale");
  ASSERT_TRUE(both.has_value());
  EXPECT_TRUE(both->of_keys && both->of_values);
}

TEST(KvScaleNames, OthersAreNone) {
  for (const char* name :
       {"", "k_scale", "model.layers.x.self_attn.k_scale", "model.layers.-1.self_attn.k_scale",
        "model.layers.99999999999999999999.self_attn.k_scale", "model.layers.1self_attn.k_scale",
        "model.layers.1.self_attn.k_proj.weight_scale", "model.layers.1.self_attn.v_proj.k_scale",
        "model.layers.1.mlp.k_scale", "model.layers.1.self_attn.k_scales",
        "model.sublayers.1.self_attn.k_scale", "model.layers.1.self_attn.q_scale"}) {
    EXPECT_FALSE(find_kv_scale(name).has_value()) << name;
  }
}

FileTensor scale(const std::string& name, float value, std::vector<int64_t> shape = {1}) {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return {name, "F32", std::move(shape),
          bytes_of(std::vector<float>(static_cast<size_t>(n), value))};
}

Result<KvScalesByLayer> scales_of(const std::vector<FileTensor>& tensors) {
  const TempDir dir;
  write_file(dir / "model.safetensors", safetensors_bytes(tensors));
  auto source = open_checkpoint(dir.path());
  CHECK(source.ok()) << source.error().message;
  EXPECT_TRUE((*source)->inventory()->empty()) << "scales are no weights";
  return (*source)->kv_scales();
}

const std::string kLayer = "model.layers.1.self_attn.";

TEST(KvScales, AreReadByLayer) {
  const auto scales = scales_of({scale(kLayer + "k_scale", 0.5f), scale(kLayer + "v_scale", 2, {}),
                                 scale("model.layers.12.self_attn.kv_scale", 0.1f, {1, 1})});
  ASSERT_TRUE(scales.ok()) << scales.error().message;
  ASSERT_EQ(scales->size(), 2u);
  EXPECT_EQ(scales->at(1).k, 0.5f);
  EXPECT_EQ(scales->at(1).v, 2);
  EXPECT_EQ(scales->at(12).k, 0.1f);
  EXPECT_EQ(scales->at(12).v, 0.1f);
}

TEST(KvScales, ThatAreNoneAreErrorsThatNameThem) {
  const auto error_of = [](const std::vector<FileTensor>& tensors) {
    const auto scales = scales_of(tensors);
    return scales.ok() ? std::string() : scales.error().message;
  };
  const FileTensor good = scale(kLayer + "v_scale", 1);
  for (const float bad : {0.0f, -1.0f, std::nanf(""), INFINITY, 1e-45f}) {
    EXPECT_THAT(error_of({good, scale(kLayer + "k_scale", bad)}), HasSubstr("k_scale\" is "))
        << bad;
  }
  EXPECT_THAT(error_of({good, scale(kLayer + "k_scale", 1, {8})}),
              HasSubstr("has 8 scales of a layer's cache; one for the whole layer is read"));
  EXPECT_THAT(error_of({good}), HasSubstr("needs scales of keys and of values"));
  EXPECT_THAT(error_of({good, scale(kLayer + "kv_scale", 1)}), HasSubstr("both"));
  EXPECT_THAT(error_of({good, {kLayer + "k_scale", "I8", {1}, "a"}}), HasSubstr("I8"));
}

// A golden's folder with more tensors in it.
class ScaledModel : public testing::Test {
 protected:
  ScaledModel() {
    namespace fs = std::filesystem;
    for (const char* file : {"config.json", "generation_config.json"}) {
      fs::copy_file(golden_.dir + "/" + file, dir_ / file);
    }
  }

  // Logits of a prompt's last position.
  std::vector<float> logits(const std::vector<FileTensor>& more, bool e4m3_kv) {
    auto tensors = read_safetensors(golden_.dir + "/model.safetensors");
    tensors.insert(tensors.end(), more.begin(), more.end());
    write_file(dir_ / "model.safetensors", safetensors_bytes(tensors));
    TestReplica replica({.model_dir = dir_.path(), .e4m3_kv = e4m3_kv});
    return generate(
               replica,
               {{.prompt = golden_.prompts[1].ids, .sampling = greedy_sampling(), .n_new = 1}})[0]
        .logits.back();
  }

  static std::vector<FileTensor> scales(float k, float v) {
    std::vector<FileTensor> tensors;
    for (int layer = 0; layer < 4; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".self_attn.";
      tensors.push_back(scale(prefix + "k_proj.k_scale", k));
      tensors.push_back(scale(prefix + "v_proj.v_scale", v));
    }
    return tensors;
  }

  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
    return sum / static_cast<double>(a.size());
  }

  const Golden golden_ = load_golden("llama3");
  const TempDir dir_;
};

TEST_F(ScaledModel, ScalesAreUsedByACacheOfE4M3Alone) {
  const auto exact = logits({}, false);
  EXPECT_EQ(logits(scales(0.001f, 0.001f), false), exact);
  const auto coded = logits({}, true);
  const double error = distance(coded, exact);
  EXPECT_GT(error, 0);
  EXPECT_EQ(logits(scales(1, 1), true), coded);
  // Other roundings, no larger ones.
  const auto scaled = logits(scales(0.043f, 0.019f), true);
  EXPECT_NE(scaled, coded);
  EXPECT_LT(distance(scaled, exact), 2 * error);
  // Each is that of its own: the largest number is then 448e-6.
  EXPECT_GT(distance(logits(scales(1e-6f, 1), true), exact), 2 * error);
  EXPECT_GT(distance(logits(scales(1, 1e-6f), true), exact), 2 * error);
}

TEST_F(ScaledModel, ALayerThatTheModelDoesNotHaveIsAnError) {
  auto tensors = read_safetensors(golden_.dir + "/model.safetensors");
  tensors.push_back(scale("model.layers.4.self_attn.kv_scale", 1));
  write_file(dir_ / "model.safetensors", safetensors_bytes(tensors));
  { TestReplica plain({.model_dir = dir_.path()}); }
  EXPECT_DEATH(TestReplica({.model_dir = dir_.path(), .e4m3_kv = true}),
               "scales for the cache of layer 4; the model has 4 layers");
}

}  // namespace
}  // namespace trireme::worker
