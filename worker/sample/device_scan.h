// DeviceScan: what a sampler asks of logits that stay on the device: the best of rows, sums, ranks.
//
// A few numbers per row come to the host in place of the row. Works on any backend. Rows are asked
// for in groups that fit the buffers; each group waits for the device once. Used by the rank's
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "worker/layers/step_context.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

class DeviceScan {
 public:
  // The k best of each row asked for, as the op leaves them: -1 behind the last.
  struct Best {
    int64_t k = 0;
    std::vector<int32_t> ids;  // [rows asked for, k]
    std::vector<float> scores;
    std::vector<float> values;
  };
  // Rows, and of each what a draw depends on where it is one.
  struct Rows {
    std::vector<int32_t> rows;
    std::vector<float> inverse_temperature;
    std::vector<int64_t> keys;

    size_t size() const { return rows.size(); }
  };

  // The backend outlives it.
  static Result<std::unique_ptr<DeviceScan>> create(kernels::Backend& backend);

  // By value, or where `rows` has keys by the scores of draws. k <= kernels::kMaxRowCandidates.
  Best best(const TensorView& logits, int32_t first_id, const Rows& rows, int64_t k,
            StepContext& context);
  // Sums of exp((x - max) * inverse_temperature) of each row.
  std::vector<float> masses(const TensorView& logits, const Rows& rows, StepContext& context);
  // How many columns of each row come before its token (CountBeforeArgs).
  std::vector<int32_t> counts_before(const TensorView& logits, int32_t first_id,
                                     const std::vector<int32_t>& rows,
                                     const std::vector<int32_t>& tokens,
                                     const std::vector<float>& values, StepContext& context);

 private:
  explicit DeviceScan(kernels::Backend& backend) : backend_(backend) {}

  // The next n elements of the buffer, filled from the host where there is something to fill.
  TensorView place(DType dtype, int64_t n);
  template <typename T>
  TensorView upload(std::span<const T> host, StepContext& context);

  kernels::Backend& backend_;
  DeviceTensor buffer_;           // bytes
  int64_t used_ = 0;              // of them
  std::vector<std::byte> found_;  // ids, scores and values, on the host
};

}  // namespace trireme::worker
