#include "kernels/cuda/device_limits.h"

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/cuda/large_gemm.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/packed_weight.h"
#include "kernels/cuda/runtime.h"

namespace trireme::kernels::cuda {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 30;  // read, and as many written
constexpr int64_t kSide = 8192;
constexpr int kRounds = 5;
constexpr int kRunsPerRound = 4;

class DeviceLimitMeter final : public cpu::LimitMeter {
 public:
  explicit DeviceLimitMeter(const cpu::MachineLimits& limits) : limits_(limits) {}
  cpu::MachineLimits measure(double) override { return limits_; }

 private:
  cpu::MachineLimits limits_;
};

// The best of a few rounds, in seconds per run.
template <typename Work>
double best_seconds(const Launcher& launcher, Work&& work) {
  void* begin = make_event();
  void* end = make_event();
  double best = 1e30;
  for (int round = -1; round < kRounds; ++round) {  // the first warms up
    record_event(begin, launcher.stream);
    for (int i = 0; i < kRunsPerRound; ++i) work();
    record_event(end, launcher.stream);
    wait_for_event(end);
    if (round >= 0) best = std::min(best, seconds_between(begin, end) / kRunsPerRound);
  }
  release_event(begin);
  release_event(end);
  return best;
}

Result<double> copy_rate(const Launcher& launcher) {
  ASSIGN_OR_RETURN(const auto from, DeviceBuffer::allocate(kCopyBytes));
  ASSIGN_OR_RETURN(const auto to, DeviceBuffer::allocate(kCopyBytes));
  const double seconds = best_seconds(launcher, [&] {
    copy_on_device_async(to->data(), from->data(), kCopyBytes, launcher.stream);
  });
  return 2 * static_cast<double>(kCopyBytes) / seconds;
}

Result<double> product_rate(const DeviceInfo& info, const Launcher& launcher) {
  ASSIGN_OR_RETURN(const auto large, make_large_gemm({.device = info.name, .tuning_file = {}}));
  const size_t bytes = static_cast<size_t>(kSide * kSide) * sizeof(uint16_t);
  ASSIGN_OR_RETURN(const auto a, DeviceBuffer::allocate(bytes));
  ASSIGN_OR_RETURN(const auto b, DeviceBuffer::allocate(bytes));
  ASSIGN_OR_RETURN(const auto out, DeviceBuffer::allocate(bytes));
  std::vector<bf16> random(static_cast<size_t>(kSide * kSide));
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  for (bf16& value : random) value = to_bf16(normal(engine));
  copy_to_device_async(a->data(), random.data(), bytes, launcher.stream);
  std::reverse(random.begin(), random.end());
  copy_to_device_async(b->data(), random.data(), bytes, launcher.stream);
  GemmOperands operands;
  operands.x = a->data();
  operands.x_stride = kSide;
  operands.x_width = kSide;
  operands.n_rows = kSide;
  operands.weight = b->data();
  operands.pitch = kSide;
  operands.out_features = kSide;
  operands.out = out->data();
  operands.out_dtype = DType::kBF16;
  operands.out_stride = kSide;
  if (large == nullptr || !large->run(operands, launcher)) {
    return failed_precondition(
        "cuBLASLt has no algorithm for the product that measures the device");
  }
  const double seconds = best_seconds(launcher, [&] { large->run(operands, launcher); });
  return 2.0 * kSide * kSide * kSide / seconds;
}

}  // namespace

Result<std::unique_ptr<cpu::LimitMeter>> make_device_limit_meter(int device) {
  ASSIGN_OR_RETURN(const DeviceInfo info, open_device(device));
  const Launcher launcher{.stream = default_stream(), .n_multiprocessors = info.n_multiprocessors};
  cpu::MachineLimits limits;
  ASSIGN_OR_RETURN(limits.read_bytes_per_second, copy_rate(launcher));
  ASSIGN_OR_RETURN(limits.bf16_flops, product_rate(info, launcher));
  limits.f32_flops = limits.bf16_flops;
  return std::unique_ptr<cpu::LimitMeter>(std::make_unique<DeviceLimitMeter>(limits));
}

}  // namespace trireme::kernels::cuda
