// Replicas on the device under test: the emulator everywhere, a GPU where there is one.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/gpu/ops/device_fixture.h"
#include "tests/unit/worker/test_replica.h"

namespace trireme::worker {

// For ReplicaOptions::make_backend.
inline std::unique_ptr<kernels::Backend> make_device(kernels::ComputeDType dtype) {
  std::string why;
  return kernels::testing::make_device_backend(dtype, &why);
}
inline std::unique_ptr<kernels::Backend> make_batch_invariant_device(kernels::ComputeDType dtype) {
  std::string why;
  return kernels::testing::make_device_backend(dtype, &why, /*batch_invariant=*/true);
}

// Skips, with the reason, where the device is absent.
class DeviceReplicaTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (kernels::testing::make_device_backend(kernels::ComputeDType::kF32, &why) == nullptr) {
      GTEST_SKIP() << why;
    }
  }
};

template <typename Param>
class DeviceReplicaTestWithParam : public DeviceReplicaTest,
                                   public testing::WithParamInterface<Param> {};

}  // namespace trireme::worker
