// DeviceTokens: a step's sampled tokens on the device, before the host knows them.
//
// The step behind begins with them. They follow from what a DeviceScan found, gathered from the
// ranks of the tp group: the same on every rank. In f32, and of the candidates alone: nearly always
// the tokens that the sampler decides for, which is the one to say. Used by the rank's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/group.h"
#include "parallel/step/step_plan.h"
#include "worker/layers/step_context.h"
#include "worker/sample/device_scan.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

class DeviceTokens {
 public:
  // A question of the round, about rows that take their best candidate.
  struct Best {
    size_t question = 0;
    const DeviceScan::Rows* rows = nullptr;
  };
  // One about rows that draw from their leading candidates.
  struct Drawn {
    size_t question = 0;
    std::optional<size_t> sums;  // where a top_p is of the whole row
    const DeviceScan::Rows* rows = nullptr;
    std::vector<const step::SamplingParams*> params;  // of the rows
    std::vector<int64_t> keys;
  };

  // Backend, scan and group outlive it.
  static Result<std::unique_ptr<DeviceTokens>> create(kernels::Backend& backend, DeviceScan& scan,
                                                      comm::Group& tp, int64_t max_rows);

  // [max_rows] i32 on the device: of the rows told of last.
  TensorView tokens() const { return tokens_.view; }
  // After the round's last question, of a round that is whole.
  Status tell(const DeviceScan::Round& round, const std::vector<Best>& best,
              const std::optional<Drawn>& drawn, StepContext& context);

 private:
  DeviceTokens(kernels::Backend& backend, DeviceScan& scan, comm::Group& tp)
      : backend_(backend), scan_(scan), tp_(tp) {}

  // Of the gathered answers [n_ranks, columns] of one rank each, from byte `at` of a rank's on.
  TensorView of_ranks(int64_t rank_bytes, int64_t at, DType dtype, int64_t columns) const;
  void draw(const DeviceScan::Round& round, const Drawn& drawn, StepContext& context);

  kernels::Backend& backend_;
  DeviceScan& scan_;
  comm::Group& tp_;
  DeviceTensor tokens_;
  DeviceTensor gathered_;  // bytes; where there are several ranks
};

}  // namespace trireme::worker
