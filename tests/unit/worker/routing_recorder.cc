#include "tests/unit/worker/routing_recorder.h"

#include <algorithm>

#include "base/check.h"
#include "tests/unit/worker/forwarding_backend.h"

namespace trireme::worker {
namespace {

using kernels::Stream;

class RoutingRecorder final : public ForwardingBackend {
 public:
  RoutingRecorder(std::unique_ptr<kernels::Backend> inner, RoutingLog* log)
      : ForwardingBackend(std::move(inner)), log_(log) {}

  void moe_route(const kernels::MoeRouteArgs& args, Stream stream) override {
    inner_->moe_route(args, stream);
    RowChoices rows;
    for (int64_t t = 0; t < args.expert_ids.dim(0); ++t) {
      std::vector<int32_t> ids(static_cast<size_t>(args.expert_ids.dim(1)));
      inner_->copy_to_host(ids.data(), args.expert_ids.row<int32_t>(t),
                           ids.size() * sizeof(int32_t), stream);
      inner_->synchronize(stream);
      std::sort(ids.begin(), ids.end());
      rows.push_back(std::move(ids));
    }
    log_->push_back(std::move(rows));
  }
  // What it records is read between the ops.
  Status begin_recording(Stream) override { return unimplemented("routing is read on the host"); }

 private:
  RoutingLog* log_;
};

}  // namespace

std::unique_ptr<kernels::Backend> record_routing(std::unique_ptr<kernels::Backend> inner,
                                                 RoutingLog* log) {
  return std::make_unique<RoutingRecorder>(std::move(inner), log);
}

RoutingFlips::RoutingFlips(const std::vector<RoutingLog>& exact,
                           const std::vector<RoutingLog>& rounded, size_t n_steps)
    : flips_(n_steps) {
  // All calls of a step, over the stages.
  const auto calls_of = [&](const std::vector<RoutingLog>& stages, size_t step) {
    std::vector<const RowChoices*> calls;
    for (const RoutingLog& log : stages) {
      CHECK_EQ(log.size() % n_steps, 0u);
      const size_t n_layers = log.size() / n_steps;
      for (size_t i = 0; i < n_layers; ++i) calls.push_back(&log[step * n_layers + i]);
    }
    return calls;
  };
  for (size_t step = 0; step < n_steps; ++step) {
    const auto wanted = calls_of(exact, step);
    const auto got = calls_of(rounded, step);
    CHECK_EQ(wanted.size(), got.size());
    for (size_t layer = 0; layer < wanted.size(); ++layer) {
      CHECK_EQ(wanted[layer]->size(), got[layer]->size());
      flips_[step].resize(wanted[layer]->size());
      for (size_t row = 0; row < wanted[layer]->size(); ++row) {
        if ((*wanted[layer])[row] != (*got[layer])[row]) flips_[step][row] = true;
      }
    }
  }
}

}  // namespace trireme::worker
