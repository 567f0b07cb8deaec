// Checkpoints that are broken, and what is said of them: every message names the tensor or the
// file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "parallel/plan/model_spec.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"
#include "worker/checkpoint_check.h"
#include "worker/models/declare.h"
#include "worker/models/model.h"
#include "worker/stub_group.h"
#include "worker/weights/safetensors.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// A folder that goes away with the test.
class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "trireme_loader_XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() { fs::remove_all(path_); }
  std::string operator/(const std::string& file) const { return (path_ / file).string(); }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string length_field(uint64_t length) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
  return bytes;
}

std::string file_of(const std::string& header, const std::string& data) {
  return length_field(header.size()) + header + data;
}

constexpr const char* kLfsPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

std::string file_of(const std::vector<Tensor>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::string data;
  for (const Tensor& tensor : tensors) {
    header += fmt::format(",\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          tensor.name, tensor.dtype, fmt::join(tensor.shape, ","), data.size(),
                          data.size() + tensor.bytes.size());
    data += tensor.bytes;
  }
  return file_of(header + "}", data);
}

// The tensors of a golden's checkpoint, to be broken.
std::vector<Tensor> golden_tensors(const std::string& model) {
  auto file = SafetensorsFile::open(golden_dir(model) + "/model.safetensors");
  CHECK(file.ok());
  std::vector<Tensor> tensors;
  for (const StoredTensor& stored : (*file)->tensors()) {
    Tensor tensor{stored.name, stored.stored_dtype, stored.shape,
                  std::string(stored.end - stored.begin, '\0')};
    int64_t rows = 1;
    for (const int64_t extent : stored.shape) rows *= extent;
    const int64_t columns = stored.shape.size() > 1 ? stored.shape.back() : 1;
    CHECK((*file)->read(stored, {0, rows / columns}, {0, columns}, tensor.bytes.data()).ok());
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string open_error(const std::string& bytes) {
  const TempDir dir;
  write_file(dir / "model.safetensors", bytes);
  const auto checkpoint = open_checkpoint(dir.path());
  return checkpoint.ok() ? "" : checkpoint.error().message;
}

TEST(Safetensors, FilesThatLie) {
  const std::string one = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(open_error(file_of(one, std::string(8, 'x'))), "");
  EXPECT_THAT(open_error("abc"), AllOf(HasSubstr("model.safetensors"), HasSubstr("truncated")));
  EXPECT_THAT(open_error(length_field(100'000'001) + "{}"),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("100000001")));
  EXPECT_THAT(open_error(length_field(UINT64_MAX) + "{}"), HasSubstr("model.safetensors"));
  EXPECT_THAT(open_error(length_field(50) + "{}"), HasSubstr("truncated"));
  EXPECT_THAT(open_error(file_of(one, std::string(7, 'x'))),
              AllOf(HasSubstr("\"w\""), HasSubstr("7 bytes")));
  EXPECT_THAT(open_error(file_of(one, std::string(9, 'x'))),
              AllOf(HasSubstr("\"w\""), HasSubstr("belong to no tensor")));
  EXPECT_THAT(open_error(kLfsPointer), AllOf(HasSubstr("model.safetensors"), HasSubstr("git-lfs")));
  EXPECT_THAT(open_error("<!DOCTYPE html>"), HasSubstr("is no safetensors file"));
}

TEST(Safetensors, HeadersThatLie) {
  const auto error_of = [](const std::string& header, uint64_t data_bytes = 16) {
    const auto tensors = parse_safetensors_header(header, data_bytes);
    return tensors.ok() ? std::string("accepted") : tensors.error().message;
  };
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const auto b = [](const std::string& begin, const std::string& end) {
    return R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[)" + begin + "," + end + "]}}";
  };
  EXPECT_EQ(error_of("{" + a + b("8", "16")), "accepted");
  EXPECT_THAT(error_of("{" + a + b("4", "12")), AllOf(HasSubstr("overlap"), HasSubstr("\"b\"")));
  EXPECT_THAT(error_of("{" + a + b("0", "8")), AllOf(HasSubstr("overlap"), HasSubstr("\"b\"")));
  EXPECT_THAT(error_of("{" + a + b("12", "20"), 20),
              AllOf(HasSubstr("4 bytes before"), HasSubstr("\"b\"")));
  EXPECT_THAT(error_of("{" + a + b("16", "24")), AllOf(HasSubstr("\"b\""), HasSubstr("claims")));
  EXPECT_THAT(error_of("{" + a + b("16", "8")), HasSubstr("\"b\""));
  EXPECT_THAT(error_of("{" + a + b("18446744073709551608", "18446744073709551615")),
              HasSubstr("\"b\""));
  EXPECT_THAT(error_of("{" + a + b("8", "12")), AllOf(HasSubstr("\"b\""), HasSubstr("4 bytes")));
  EXPECT_THAT(error_of("{" + a + b("-8", "16")), HasSubstr("\"b\""));
  EXPECT_THAT(error_of("{" + a + b("8.0", "16")), HasSubstr("\"b\""));
  EXPECT_THAT(error_of("{" + a + "," + a + "}"), AllOf(HasSubstr("\"a\""), HasSubstr("twice")));
  const auto tensor = [&](const std::string& fields) {
    return error_of("{\"t\":{" + fields + "}}");
  };
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[2])"),
              AllOf(HasSubstr("\"t\""), HasSubstr("lacks")));
  EXPECT_THAT(tensor(R"("dtype":"F31","shape":[4],"data_offsets":[0,16])"),
              AllOf(HasSubstr("\"t\""), HasSubstr("F31")));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1)"),
              AllOf(HasSubstr("\"t\""), HasSubstr("\"x\"")));
  EXPECT_THAT(tensor(R"("dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16])"),
              HasSubstr("twice"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0])"), HasSubstr("\"t\""));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,16,16])"), HasSubstr("\"t\""));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":{"a":1},"data_offsets":[0,16])"), HasSubstr("\"t\""));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[[4]],"data_offsets":[0,16])"), HasSubstr("\"t\""));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16])"),
              AllOf(HasSubstr("\"t\""), HasSubstr("absurd")));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16])"),
              HasSubstr("absurd"));
  EXPECT_THAT(tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16])"),
              HasSubstr("dimensions"));
  EXPECT_THAT(error_of("[]"), HasSubstr("JSON object"));
  EXPECT_THAT(error_of("{\"a\":"), HasSubstr("not JSON"));
  EXPECT_THAT(error_of(""), HasSubstr("not JSON"));
  EXPECT_THAT(error_of("{\"a\":3}"), HasSubstr("\"a\""));
  EXPECT_THAT(error_of(std::string(200'000, '[')), HasSubstr("JSON object"));
  EXPECT_THAT(error_of("{\"" + std::string(5000, 'n') + "\":1}"), HasSubstr("5000 bytes long"));
}

TEST(Safetensors, AFileThatShrinksIsNotRead) {
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  write_file(path, file_of({{"w", "F32", {4096}, std::string(4 * 4096, 'x')}}));
  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok());
  fs::resize_file(path, 200);
  std::vector<float> out(4096);
  const Status status = (*file)->read((*file)->tensors()[0], {0, 4096}, {0, 1}, out.data());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("\"w\""), HasSubstr("shrunk")));
}

TEST(Checkpoint, ShardsAndTheirIndex) {
  const TempDir dir;
  const std::string index = dir / "model.safetensors.index.json";
  const auto error_of = [&](const std::string& weight_map) {
    write_file(index, R"({"metadata":{"total_size":8},"weight_map":)" + weight_map + "}");
    const auto checkpoint = open_checkpoint(dir.path());
    return checkpoint.ok() ? std::string("accepted") : checkpoint.error().message;
  };
  write_file(dir / "one", file_of({{"a", "F32", {1}, "aaaa"}}));
  write_file(dir / "two", file_of({{"b", "F32", {1}, "bbbb"}}));
  write_file(dir / "again", file_of({{"a", "F32", {1}, "aaaa"}, {"c", "F32", {1}, "cccc"}}));
  EXPECT_THAT(open_checkpoint(dir / "nowhere").error().message, HasSubstr("neither"));
  EXPECT_EQ(error_of(R"({"a":"one","b":"two"})"), "accepted");
  EXPECT_THAT(error_of(R"({"a":"one","b":"three"})"),
              AllOf(HasSubstr("\"three\""), HasSubstr("missing"), HasSubstr("\"b\"")));
  EXPECT_THAT(error_of(R"({"a":"one","b":"one"})"), HasSubstr("\"b\""));
  EXPECT_THAT(error_of(R"({"a":"one","a":"two"})"), AllOf(HasSubstr("\"a\""), HasSubstr("twice")));
  EXPECT_THAT(error_of(R"({"a":"one","b":"../two"})"), HasSubstr("plain file name"));
  EXPECT_THAT(error_of(R"({"a":"one","b":7})"), HasSubstr("\"b\""));
  EXPECT_THAT(error_of(R"({"a":"one","b":{"x":"y"}})"), HasSubstr("\"b\""));
  EXPECT_THAT(error_of(R"({"a":"one","c":"again"})"), AllOf(HasSubstr("\"a\""), HasSubstr("both")));
  EXPECT_THAT(error_of(R"({"c":"again"})"), AllOf(HasSubstr("\"a\""), HasSubstr("not list")));
  EXPECT_THAT(error_of(R"({})"), HasSubstr("no weight_map"));
  write_file(index, R"({"weight_map":{"a":"one")");
  EXPECT_THAT(open_checkpoint(dir.path()).error().message, HasSubstr("index.json"));
  write_file(index, kLfsPointer);
  EXPECT_THAT(open_checkpoint(dir.path()).error().message,
              AllOf(HasSubstr("index.json"), HasSubstr("git-lfs")));
}

TEST(Checkpoint, AFolderWithoutOneSaysWhatItHoldsInstead) {
  const TempDir dir;
  const auto error = [&] { return open_checkpoint(dir.path()).error().message; };
  write_file(dir / "consolidated.safetensors", "");
  EXPECT_THAT(error(), HasSubstr("\"consolidated.safetensors\" is of another layout"));
  fs::remove(dir / "consolidated.safetensors");
  write_file(dir / "model-00002-of-00002.safetensors", "");
  write_file(dir / "model-00001-of-00002.safetensors", "");
  EXPECT_THAT(error(), HasSubstr("\"model-00001-of-00002.safetensors\" is a part of many"));
}

TEST(CheckpointCheck, SaysWhatARankWouldSay) {
  const auto spec = plan::load_model_spec(golden_dir("llama"));
  ASSERT_TRUE(spec.ok());
  const auto checked = check_checkpoint(golden_dir("llama"), *spec);
  ASSERT_TRUE(checked.ok()) << checked.error().message;
  EXPECT_GT(checked->n_tensors, 30u);
  const auto other = plan::load_model_spec(golden_dir("qwen2"));
  ASSERT_TRUE(other.ok());
  EXPECT_THAT(check_checkpoint(golden_dir("llama"), *other).error().message,
              HasSubstr("config.json makes it"));
}

// The message of loading `tensors` as the golden `model` on rank 1 of tp 2.
std::string load_error(const std::string& model, const std::vector<Tensor>& tensors) {
  const TempDir dir;
  write_file(dir / "model.safetensors", file_of(tensors));
  const auto spec = plan::load_model_spec(golden_dir(model));
  CHECK(spec.ok());
  const auto plan = plan::make_parallel_plan(*spec, {.tp = 2});
  CHECK(plan.ok());
  auto source = open_checkpoint(dir.path());
  if (!source.ok()) return source.error().message;
  auto backend = make_test_backend("cpu", kernels::ComputeDType::kF32);
  const auto declared = declare_weights(*spec, *plan);
  CHECK(declared.ok());
  const auto loader = ShardLoader::create(spec->architecture, *declared, 1, **source, *backend, {});
  return loader.ok() ? "accepted" : loader.error().message;
}

TEST(ShardLoader, ComparesTheWholeCheckpointFirst) {
  const std::vector<Tensor> good = golden_tensors("llama");
  EXPECT_EQ(load_error("llama", good),
            "accepted");  // carries rotary_emb.inv_freq, which is skipped
  const std::string down = "model.layers.2.mlp.down_proj.weight";
  const auto broken = [&](const std::function<void(std::vector<Tensor>&, Tensor&)>& change) {
    std::vector<Tensor> tensors = good;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].name != down) continue;
      change(tensors, tensors[i]);
      break;
    }
    return load_error("llama", tensors);
  };
  EXPECT_THAT(broken([](auto&, Tensor& t) { t.name = "model.layers.9.mlp.down_proj.weight"; }),
              AllOf(HasSubstr(down), HasSubstr("missing")));
  EXPECT_THAT(broken([](auto&, Tensor& t) { std::swap(t.shape[0], t.shape[1]); }),
              AllOf(HasSubstr(down), HasSubstr("[160, 64]"), HasSubstr("[64, 160]")));
  EXPECT_THAT(broken([](auto&, Tensor& t) { t.shape = {t.shape[0] * t.shape[1]}; }),
              HasSubstr(down));
  EXPECT_THAT(broken([](auto&, Tensor& t) { t.dtype = "I16"; }),
              AllOf(HasSubstr(down), HasSubstr("I16")));
  EXPECT_THAT(broken([](auto& all, Tensor&) {
                all.push_back({"surplus.weight", "BF16", {1}, "xx"});
              }),
              HasSubstr("\"surplus.weight\""));
  // The head of a tied model may be stored again; of an untied one it may not be absent.
  std::vector<Tensor> tied = golden_tensors("llama3");
  tied.push_back({"lm_head.weight", "BF16", {1}, "xx"});
  EXPECT_EQ(load_error("llama3", tied), "accepted");
  EXPECT_THAT(load_error("llama_f16", golden_tensors("llama3")),
              AllOf(HasSubstr("\"lm_head.weight\""), HasSubstr("missing")));
}

// Multimodal classes put "language_model." in front, and carry a vision tower besides.
TEST(ShardLoader, AMultimodalLlama4IsItsTextPart) {
  std::vector<Tensor> tensors = golden_tensors("llama4");
  for (Tensor& tensor : tensors) tensor.name = "language_model." + tensor.name;
  tensors.push_back({"vision_model.class_embedding", "BF16", {1}, "xx"});
  tensors.push_back({"multi_modal_projector.linear_1.weight", "BF16", {1, 1}, "xx"});
  EXPECT_EQ(load_error("llama4", tensors), "accepted");
  tensors.push_back({"audio_model.weight", "BF16", {1}, "xx"});
  EXPECT_THAT(load_error("llama4", tensors), HasSubstr("\"audio_model.weight\""));
  tensors.pop_back();
  std::erase_if(tensors, [](const Tensor& tensor) {
    return tensor.name.ends_with("layers.1.feed_forward.experts.down_proj");
  });
  EXPECT_THAT(load_error("llama4", tensors),
              AllOf(HasSubstr("layers.1.feed_forward.experts.down_proj"), HasSubstr("missing")));
}

TEST(ShardLoader, ReportsProgressToTheLastByte) {
  const auto spec = plan::load_model_spec(golden_dir("llama"));
  const auto plan = plan::make_parallel_plan(*spec, {.tp = 2, .pp = 2});
  auto source = open_checkpoint(golden_dir("llama"));
  auto backend = make_test_backend("cpu", kernels::ComputeDType::kF32);
  int64_t last_done = 0;
  int64_t total = 0;
  const auto declared = declare_weights(*spec, *plan);
  auto loader = ShardLoader::create(spec->architecture, *declared, 0, **source, *backend,
                                    [&](int64_t done, int64_t all) {
                                      EXPECT_GT(done, last_done);
                                      last_done = done;
                                      total = all;
                                    });
  ASSERT_TRUE(loader.ok());
  StubGroup tp(0, 2);
  PartLoader parts(*spec, plan->ranks[0], tp, *loader);
  ASSERT_TRUE(make_model(parts).ok());
  EXPECT_GT(total, 0);
  EXPECT_EQ(last_done, total);
  EXPECT_GT(loader->device_bytes(), 0);
}

// A source of small numbers: element i of any tensor is i.
class Counting final : public WeightSource {
 public:
  std::optional<std::vector<SourceTensor>> inventory() const override { return inventory_; }
  DType dtype(const std::string&) const override { return DType::kF32; }
  Status read(const plan::TensorSlice& slice, void* out) override {
    last_name_ = slice.name;
    if (slice.name == broken_) return data_loss("the disk is gone");
    const int64_t width = slice.shape.size() == 1 ? 1 : slice.shape.back();
    auto* values = static_cast<float*>(out);
    for (int64_t r = slice.rows.begin; r < slice.rows.end; ++r) {
      for (int64_t c = slice.columns.begin; c < slice.columns.end; ++c) {
        *values++ = static_cast<float>(r * width + c);
      }
    }
    return {};
  }

  std::optional<std::vector<SourceTensor>> inventory_;
  std::string broken_;
  std::string last_name_;
};

ShardLoader counting_loader(Counting& source, kernels::Backend& backend,
                            const WeightDeclaration& declared) {
  auto loader = ShardLoader::create("Test", {declared}, 0, source, backend, {});
  CHECK(loader.ok()) << loader.error().message;
  return std::move(*loader);
}

std::vector<float> values_of(const DeviceTensor& tensor) {
  const auto* data = static_cast<const float*>(tensor.view.data);
  return {data, data + tensor.view.numel()};
}

TEST(ShardLoader, PartsAreCutTurnedAndStacked) {
  Counting source;
  auto backend = make_test_backend("reference", kernels::ComputeDType::kF32);
  ShardLoader loader = counting_loader(source, *backend, {});
  using testing::ElementsAre;
  // Rows 1 and 3 of a [4, 3], one under the other.
  const WeightPart one{.slice = {"w", {4, 3}, {1, 2}, {0, 3}}};
  const WeightPart three{.slice = {"w", {4, 3}, {3, 4}, {0, 3}}};
  const DeviceTensor stacked = loader.vector_f32({one, three});
  EXPECT_THAT(values_of(stacked), ElementsAre(3, 4, 5, 9, 10, 11));
  EXPECT_EQ(stacked.view.rank, 2);
  // Stored [in 2, out 4]: columns 1 and 2 are output features.
  const WeightPart turned{.slice = {"w", {2, 4}, {0, 2}, {1, 3}}, .transposed = true};
  EXPECT_THAT(values_of(loader.table(turned, 3)), ElementsAre(1, 5, 2, 6, 0, 0));
  // The same with gate and up in alternating columns: gates first.
  const WeightPart paired{
      .slice = {"w", {2, 4}, {0, 2}, {0, 4}}, .transposed = true, .interleaved = true};
  EXPECT_THAT(values_of(loader.table(paired, 4)), ElementsAre(0, 4, 2, 6, 1, 5, 3, 7));
  // Expert 1 of a stack [3, 2, 2].
  const WeightPart expert{.slice = {"w", {3, 2, 2}, {2, 4}, {0, 2}}};
  EXPECT_THAT(values_of(loader.vector_f32({expert})), ElementsAre(4, 5, 6, 7));
  const WeightPart vector{.slice = {"w", {3}, {1, 3}, {0, 1}}};
  const DeviceTensor plus_one = loader.vector_f32({vector}, 1);
  EXPECT_THAT(values_of(plus_one), ElementsAre(2, 3));
  EXPECT_EQ(plus_one.view.rank, 1);
}

TEST(ShardLoader, TheFirstErrorSticks) {
  Counting source;
  source.broken_ = "b";
  auto backend = make_test_backend("reference", kernels::ComputeDType::kF32);
  ShardLoader loader = counting_loader(source, *backend, {});
  const auto part = [](const char* name) {
    return std::vector<WeightPart>{{.slice = {name, {2}, {0, 2}, {0, 1}}}};
  };
  EXPECT_TRUE(loader.vector_f32(part("a")).defined());
  EXPECT_TRUE(loader.status().ok());
  EXPECT_FALSE(loader.vector_f32(part("b")).defined());
  EXPECT_EQ(loader.packed(part("c")), nullptr);
  EXPECT_EQ(source.last_name_, "b");
  ASSERT_FALSE(loader.status().ok());
  EXPECT_EQ(loader.status().error().code, ErrorCode::kDataLoss);
}

TEST(ShardLoader, NamesMayCarryTheFamilysOptionalPrefix) {
  Counting source;
  auto backend = make_test_backend("reference", kernels::ComputeDType::kF32);
  WeightDeclaration declared;
  const WeightPart part{.slice = {"a.w", {2}, {0, 2}, {0, 1}}};
  declared.parts = {{part, WeightUse::kVector}};
  declared.optional_prefixes = {{"outer.", ""}};
  declared.ignored_prefixes = {"vision."};
  source.inventory_ = {{"outer.a.w", {2}, DType::kF32, "F32"}, {"vision.x", {9}, {}, "I8"}};
  ShardLoader loader = counting_loader(source, *backend, declared);
  EXPECT_TRUE(loader.vector_f32({part}).defined());
  EXPECT_EQ(source.last_name_, "outer.a.w");
  source.inventory_->push_back({"a.w", {2}, DType::kF32, "F32"});
  const auto twice = ShardLoader::create("Test", {declared}, 0, source, *backend, {});
  ASSERT_FALSE(twice.ok());
  EXPECT_THAT(twice.error().message, AllOf(HasSubstr("outer.a.w"), HasSubstr("also stored")));
}

// As multimodal releases store their text part, and as newer tools do.
TEST(ShardLoader, TheTextPartIsFoundInAMultimodalCheckpoint) {
  for (const char* outer : {"language_model.", "model.language_model."}) {
    std::vector<Tensor> tensors = golden_tensors("gemma3");
    const bool is_newer = std::string(outer).starts_with("model.");
    for (Tensor& tensor : tensors) {
      tensor.name = outer + (is_newer ? tensor.name.substr(std::strlen("model.")) : tensor.name);
    }
    const std::string images = is_newer ? "model." : "";
    tensors.push_back({images + "vision_tower.vision_model.post.weight", "BF16", {1}, "xx"});
    tensors.push_back({images + "multi_modal_projector.norm.weight", "BF16", {1}, "xx"});
    EXPECT_EQ(load_error("gemma3", tensors), "accepted");
    tensors.push_back({images + "audio_tower.weight", "BF16", {1}, "xx"});
    EXPECT_THAT(load_error("gemma3", tensors), HasSubstr("audio_tower.weight"));
  }
}

// Layers that predict further tokens are skipped as often as the config says, and no further.
TEST(ShardLoader, LayersBehindTheLastAreSkippedByName) {
  const std::vector<Tensor> tensors = golden_tensors("deepseek_v3");
  const auto has = [&](const std::string& prefix) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const Tensor& tensor) { return tensor.name.starts_with(prefix); });
  };
  ASSERT_TRUE(has("model.layers.4."));
  EXPECT_EQ(load_error("deepseek_v3", tensors), "accepted");
  std::vector<Tensor> more = tensors;
  more.push_back({"model.layers.5.enorm.weight", "BF16", {1}, "xx"});
  EXPECT_THAT(load_error("deepseek_v3", more), HasSubstr("\"model.layers.5.enorm.weight\""));
}

TEST(ShardLoader, ShardedFilesGiveTheSameModel) {
  const TempDir dir;
  const std::vector<Tensor> all = golden_tensors("llama3");
  const auto half = static_cast<std::ptrdiff_t>(all.size() / 2);
  write_file(dir / "model-1.safetensors", file_of({all.begin(), all.begin() + half}));
  write_file(dir / "model-2.safetensors", file_of({all.begin() + half, all.end()}));
  std::string map;
  for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(all.size()); ++i) {
    map += fmt::format("{}\"{}\":\"model-{}.safetensors\"", map.empty() ? "" : ",",
                       all[static_cast<size_t>(i)].name, i < half ? 1 : 2);
  }
  write_file(dir / "model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  fs::copy_file(golden_dir("llama3") + "/config.json", dir / "config.json");
  const TestSequence sequence{.prompt = {5, 6, 7}, .sampling = greedy_sampling(), .n_new = 3};
  TestReplica whole({.model_dir = golden_dir("llama3"), .tp = 2});
  TestReplica sharded({.model_dir = dir.path(), .tp = 2});
  EXPECT_EQ(generate(whole, {sequence})[0].logits, generate(sharded, {sequence})[0].logits);
}

}  // namespace
}  // namespace trireme::worker
