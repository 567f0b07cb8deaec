// One suite, two devices: the op tests run on the emulator everywhere (label ops) and on a GPU
// where there is one (label gpu). Each binary links its own make_device_backend.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/peer_sum.h"

namespace trireme::kernels::testing {

// nullptr, with the reason, where the device is absent.
std::unique_ptr<Backend> make_device_backend(ComputeDType compute_dtype, std::string* why_absent,
                                             bool batch_invariant = false);

// On the same device, as the calling thread's rank sees it. Asked where the device is there.
Result<std::unique_ptr<PeerSum>> make_device_peer_sum(const PeerSumOptions& options);

// A backend whose operands are host tensors: copies them to `device`, runs the op there, and copies
// the results back. Strides and alignments are kept, so that fixtures written for host memory test
// a device, odd addresses included.
std::unique_ptr<Backend> on_host_tensors(std::unique_ptr<Backend> device);

// Skips where the device is absent.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    auto device = make_device_backend(ComputeDType::kF32, &why);
    if (device == nullptr) GTEST_SKIP() << why;
    f32_ = on_host_tensors(std::move(device));
    bf16_ = on_host_tensors(make_device_backend(ComputeDType::kBF16, &why));
  }

  std::unique_ptr<Backend> f32_;
  std::unique_ptr<Backend> bf16_;
  std::unique_ptr<Backend> reference_ = make_reference_backend(ComputeDType::kF32);
  std::unique_ptr<Backend> reference_bf16_ = make_reference_backend(ComputeDType::kBF16);
};

}  // namespace trireme::kernels::testing
