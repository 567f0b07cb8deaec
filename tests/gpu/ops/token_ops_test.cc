// Tokens that stay on the device: what candidates of several ranks decide for, and where the next
// step reads them; and the copies and markers that keep the host out of the way.
#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/counter_random.h"
#include "tests/gpu/ops/device_fixture.h"
#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

using DeviceTokensTest = DeviceTest;

// Of n_ranks slices of a row, each one's k best by value, best first, -1 behind the last: for n
// rows. Values have ties.
struct Found {
  Found(Random& random, int64_t n_ranks, int64_t n, int64_t k, int64_t slice)
      : ids(DType::kI32, {n_ranks, n * k}), values(DType::kF32, {n_ranks, n * k}) {
    for (int64_t rank = 0; rank < n_ranks; ++rank) {
      for (int64_t row = 0; row < n; ++row) fill(random, rank, row, k, slice);
    }
  }

  void fill(Random& random, int64_t rank, int64_t row, int64_t k, int64_t slice) {
    std::vector<std::pair<float, int32_t>> all;
    const int64_t n_there = rank % 3 == 2 ? slice / 2 : slice;  // some ranks have fewer
    for (int64_t i = 0; i < n_there; ++i) {
      all.emplace_back(static_cast<float>(random.integer(-400, 400)) / 50,
                       static_cast<int32_t>(rank * slice + i));
    }
    std::ranges::sort(all, [](const auto& a, const auto& b) {
      return a.first > b.first || (a.first == b.first && a.second < b.second);
    });
    for (int64_t j = 0; j < k; ++j) {
      const bool here = j < n_there;
      const auto at = static_cast<size_t>(j);
      ids.view().row<int32_t>(rank)[row * k + j] = here ? all[at].second : -1;
      values.view().row<float>(rank)[row * k + j] =
          here ? all[at].first : -std::numeric_limits<float>::infinity();
    }
  }

  HostTensor ids;
  HostTensor values;
};

HostTensor no_tokens(int64_t n) {
  std::vector<int32_t> none(static_cast<size_t>(n), -7);
  return tensor_of(none);
}

TEST_F(DeviceTokensTest, TheBestOfAllRanksIsTheReferences) {
  Random random(51);
  for (const int64_t n_ranks : {1, 2, 3, 8}) {
    for (const int64_t n : {1, 3, 130}) {
      for (const int64_t k : {1, 8}) {
        const Found found(random, n_ranks, n, k, 20);
        std::vector<int32_t> places(static_cast<size_t>(n));
        std::iota(places.rbegin(), places.rend(), 1);
        const HostTensor rows = tensor_of(places);
        const HostTensor actual = no_tokens(n + 2);
        const HostTensor expected = no_tokens(n + 2);
        for (auto [backend, to] : {std::pair{f32_.get(), &actual}, {reference_.get(), &expected}}) {
          backend->best_tokens({.ids = found.ids.view(),
                                .scores = found.values.view(),
                                .rows = rows.view(),
                                .tokens = to->view()},
                               {});
        }
        expect_same_bits(actual.view(), expected.view(), std::to_string(n_ranks));
      }
    }
  }
}

TEST_F(DeviceTokensTest, ARowWithoutCandidatesIsToken0) {
  const HostTensor ids = tensor_of<int32_t>({-1});
  const HostTensor scores = tensor_of<float>({-std::numeric_limits<float>::infinity()});
  const HostTensor rows = tensor_of<int32_t>({0});
  const HostTensor tokens = no_tokens(1);
  f32_->best_tokens({.ids = TensorView(ids.view().data, DType::kI32, {1, 1}),
                     .scores = TensorView(scores.view().data, DType::kF32, {1, 1}),
                     .rows = rows.view(),
                     .tokens = tokens.view()},
                    {});
  EXPECT_EQ(tokens.view().as<int32_t>()[0], 0);
}

// In f32 and in f64 a sum ends at another token now and then.
TEST_F(DeviceTokensTest, DrawsAreTheReferencesButForRounding) {
  Random random(52);
  int n_rows = 0;
  int n_others = 0;
  for (const int64_t n_ranks : {1, 2, 5}) {
    for (const int64_t k : {1, 5, 128, 512}) {
      constexpr int64_t kRows = 24;
      const Found found(random, n_ranks, kRows, k, 300);
      std::vector<float> inverse;
      std::vector<int64_t> keys;
      std::vector<int32_t> top_k;
      std::vector<float> top_p;
      std::vector<float> min_p;
      std::vector<int32_t> places;
      for (int32_t i = 0; i < kRows; ++i) {
        inverse.push_back(1 / (0.25f * static_cast<float>(1 + i % 6)));
        keys.push_back(static_cast<int64_t>(mix64(static_cast<uint64_t>(i) + 5)));
        top_k.push_back(i % 3 == 0 ? 1 + i * 7 : 0);
        top_p.push_back(i % 4 == 1 ? 1.0f : 0.3f + 0.6f * static_cast<float>(i) / kRows);
        min_p.push_back(i % 5 == 2 ? 0.05f : 0.0f);
        places.push_back((i * 5) % kRows);
      }
      HostTensor sums = random.tensor(DType::kF32, {n_ranks, kRows}, 1);
      for (int64_t i = 0; i < n_ranks * kRows; ++i) sums.set(i, 1 + std::abs(sums.at(i)));
      const HostTensor inverse_temperature = tensor_of(inverse);
      const HostTensor key = tensor_of(keys);
      const HostTensor k_of = tensor_of(top_k);
      const HostTensor p_of = tensor_of(top_p);
      const HostTensor min_of = tensor_of(min_p);
      const HostTensor rows = tensor_of(places);
      const HostTensor actual = no_tokens(kRows);
      const HostTensor expected = no_tokens(kRows);
      for (auto [backend, to] : {std::pair{f32_.get(), &actual}, {reference_.get(), &expected}}) {
        backend->draw_tokens({.ids = found.ids.view(),
                              .values = found.values.view(),
                              .sum_exp = sums.view(),
                              .inverse_temperature = inverse_temperature.view(),
                              .keys = key.view(),
                              .top_k = k_of.view(),
                              .top_p = p_of.view(),
                              .min_p = min_of.view(),
                              .rows = rows.view(),
                              .tokens = to->view()},
                             {});
      }
      for (int64_t i = 0; i < kRows; ++i) {
        ASSERT_GE(actual.view().as<int32_t>()[i], 0);
        n_others += actual.view().as<int32_t>()[i] != expected.view().as<int32_t>()[i] ? 1 : 0;
        ++n_rows;
      }
    }
  }
  EXPECT_LE(n_others, n_rows / 100);
}

TEST_F(DeviceTokensTest, TokensGoWhereTheyHaveASource) {
  for (const int32_t n : {1, 5, 700}) {
    std::vector<int32_t> tokens;
    std::vector<int32_t> sources;
    std::vector<int32_t> ids;
    std::vector<int32_t> expected;
    for (int32_t i = 0; i < n; ++i) {
      tokens.push_back(1000 + i);
      sources.push_back(i % 3 == 1 ? -1 : n - 1 - i);
      ids.push_back(i);
      expected.push_back(sources.back() < 0 ? i : 1000 + sources.back());
    }
    const HostTensor from = tensor_of(tokens);
    const HostTensor source = tensor_of(sources);
    const HostTensor to = tensor_of(ids);
    f32_->place_tokens({.tokens = from.view(), .sources = source.view(), .ids = to.view()}, {});
    for (int32_t i = 0; i < n; ++i) {
      ASSERT_EQ(to.view().as<int32_t>()[i], expected[static_cast<size_t>(i)]) << i << " of " << n;
    }
  }
}

// Many copies in turn, from memory that changes at once, some of them large.
TEST_F(DeviceTokensTest, UploadsKeepWhatTheyWereGiven) {
  constexpr int kCopies = 300;
  std::string why;
  const auto device = make_device_backend(ComputeDType::kF32, &why);
  auto second = device->make_stream();
  ASSERT_TRUE(second.ok());
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<unsigned char> host(40'000);
  const auto size_of_copy = [](int i) {
    return static_cast<size_t>(i % 50 == 49 ? 40'000 : 1 + i * 37 % 3000);
  };
  for (int i = 0; i < kCopies; ++i) {
    auto buffer = device->allocate(size_of_copy(i));
    ASSERT_TRUE(buffer.ok());
    std::ranges::fill(host, static_cast<unsigned char>(i));
    device->copy_to_device((*buffer)->data(), host.data(), size_of_copy(i),
                           i % 7 == 3 ? *second : Stream{});
    buffers.push_back(std::move(*buffer));
  }
  device->synchronize(*second);
  auto back = device->allocate_on_host(host.size());
  ASSERT_TRUE(back.ok());
  const auto marker = device->make_marker();
  EXPECT_TRUE(device->is_reached(*marker)) << "it was put nowhere";
  for (int i = 0; i < kCopies; ++i) {
    device->copy_to_host((*back)->data(), buffers[static_cast<size_t>(i)]->data(), size_of_copy(i),
                         {});
    device->mark(*marker, {});
    device->wait_for(*marker);
    EXPECT_TRUE(device->is_reached(*marker));
    const auto* bytes = static_cast<const unsigned char*>((*back)->data());
    ASSERT_TRUE(std::all_of(bytes, bytes + size_of_copy(i), [i](unsigned char byte) {
      return byte == static_cast<unsigned char>(i);
    })) << i;
  }
}

}  // namespace
}  // namespace trireme::kernels::testing
