// Ops against the reference, for any backend: what the tests of the CPU and of a device share.
//
// Operands are host tensors. Differences are relative as in expect_near (fixtures.h).
#pragma once

#include <gtest/gtest.h>

#include <span>

#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {

struct Compared {
  Backend* actual = nullptr;
  Backend* reference = nullptr;
  float tolerance = 0;
};

inline void expect_rms_norm_agrees(const Compared& c, std::span<const int64_t> all_rows,
                                   std::span<const int64_t> widths) {
  Random random(12);
  for (const int64_t rows : all_rows) {
    for (const int64_t width : widths) {
      const HostTensor x = random.tensor(DType::kF32, {rows, width}, 3);
      const HostTensor weight = random.tensor(DType::kF32, {width});
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        HostTensor actual(dtype, {rows, width});
        HostTensor expected(dtype, {rows, width});
        c.actual->rms_norm({x.view(), weight.view(), 1e-5f, actual.view()}, {});
        c.reference->rms_norm({x.view(), weight.view(), 1e-5f, expected.view()}, {});
        expect_near(actual, expected, c.tolerance, "rms_norm");
      }
    }
  }
}

inline void expect_add_rms_norm_agrees(const Compared& c, std::span<const int64_t> all_rows,
                                       std::span<const int64_t> widths) {
  Random random(13);
  for (const int64_t rows : all_rows) {
    for (const int64_t width : widths) {
      const HostTensor delta = random.tensor(DType::kF32, {rows, width});
      const HostTensor weight = random.tensor(DType::kF32, {width});
      HostTensor residual = random.tensor(DType::kF32, {rows, width});
      HostTensor expected_residual = residual.clone();
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        HostTensor actual(dtype, {rows, width});
        HostTensor expected(dtype, {rows, width});
        c.actual->add_rms_norm({residual.view(), delta.view(), weight.view(), 1e-6f, actual.view()},
                               {});
        c.reference->add_rms_norm(
            {expected_residual.view(), delta.view(), weight.view(), 1e-6f, expected.view()}, {});
        expect_same_bits(residual.view(), expected_residual.view(), "residual");
        expect_near(actual, expected, c.tolerance, "add_rms_norm");
      }
    }
  }
}

inline void expect_kv_append_agrees(const Compared& c) {
  Random random(18);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3}) {
    const CacheScales scales = scales_for(dtype);
    for (const int64_t head_dim : {12, 24, 33, 64, 80, 128}) {
      const HostTensor k = random.tensor(DType::kF32, {4, 3, head_dim});
      const HostTensor v = random.tensor(DType::kF32, {4, 3, head_dim});
      const HostTensor slots = tensor_of<int64_t>({0, 31, 17, 79});
      HostTensor k_cache = random.tensor(dtype, {5, 3, 16, head_dim});
      HostTensor v_cache = random.tensor(dtype, {5, 3, 16, head_dim});
      HostTensor expected_k = k_cache.clone();
      HostTensor expected_v = v_cache.clone();
      const auto append = [&](Backend& backend, const HostTensor& to_k, const HostTensor& to_v) {
        backend.kv_append(
            {k.view(), v.view(), slots.view(), to_k.view(), to_v.view(), scales.k, scales.v}, {});
      };
      append(*c.actual, k_cache, v_cache);
      append(*c.reference, expected_k, expected_v);
      expect_same_bits(k_cache.view(), expected_k.view(), "k_cache");
      expect_same_bits(v_cache.view(), expected_v.view(), "v_cache");
      // Token 1, head 2, channel 3 lies in block 1 at offset 15.
      HostTensor one(dtype, {1});
      one.set(0, k.at((1 * 3 + 2) * head_dim + 3) * (1 / scales.k));
      EXPECT_EQ(k_cache.at(((1 * 3 + 2) * 16 + 15) * head_dim + 3), one.at(0));
    }
  }
}

// Queries that are far larger than usual make the running maximum jump from tile to tile.
inline void expect_sharp_softmax_agrees(const Compared& c) {
  Random random(41);
  const HostTensor q = random.tensor(DType::kF32, {1, 1, 64}, 40);
  const HostTensor k = random.tensor(DType::kF32, {5, 1, 64, 64});
  const HostTensor v = random.tensor(DType::kF32, {5, 1, 64, 64});
  HostTensor table(DType::kI32, {1, 5});
  for (int i = 0; i < 5; ++i) table.view().as<int32_t>()[i] = 4 - i;
  const HostTensor start = tensor_of<int32_t>({0, 1});
  const HostTensor context = tensor_of<int32_t>({300});
  HostTensor actual(DType::kF32, {1, 1, 64});
  HostTensor expected(DType::kF32, {1, 1, 64});
  PagedAttentionArgs args{.q = q.view(),
                          .k_cache = k.view(),
                          .v_cache = v.view(),
                          .block_table = table.view(),
                          .query_start = start.view(),
                          .context_len = context.view(),
                          .scale = 0.125f,
                          .out = actual.view()};
  c.actual->paged_attention(args, {});
  args.out = expected.view();
  c.reference->paged_attention(args, {});
  expect_near(actual, expected, c.tolerance, "sharp softmax");
}

}  // namespace trireme::kernels::testing
