#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "tests/ops/kernels/fixtures.h"

namespace trireme::kernels::testing {
namespace {

TEST(Memory, ArrivesZeroedAndAligned) {
  const auto backend = cpu_backend("portable", ComputeDType::kF32);
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4097}, size_t{3} << 20}) {
    auto buffer = backend->allocate(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.error().message;
    EXPECT_EQ((*buffer)->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % 64, 0u);
    const auto* data = static_cast<const unsigned char*>((*buffer)->data());
    for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 0) << i;
  }
}

TEST(Memory, RefusesWhatIsNotThereAndSaysTheNumbers) {
  const auto backend = cpu_backend("portable", ComputeDType::kF32);
  for (const size_t bytes : {size_t{1} << 60, std::numeric_limits<size_t>::max()}) {
    auto buffer = backend->allocate(bytes);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.error().code, ErrorCode::kResourceExhausted);
    EXPECT_NE(buffer.error().message.find(std::to_string(bytes)), std::string::npos);
  }
  auto available = backend->free_memory_bytes();
  ASSERT_TRUE(available.ok());
  EXPECT_GT(*available, size_t{1} << 20);
  EXPECT_FALSE(backend->allocate(*available * 2).ok());
}

TEST(Memory, CopiesBothWays) {
  const auto backend = cpu_backend("portable", ComputeDType::kF32);
  auto buffer = backend->allocate(100);
  ASSERT_TRUE(buffer.ok());
  Random random(1);
  const HostTensor from = random.tensor(DType::kF32, {25});
  HostTensor to(DType::kF32, {25});
  backend->copy_to_device((*buffer)->data(), from.view().data, 100, {});
  backend->copy_to_host(to.view().data, (*buffer)->data(), 100, {});
  backend->synchronize({});
  expect_same_bits(to.view(), from.view(), "round trip");
}

TEST(Options, AreChecked) {
  EXPECT_EQ(make_cpu_backend({.max_isa = "sse9"}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(make_cpu_backend({.n_threads = -1}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(make_cpu_backend({.n_threads = 1 << 20}).error().code, ErrorCode::kInvalidArgument);
  const auto backend = make_cpu_backend({.n_threads = 2});
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->name(), "cpu");
  EXPECT_NE((*backend)->description().find("2 threads"), std::string::npos);
}

TEST(Options, CudaIsThereOrSaysWhatIsMissing) {
  const auto backend = make_cuda_backend({});
  if (backend.ok()) {
    EXPECT_EQ((*backend)->name(), "cuda");
    return;
  }
  EXPECT_EQ(backend.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_FALSE(backend.error().message.empty());
}

TEST(PackWeight, RefusesWhatItCannotPack) {
  const auto cpu = cpu_backend("portable", ComputeDType::kF32);
  const auto reference = make_reference_backend(ComputeDType::kF32);
  const HostTensor integers(DType::kI32, {4, 4});
  const HostTensor vector(DType::kF32, {4});
  const HostTensor empty(DType::kF32, {4, 0});
  for (Backend* backend : {cpu.get(), reference.get()}) {
    for (const HostTensor* wrong : {&integers, &vector, &empty}) {
      const auto packed = backend->pack_weight(wrong->view());
      ASSERT_FALSE(packed.ok());
      EXPECT_EQ(packed.error().code, ErrorCode::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace trireme::kernels::testing
