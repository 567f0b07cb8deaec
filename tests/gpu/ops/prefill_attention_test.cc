// Prefills on Hopper: the wgmma kernel against the reference, what of a row's company its result
// may depend on, and who decides that it is used.
#include "kernels/cuda/prefill_attention.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/packed_weight.h"
#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/attention_fixture.h"

namespace trireme::kernels::testing {
namespace {

using Span = PagedSequences::Span;

// Queries and weights are rounded to the cache's type, as the mma kernel's.
constexpr float kTolerance = 0.02f;

class PrefillAttention : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    auto device = cuda::open_device(0);
    ASSERT_TRUE(device.ok()) << device.error().message;
    if (device->major != 9) GTEST_SKIP() << "wgmma is Hopper's alone";
    launcher_ = {.stream = cuda::default_stream(), .n_multiprocessors = device->n_multiprocessors};
  }

  // The kernel itself, whatever the backend would choose.
  HostTensor attend(const PagedSequences& sequences, const std::vector<Span>& spans, DType out,
                    const AttentionRules& rules = {}) const {
    return sequences.attend_by([&](const PagedAttentionArgs& args) { run(args); }, spans, out,
                               rules);
  }

  void run(const PagedAttentionArgs& args) const {
    std::vector<std::unique_ptr<cuda::DeviceBuffer>> buffers;
    const auto on_device = [&](const TensorView& host) {
      TensorView view = host;
      if (!host.defined()) return view;
      auto buffer = cuda::DeviceBuffer::allocate(host.bytes());
      CHECK(buffer.ok()) << buffer.error().message;
      cuda::copy_to_device_async((*buffer)->data(), host.data, host.bytes(), launcher_.stream);
      view.data = (*buffer)->data();
      buffers.push_back(std::move(*buffer));
      return view;
    };
    PagedAttentionArgs moved = args;
    moved.q = on_device(args.q);
    moved.k_cache = on_device(args.k_cache);
    moved.v_cache = on_device(args.v_cache);
    moved.block_table = on_device(args.block_table);
    moved.query_start = on_device(args.query_start);
    moved.context_len = on_device(args.context_len);
    moved.sinks = on_device(args.sinks);
    moved.out = on_device(args.out);
    cuda::wgmma_attention(cuda::attention_params(moved), cuda::attention_info(moved),
                          args.k_cache.dtype, launcher_);
    cuda::copy_to_host_async(args.out.data, moved.out.data, args.out.bytes(), launcher_.stream);
    cuda::synchronize_stream(launcher_.stream);
  }

  cuda::Launcher launcher_;
};

// A prefill over several tiles of keys, a chunk in the middle, a decode row, a sequence without
// queries, one key alone, the edges of a tile; query heads per kv head from one to forty.
TEST_F(PrefillAttention, AgreesWithTheReference) {
  const std::vector<int64_t> lengths = {70, 300, 131, 20, 1, 128, 129};
  const std::vector<Span> spans = {{0, 0, 70}, {1, 37, 290},  {2, 130, 131}, {3, 20, 20},
                                   {4, 0, 1},  {5, 127, 128}, {6, 64, 129}};
  constexpr AttentionShape kShapes[] = {{2, 2, 64, 16},  {8, 2, 64, 48}, {8, 1, 128, 16},
                                        {4, 1, 128, 32}, {5, 1, 64, 16}, {1, 1, 128, 256},
                                        {40, 1, 128, 16}};
  uint32_t seed = 11;
  for (const AttentionShape& shape : kShapes) {
    for (const DType cache : {DType::kBF16, DType::kF16}) {
      const PagedSequences sequences(shape, cache, lengths, ++seed);
      const DType out = seed % 2 == 0 ? DType::kF32 : DType::kBF16;
      expect_near(attend(sequences, spans, out), sequences.attend(reference_.get(), spans, out),
                  kTolerance,
                  "head_dim " + std::to_string(shape.head_dim) + " heads " +
                      std::to_string(shape.n_heads) + " " + std::string(to_string(cache)));
    }
  }
}

TEST_F(PrefillAttention, RulesBeyondCausality) {
  const std::vector<float> sinks = {0.5f, -1.0f, 3.0f, 0.0f, 1.5f, -4.0f};
  const AttentionRules kRules[] = {{.window = 33},
                                   {.window = 200},
                                   {.chunk = 48},
                                   {.chunk = 130},
                                   {.softcap = 2},
                                   {.sinks = sinks},
                                   {.window = 150, .softcap = 5, .sinks = sinks}};
  const std::vector<Span> spans = {{0, 330, 400}, {1, 60, 131}, {2, 0, 100}};
  for (const AttentionShape& shape : {AttentionShape{6, 2, 64, 16}, {6, 3, 128, 32}}) {
    const PagedSequences sequences(shape, DType::kBF16, {400, 131, 100}, 91);
    for (const AttentionRules& rules : kRules) {
      expect_near(
          attend(sequences, spans, DType::kF32, rules),
          sequences.attend(reference_.get(), spans, DType::kF32, rules), kTolerance,
          "window " + std::to_string(rules.window) + " chunk " + std::to_string(rules.chunk));
    }
  }
}

// A row's result is the same bit for bit alone, beside others, and however its prompt is cut.
TEST_F(PrefillAttention, RowsDoNotDependOnTheirCompany) {
  const AttentionShape shape{4, 2, 64, 16};
  const PagedSequences sequences(shape, DType::kBF16, {310, 200}, 7);
  for (const AttentionRules& rules : {AttentionRules{}, AttentionRules{.window = 100}}) {
    const HostTensor whole = attend(sequences, {{0, 0, 310}}, DType::kF32, rules);
    const auto expect_rows = [&](const HostTensor& part, int64_t first, int64_t at, int64_t n) {
      const int64_t row = shape.n_heads * shape.head_dim;
      EXPECT_EQ(
          std::memcmp(part.view().as<float>() + first * row, whole.view().as<float>() + at * row,
                      static_cast<size_t>(n * row) * sizeof(float)),
          0)
          << "rows from " << at;
    };
    for (const int64_t cut : {int64_t{1}, int64_t{77}, int64_t{128}, int64_t{250}}) {
      expect_rows(attend(sequences, {{0, 0, cut}}, DType::kF32, rules), 0, 0, cut);
      expect_rows(attend(sequences, {{1, 31, 200}, {0, cut, 310}}, DType::kF32, rules), 169, cut,
                  310 - cut);
    }
  }
}

TEST_F(PrefillAttention, LargeScoresKeepTheirAccuracy) {
  Random random(5);
  const HostTensor q = random.tensor(DType::kF32, {40, 4, 64}, 40);
  const HostTensor k = random.tensor(DType::kBF16, {10, 1, 16, 64});
  const HostTensor v = random.tensor(DType::kBF16, {10, 1, 16, 64});
  HostTensor rounded = q.clone();
  for (int64_t i = 0; i < q.view().numel(); ++i) rounded.set(i, to_f32(to_bf16(q.at(i))));
  const HostTensor table = tensor_of<int32_t>({3, 1, 9, 0, 2, 4, 8, 7, 6, 5});
  const HostTensor start = tensor_of<int32_t>({0, 40});
  const HostTensor context = tensor_of<int32_t>({155});
  HostTensor actual(DType::kF32, {40, 4, 64});
  HostTensor expected(DType::kF32, {40, 4, 64});
  TensorView tables = table.view();
  PagedAttentionArgs args{.q = rounded.view(),
                          .k_cache = k.view(),
                          .v_cache = v.view(),
                          .block_table = TensorView(tables.data, DType::kI32, {1, 10}),
                          .query_start = start.view(),
                          .context_len = context.view(),
                          .scale = 0.125f,
                          .out = actual.view()};
  run(args);
  args.out = expected.view();
  reference_->paged_attention(args, {});
  expect_near(actual, expected, kTolerance, "large scores");
}

// The backend's own way: the trial passes, and a prefill goes through the kernel or beside it.
TEST_F(PrefillAttention, BackendAgreesWithTheReference) {
  const PagedSequences sequences({8, 2, 128, 32}, DType::kBF16, {150, 90}, 81);
  const std::vector<Span> prefill = {{0, 3, 150}, {1, 0, 90}};
  expect_near(sequences.attend(bf16_.get(), prefill, DType::kBF16),
              sequences.attend(reference_.get(), prefill, DType::kBF16), kTolerance, "prefill");
}

TEST_F(PrefillAttention, TrialsAgree) {
  for (const int64_t head_dim : {64, 128}) {
    for (const DType cache : {DType::kBF16, DType::kF16}) {
      const cuda::PrefillTrialShape shape{.n_queries = 100,
                                          .n_keys = 170,
                                          .n_heads = 8,
                                          .n_kv_heads = 2,
                                          .head_dim = head_dim,
                                          .block_size = 16};
      const auto trial = cuda::try_prefill_attention(shape, cache, 0, {}, launcher_);
      ASSERT_TRUE(trial.ok()) << trial.error().message;
      EXPECT_EQ(cuda::judge(*trial), cuda::PrefillVerdict::kUse)
          << trial->difference << " of " << trial->size;
    }
  }
}

// While work is recorded nothing is tried, and nothing untried is used.
TEST_F(PrefillAttention, IsDecidedByTheFirstCallThatIsNotRecorded) {
  const int64_t n_heads = 4 * launcher_.n_multiprocessors;  // tiles enough for any device
  cuda::AttentionShapeInfo info{.n_tokens = 128,
                                .n_seqs = 1,
                                .n_heads = n_heads,
                                .n_kv_heads = n_heads,
                                .key_dim = 64,
                                .value_dim = 64,
                                .max_keys = 128};
  cuda::AttentionParams params{};
  params.scale = 1;
  alignas(16) static const unsigned char kPlace[16] = {};  // nothing is read
  params.v_cache = kPlace;
  const auto device = cuda::open_device(0);
  const auto takes = [&](cuda::PrefillAttention& prefill) {
    return prefill.takes(params, info, DType::kBF16, {}, launcher_);
  };
  cuda::PrefillAttention prefill(*device, false);
  ASSERT_TRUE(cuda::begin_capture(launcher_.stream).ok());
  EXPECT_FALSE(takes(prefill));
  auto graph = cuda::end_capture(launcher_.stream);
  ASSERT_TRUE(graph.ok());
  cuda::release_graph(*graph);
  const bool taken = takes(prefill);
#if defined(TRIREME_CUDA_EMULATED)
  EXPECT_TRUE(taken);  // a device may find it slower
#endif
  ASSERT_TRUE(cuda::begin_capture(launcher_.stream).ok());
  EXPECT_EQ(takes(prefill), taken);
  graph = cuda::end_capture(launcher_.stream);
  ASSERT_TRUE(graph.ok());
  cuda::release_graph(*graph);
  cuda::PrefillAttention in_one_order(*device, true);
  EXPECT_FALSE(takes(in_one_order));
  cuda::PrefillAttention elsewhere({.n_multiprocessors = 1, .major = 8}, false);
  EXPECT_FALSE(takes(elsewhere));
}

TEST(PrefillVerdict, WrongOrSlowIsNotUsed) {
  using cuda::judge;
  using cuda::PrefillVerdict;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(judge({.difference = 0.01f, .size = 3, .wgmma_seconds = 1, .present_seconds = 2}),
            PrefillVerdict::kUse);
  EXPECT_EQ(judge({.difference = 0.01f, .size = 3, .wgmma_seconds = 2, .present_seconds = 1}),
            PrefillVerdict::kSlow);
  EXPECT_EQ(judge({.difference = 0.5f, .size = 3}), PrefillVerdict::kWrong);
  EXPECT_EQ(judge({.difference = nan, .size = 3}), PrefillVerdict::kWrong);
  // Two kernels that wrote nothing agree about nothing.
  EXPECT_EQ(judge({.difference = 0, .size = 0}), PrefillVerdict::kWrong);
}

}  // namespace
}  // namespace trireme::kernels::testing
