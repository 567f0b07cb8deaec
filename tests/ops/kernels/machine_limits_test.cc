#include "kernels/cpu/machine_limits.h"

#include <gtest/gtest.h>

#include "kernels/cpu/isa_select.h"

namespace trireme::kernels::cpu {
namespace {

TEST(MachineLimits, AreThoseOfAProcessor) {
  const auto limits = measure_machine_limits(2, size_t{8} << 20, 0.05);
  ASSERT_TRUE(limits.ok()) << limits.error().message;
  EXPECT_EQ(limits->n_threads, 2);
  // Wide bounds: sanitizers slow it down, and nobody reads 10 TB/s. Work that was optimised away
  // would exceed them.
  EXPECT_GT(limits->read_bytes_per_second, 1e7);
  EXPECT_LT(limits->read_bytes_per_second, 1e13);
  EXPECT_GT(limits->f32_flops, 1e8);
  EXPECT_LT(limits->f32_flops, 1e12);
  const bool has_bf16 = select_kernels("").value().gemm_bf16 != nullptr;
  EXPECT_EQ(limits->bf16_flops > 0, has_bf16);
  EXPECT_LT(limits->bf16_flops, 2e12);
  EXPECT_GE(limits->bf16_compute_flops(), limits->bf16_flops);
}

TEST(MachineLimits, RefuseWhatCannotBeMeasured) {
  EXPECT_EQ(measure_machine_limits(0, 1 << 20, 0.01).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(measure_machine_limits(1, size_t{1} << 60, 0.01).error().code,
            ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace trireme::kernels::cpu
