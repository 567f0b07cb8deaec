// Latent attention is paged attention of one key head whose values are parts of its keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

struct LatentShape {
  int64_t n_heads;
  int64_t rank;
  int64_t rope_dim;
  int64_t block_size;
};

constexpr LatentShape kShapes[] = {
    {4, 32, 8, 16}, {16, 512, 64, 32}, {3, 64, 33, 48}, {1, 12, 4, 16}, {130, 24, 8, 16}};

// One sequence of `length` cached rows in scattered blocks, with a query at each position.
class LatentSequence {
 public:
  LatentSequence(const LatentShape& shape, DType dtype, int64_t length, uint32_t seed)
      : shape_(shape), length_(length), scale_(scales_for(dtype).k) {
    Random random(seed);
    const int64_t n_blocks = (length + shape.block_size - 1) / shape.block_size;
    const int64_t width = shape.rank + shape.rope_dim;
    cache_ = random.tensor(dtype, {n_blocks + 2, shape.block_size, width});
    table_ = HostTensor(DType::kI32, {1, n_blocks});
    int32_t* ids = table_.view().as<int32_t>();
    std::iota(ids, ids + n_blocks, 1);
    std::shuffle(ids, ids + n_blocks, random.engine());
    queries_ = random.tensor(DType::kF32, {length, shape.n_heads, width});
    // What lies behind the end of a sequence must not leak out.
    for (int64_t key = length; key < n_blocks * shape.block_size; ++key) {
      for (int64_t c = 0; c < width; ++c) {
        cache_.set((ids[n_blocks - 1] * shape.block_size + key % shape.block_size) * width + c,
                   std::numeric_limits<float>::quiet_NaN());
      }
    }
  }

  // Queries [begin, end) when the cache holds `end` rows.
  HostTensor attend(Backend* backend, int64_t begin, int64_t end, DType out_dtype) const {
    HostTensor out(out_dtype, {end - begin, shape_.n_heads, shape_.rank});
    const HostTensor start = tensor_of<int32_t>({0, static_cast<int32_t>(end - begin)});
    const HostTensor context = tensor_of<int32_t>({static_cast<int32_t>(end)});
    backend->latent_attention({.q = queries_.view().rows(begin, end),
                               .cache = cache_.view(),
                               .block_table = table_.view(),
                               .query_start = start.view(),
                               .context_len = context.view(),
                               .rank = shape_.rank,
                               .scale = 0.1f,
                               .out = out.view(),
                               .cache_scale = scale_},
                              {});
    return out;
  }

  // The same as paged attention, with the latent parts copied out into a cache of values; channels
  // beyond the rank are zeros.
  HostTensor attend_paged(Backend* backend) const {
    const int64_t width = shape_.rank + shape_.rope_dim;
    HostTensor values = cache_.clone();
    for (int64_t i = 0; i < values.view().numel(); ++i) {
      if (i % width >= shape_.rank) values.set(i, 0);
    }
    const auto with_head = [&](const HostTensor& t) {
      const TensorView& view = t.view();
      return TensorView(view.data, view.dtype, {view.dim(0), 1, view.dim(1), view.dim(2)});
    };
    HostTensor out(DType::kF32, {length_, shape_.n_heads, width});
    const HostTensor start = tensor_of<int32_t>({0, static_cast<int32_t>(length_)});
    const HostTensor context = tensor_of<int32_t>({static_cast<int32_t>(length_)});
    backend->paged_attention({.q = queries_.view(),
                              .k_cache = with_head(cache_),
                              .v_cache = with_head(values),
                              .block_table = table_.view(),
                              .query_start = start.view(),
                              .context_len = context.view(),
                              .scale = 0.1f,
                              .out = out.view()},
                             {});
    return out;
  }

 private:
  LatentShape shape_;
  int64_t length_;
  float scale_;
  HostTensor cache_;
  HostTensor table_;
  HostTensor queries_;
};

class LatentAttentionTest : public EachIsa {};

TEST_P(LatentAttentionTest, AgreesWithTheReference) {
  uint32_t seed = 300;
  for (const LatentShape& shape : kShapes) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
      const LatentSequence sequence(shape, dtype, 75, ++seed);
      for (const DType out : {DType::kF32, DType::kBF16}) {
        for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 5}, {60, 75}, {74, 75}}) {
          expect_near(sequence.attend(cpu_.get(), begin, end, out),
                      sequence.attend(reference_.get(), begin, end, out), 5e-6f,
                      "rank " + std::to_string(shape.rank));
        }
      }
    }
  }
}

TEST_P(LatentAttentionTest, IsPagedAttentionWithValuesInTheKeys) {
  const LatentShape shape{3, 40, 24, 16};
  const LatentSequence sequence(shape, DType::kF32, 70, 320);
  const HostTensor actual = sequence.attend(reference_.get(), 0, 70, DType::kF32);
  const HostTensor paged = sequence.attend_paged(reference_.get());
  for (int64_t row = 0; row < 70 * 3; ++row) {
    for (int64_t c = 0; c < shape.rank; ++c) {
      ASSERT_EQ(actual.at(row * shape.rank + c), paged.at(row * 64 + c)) << "row " << row;
    }
  }
}

TEST_P(LatentAttentionTest, RowsDoNotKnowTheirChunksNorThreads) {
  const auto three = cpu_backend(GetParam(), ComputeDType::kF32, 3);
  for (const LatentShape& shape : {LatentShape{20, 64, 16, 16}, LatentShape{100, 24, 8, 32}}) {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kE4M3}) {
      const LatentSequence sequence(shape, dtype, 140, 330);
      const HostTensor whole = sequence.attend(cpu_.get(), 0, 140, DType::kF32);
      for (const int64_t chunk : {1, 23}) {
        for (int64_t begin = 0; begin < 140; begin += chunk) {
          const int64_t end = std::min<int64_t>(begin + chunk, 140);
          for (Backend* backend : {cpu_.get(), three.get()}) {
            expect_same_bits(sequence.attend(backend, begin, end, DType::kF32).view(),
                             whole.view().rows(begin, end), "chunk at " + std::to_string(begin));
          }
        }
      }
    }
  }
}

TEST_P(LatentAttentionTest, AppendPutsBothPartsIntoTheSlot) {
  Random random(340);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
    const float scale = scales_for(dtype).k;
    for (const auto& [rank, rope_dim] : {std::pair<int64_t, int64_t>{512, 64}, {33, 7}}) {
      const HostTensor projected = random.tensor(DType::kF32, {3, rank + rope_dim + 5});
      const TensorView latent = projected.view().columns(2, 2 + rank);
      const TensorView rope_key = projected.view().columns(3 + rank, 3 + rank + rope_dim);
      const HostTensor slots = tensor_of<int64_t>({17, 0, 47});
      HostTensor actual = random.tensor(dtype, {3, 16, rank + rope_dim});
      HostTensor expected = actual.clone();
      cpu_->latent_append({latent, rope_key, slots.view(), actual.view(), scale}, {});
      reference_->latent_append({latent, rope_key, slots.view(), expected.view(), scale}, {});
      expect_same_bits(actual.view(), expected.view(), "cache");
      HostTensor one(dtype, {2});
      one.set(0, latent.row<float>(0)[3] * (1 / scale));
      one.set(1, rope_key.row<float>(0)[1] * (1 / scale));
      EXPECT_EQ(actual.at(17 * (rank + rope_dim) + 3), one.at(0));
      EXPECT_EQ(actual.at(17 * (rank + rope_dim) + rank + 1), one.at(1));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, LatentAttentionTest, ::testing::ValuesIn(isas_of_this_machine()),
                         isa_name);

}  // namespace
}  // namespace trireme::kernels::testing
