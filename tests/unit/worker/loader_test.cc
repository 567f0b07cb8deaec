// Checkpoints that are broken, and what is said of them: every message names the tensor or the
// file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "parallel/plan/model_spec.h"
#include "tests/unit/worker/golden.h"
#include "tests/unit/worker/test_replica.h"
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
    const int64_t columns = stored.shape.size() == 2 ? stored.shape[1] : 1;
    CHECK((*file)->read(stored, {0, stored.shape[0]}, {0, columns}, tensor.bytes.data()).ok());
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
  const auto loader = ShardLoader::create(*spec, *plan, 1, **source, *backend, {});
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

TEST(ShardLoader, ReportsProgressAndForgottenTensors) {
  const auto spec = plan::load_model_spec(golden_dir("llama"));
  const auto plan = plan::make_parallel_plan(*spec, {.tp = 2, .pp = 2});
  auto source = open_checkpoint(golden_dir("llama"));
  auto backend = make_test_backend("cpu", kernels::ComputeDType::kF32);
  int64_t last_done = 0;
  int64_t total = 0;
  auto loader =
      ShardLoader::create(*spec, *plan, 0, **source, *backend, [&](int64_t done, int64_t all) {
        EXPECT_GT(done, last_done);
        last_done = done;
        total = all;
      });
  ASSERT_TRUE(loader.ok());
  std::vector<std::string> names;
  for (const auto& slice : plan->tensor_slices(*spec, 0)) names.push_back(slice.name);
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    const bool is_norm = names[i].ends_with("norm.weight");
    ASSERT_TRUE(is_norm ? loader->vector_f32({names[i]}).ok() : loader->packed({names[i]}).ok());
  }
  ASSERT_FALSE(loader->finish().ok());
  EXPECT_THAT(loader->finish().error().message, HasSubstr(names.back()));
  EXPECT_LT(last_done, total);
  ASSERT_TRUE(loader->packed({names.back()}).ok());
  EXPECT_TRUE(loader->finish().ok());
  EXPECT_EQ(last_done, total);
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

TEST(RandomWeights, AnySliceIsASliceOfTheWhole) {
  auto source = make_random_weights(42);
  const plan::TensorSlice whole{"model.layers.0.mlp.up_proj.weight", {33, 17}, {0, 33}, {0, 17}};
  std::vector<bf16> all(33 * 17);
  ASSERT_TRUE(source->read(whole, all.data()).ok());
  plan::TensorSlice part = whole;
  part.rows = {5, 12};
  part.columns = {3, 10};
  std::vector<bf16> some(7 * 7);
  ASSERT_TRUE(source->read(part, some.data()).ok());
  for (size_t r = 0; r < 7; ++r) {
    for (size_t c = 0; c < 7; ++c) {
      EXPECT_EQ(some[r * 7 + c].bits, all[(r + 5) * 17 + c + 3].bits);
    }
  }
}

TEST(RandomWeights, AreNearNormalAndDifferByNameAndSeed) {
  const auto fill = [](uint64_t seed, const std::string& name) {
    std::vector<bf16> bits(100'000);
    const auto n = static_cast<int64_t>(bits.size());
    CHECK(make_random_weights(seed)->read({name, {n}, {0, n}, {0, 1}}, bits.data()).ok());
    std::vector<double> values;
    for (const bf16 value : bits) values.push_back(to_f32(value));
    return values;
  };
  const auto moments = [](const std::vector<double>& x) {
    double mean = 0;
    double square = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) square += (v - mean) * (v - mean) / static_cast<double>(x.size());
    return std::pair(mean, std::sqrt(square));
  };
  const auto a = fill(1, "w");
  EXPECT_NEAR(moments(a).first, 0, 3e-4);
  EXPECT_NEAR(moments(a).second, 0.02, 2e-4);
  EXPECT_NEAR(moments(fill(1, "model.norm.weight")).first, 1, 1e-3);
  EXPECT_NE(a, fill(2, "w"));
  EXPECT_NE(a, fill(1, "v"));
  EXPECT_EQ(a, fill(1, "w"));
}

}  // namespace
}  // namespace trireme::worker
