#include "parallel/plan/kv_layout.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "tests/unit/plan/specs.h"

namespace trireme::plan {
namespace {

using testing::golden_spec;
using testing::small_spec;

// `pattern`: a letter per layer; f: full, s: sliding over 1,024, c: chunks of 2,048.
ModelSpec spec_of(const std::string& pattern, int32_t context = 131072) {
  ModelSpec spec = small_spec();
  spec.context = context;
  spec.layers.clear();
  for (const char kind : pattern) {
    LayerSpec layer;
    if (kind == 's') layer = {.attention = AttentionKind::kSliding, .span = 1024};
    if (kind == 'c') layer = {.attention = AttentionKind::kChunked, .span = 2048};
    spec.layers.push_back(layer);
  }
  return spec;
}

std::string repeated(const std::string& part, int n_layers) {
  std::string pattern;
  while (static_cast<int>(pattern.size()) < n_layers) pattern += part;
  return pattern.substr(0, static_cast<size_t>(n_layers));
}

KvLayout layout_of(const ModelSpec& spec, ParallelOptions options = {}) {
  const Result<ParallelPlan> plan = make_parallel_plan(spec, options);
  CHECK(plan.ok()) << plan.error().message;
  return make_kv_layout(spec, *plan);
}

TEST(KvGroup, SeesAsItsAttentionDoes) {
  const KvGroup full;
  const KvGroup sliding{AttentionKind::kSliding, 24};
  const KvGroup chunked{AttentionKind::kChunked, 24};
  EXPECT_EQ(full.first_visible(1000), 0);
  EXPECT_EQ(sliding.first_visible(0), 0);
  EXPECT_EQ(sliding.first_visible(23), 0);
  EXPECT_EQ(sliding.first_visible(24), 1) << "itself and 23 before it";
  EXPECT_EQ(chunked.first_visible(23), 0);
  EXPECT_EQ(chunked.first_visible(24), 24);
  EXPECT_EQ(chunked.first_visible(47), 24);
}

TEST(KvLayout, LayersOfOneKindAreOneGroupWithoutWaste) {
  for (const char* kind : {"f", "s", "c"}) {
    for (const int pp : {1, 3}) {
      const KvLayout layout = layout_of(spec_of(repeated(kind, 7)), {.pp = pp});
      ASSERT_EQ(layout.groups.size(), 1u);
      EXPECT_EQ(std::accumulate(layout.n_slots.begin(), layout.n_slots.end(), 0), 7);
      EXPECT_EQ(layout.padding(), 0);
    }
  }
}

TEST(KvLayout, AWindowOfTheWholeContextIsNone) {
  const KvLayout layout = layout_of(spec_of("sfsf", 1024));
  EXPECT_EQ(layout.groups, std::vector<KvGroup>(1));
  EXPECT_EQ(layout_of(spec_of("sfsf", 1025)).groups.size(), 2u);
}

// Published models: groups, slots of a block, and the padding that is left.
TEST(KvLayout, PublishedPatternsShareOnePoolWithLittleWaste) {
  struct Case {
    const char* model;
    std::string pattern;
    size_t n_groups;
    int32_t n_slots;
  };
  const Case cases[] = {
      {"gpt-oss-20b", repeated("sf", 24), 2, 12},
      {"Gemma-2-27B", repeated("sf", 46), 2, 23},
      {"Command R7B", repeated("sssf", 32), 4, 8},
      {"Llama-4-Scout", repeated("cccf", 48), 4, 12},
      {"Gemma-3-12B", repeated("sssssf", 48), 6, 8},
      {"Gemma-3-1B", repeated("sssssf", 26), 7, 4},
      {"Gemma-3-27B", repeated("sssssf", 62), 7, 10},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.model);
    const KvLayout layout = layout_of(spec_of(c.pattern));
    EXPECT_EQ(layout.groups.size(), c.n_groups);
    EXPECT_EQ(layout.n_slots, std::vector<int32_t>{c.n_slots});
    EXPECT_LT(layout.padding(), 0.12);
    EXPECT_TRUE(layout.groups.front().is_full());
    EXPECT_FALSE(layout.groups.back().is_full());
  }
}

TEST(KvLayout, GoldenConfigsSaveWhatTheirWindowsForget) {
  const ModelSpec gemma = golden_spec("gemma-2-27b");
  const KvLayout layout = layout_of(gemma);
  EXPECT_EQ(layout.groups.size(), 2u);
  EXPECT_EQ(layout.padding(), 0);
  const auto sizes = kv_kind_sizes(gemma, DType::kBF16);
  ASSERT_EQ(sizes.size(), 2u);
  EXPECT_EQ(sizes[0].bytes_per_token + sizes[1].bytes_per_token,
            gemma.kv_bytes_per_token(DType::kBF16));
  EXPECT_EQ(sizes[0].n_layers, 23);
  EXPECT_EQ(kv_sequence_bytes(gemma, DType::kBF16, 8192),
            (8192 + 4096) * gemma.kv_bytes_per_token(DType::kBF16) / 2);
  const ModelSpec llama = golden_spec("llama-3.1-8b");
  EXPECT_EQ(kv_sequence_bytes(llama, DType::kBF16, 8192), 8192 * 131072);
}

TEST(KvLayout, ALatentIsItsOwnWidthAndNoMore) {
  ModelSpec spec = spec_of(repeated("f", 61));
  spec.mla = MlaSpec{.kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
  EXPECT_EQ(kv_sequence_bytes(spec, DType::kBF16, 1000), 61 * (512 + 64) * 2 * 1000);
}

// Every stage cuts each kind into as many groups, and no two layers of a rank share a place.
TEST(KvLayout, EveryLayerHasAPlaceOfItsOwnOnEveryPlan) {
  for (const std::string& pattern :
       {repeated("sssssf", 26), repeated("sf", 24), repeated("cccf", 13), repeated("s", 9),
        std::string("fsssssssssscccff")}) {
    const ModelSpec spec = spec_of(pattern);
    for (const int pp : {1, 2, 3, 4, 5}) {
      SCOPED_TRACE(pattern + " pp " + std::to_string(pp));
      const Result<ParallelPlan> plan = make_parallel_plan(spec, {.tp = 2, .pp = pp});
      ASSERT_TRUE(plan.ok());
      const KvLayout layout = make_kv_layout(spec, *plan);
      ASSERT_EQ(layout.layers.size(), pattern.size());
      ASSERT_EQ(layout.n_slots.size(), static_cast<size_t>(pp));
      EXPECT_LE(layout.groups.size(), static_cast<size_t>(kMaxKvGroups));
      for (int stage = 0; stage < pp; ++stage) {
        const Range layers = plan->ranks[static_cast<size_t>(stage * 2)].layers;
        std::set<std::pair<int32_t, int32_t>> places;
        for (int64_t i = layers.begin; i < layers.end; ++i) {
          const KvPlace place = layout.layers[static_cast<size_t>(i)];
          ASSERT_GE(place.group, 0);
          ASSERT_LT(place.group, static_cast<int32_t>(layout.groups.size()));
          ASSERT_GE(place.slot, 0);
          ASSERT_LT(place.slot, layout.n_slots[static_cast<size_t>(stage)]);
          EXPECT_TRUE(places.insert({place.group, place.slot}).second);
          const LayerSpec& layer = spec.layers[static_cast<size_t>(i)];
          const KvGroup& group = layout.groups[static_cast<size_t>(place.group)];
          EXPECT_EQ(group.attention, layer.attention);
          EXPECT_EQ(group.span, layer.span);
        }
      }
      EXPECT_GE(layout.padding(), 0);
    }
  }
}

TEST(KvLayout, BlocksOfASequenceStopGrowingBehindItsWindow) {
  const KvLayout sliding = layout_of(spec_of("ssss"));
  EXPECT_EQ(kv_blocks_of(sliding, 1, 16), 1);
  EXPECT_EQ(kv_blocks_of(sliding, 160, 16), 10);
  EXPECT_EQ(kv_blocks_of(sliding, 100'000, 16), 65) << "1,024 tokens lie in 65 blocks at most";
  const KvLayout hybrid = layout_of(spec_of("sfsf"));
  EXPECT_EQ(kv_blocks_of(hybrid, 100'000, 16), 6250 + 65);
}

}  // namespace
}  // namespace trireme::plan
