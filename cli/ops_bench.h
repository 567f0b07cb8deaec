// OpsBench: times kernels beside the machine's limit, which is measured in the same run, and prints
// JSON lines.
//
// Each figure is a median of rounds, and each round measures the limit right before the kernel: on
// a machine that is shared, the two rise and fall together. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/machine_limits.h"

namespace trireme::cli {

struct OpsBenchOptions {
  int n_threads = 1;
  std::string compute = "bf16";
  int n_rounds = 5;
  std::string only;  // one group, or empty: all
  std::string clock = "wall";
};

// What one run of a kernel has to do at least.
struct OpsWork {
  double bytes = 0;  // read from memory
  double flops = 0;
  bool in_bf16 = false;
};

class OpsBench {
 public:
  static Result<std::unique_ptr<OpsBench>> create(const OpsBenchOptions& options);

  bool wanted(const std::string& group) const {
    return options_.only.empty() || options_.only == group;
  }
  kernels::Backend& backend() { return *backend_; }
  bool in_bf16() const { return backend_->compute_dtype() == kernels::ComputeDType::kBF16; }

  void print(const std::string& what, const std::string& shape, double figure, double limit,
             const std::string& unit, double percent);
  void print_limits();
  double read_bytes_per_second() { return meter_->measure(0.15).read_bytes_per_second; }

  // Times `kernel`, which does `work`, against the larger of its two floors.
  void measure(const std::string& what, const std::string& shape, const OpsWork& work,
               const std::function<void()>& kernel);

  // f32 or bf16 of this standard deviation, kept until `release`.
  Result<TensorView> tensor(DType dtype, std::initializer_list<int64_t> shape, float deviation);
  Result<std::unique_ptr<kernels::PackedWeight>> weight(int64_t out, int64_t in);
  // Gives back the tensors made since there were `n_kept` of them.
  void release(size_t n_kept) { buffers_.resize(n_kept); }
  size_t n_tensors() const { return buffers_.size(); }

 private:
  OpsBench(const OpsBenchOptions& options, std::unique_ptr<kernels::Backend> backend,
           std::unique_ptr<kernels::cpu::LimitMeter> meter);

  double clock_seconds() const;

  OpsBenchOptions options_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<kernels::cpu::LimitMeter> meter_;
  std::string machine_;
  std::string commit_;
  std::vector<std::unique_ptr<kernels::Buffer>> buffers_;
  uint64_t state_ = 42;
};

// The ops of other families than Llama, in bench_ops_families.cc: groups "families", "latent" and
// "moe".
Status bench_family_ops(OpsBench* bench);
// Group "low_bit", in bench_ops_low_bit.cc.
Status bench_low_bit_ops(OpsBench* bench);

}  // namespace trireme::cli
