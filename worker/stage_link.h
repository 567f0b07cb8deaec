// StageLink: hidden states from one pipeline stage to the next, behind the header of their step.
//
// The ranks of a stage hold the same hidden states. Between machines each of them sends its part of
// many rows, and the far side gathers them over the tp group, so that the machines' link carries
// them once; inside a machine, or where there is little to send, every rank sends them whole.
//
// On a device they are sent from a copy and on a stream of their own, in turn one of two: the next
// step's work begins while the neighbour has yet to ask for this one's. Used by the rank's thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/mesh.h"
#include "parallel/step/step_plan.h"
#include "worker/layers/step_context.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

using HeaderWords = std::array<int64_t, 4>;  // epoch, step, shape hash, n_tokens
HeaderWords words_of(const step::StepHeader& header, int64_t n_tokens);
// "epoch 3 step 17 shape 00ff..." for the sentence about a disagreement.
std::string header_text(const HeaderWords& words);

// stage -> whether some rank of it is on another machine than its neighbour in the next one.
// `machines`: a name or number of each worker rank's machine, in the order of their ranks.
std::vector<bool> boundaries_between_machines(const std::vector<uint64_t>& machines, int tp);

// The same on every rank.
struct StageLinkOptions {
  std::vector<bool> between_machines;  // by stage, as above
  // Below it the gather costs more than it saves: some microseconds against those of a link of 50
  // GB/s.
  size_t min_bytes_in_parts = size_t{1} << 20;
  // What is sent aside on a device; more than that is sent from where it is.
  size_t max_bytes_aside = 0;
};

class StageLink {
 public:
  // `mesh` outlives the link.
  static Result<StageLink> create(kernels::Backend& backend, const comm::Mesh& mesh,
                                  StageLinkOptions options);

  // x [n_tokens, hidden] f32 of the stage before. failed_precondition where it is at another step.
  Status receive(const step::StepHeader& header, const TensorView& x, StepContext& context);
  // To the next stage; `x` may be written when it returns. Nothing is sent of sums that failed.
  Status send(const step::StepHeader& header, const TensorView& x, StepContext& context);

 private:
  StageLink(const comm::Mesh& mesh, StageLinkOptions options)
      : mesh_(&mesh), options_(std::move(options)) {}
  // From host to host where the mesh has groups there.
  Result<HeaderWords> receive_header(int from, StepContext& context);
  Status send_header(HeaderWords words, int to, StepContext& context);
  bool in_parts(int from_stage, const TensorView& x) const;
  TensorView my_part(const TensorView& x) const;
  Status send_aside(const TensorView& x, StepContext& context);

  // What is on the way, and the stream that it is sent on.
  struct Aside {
    DeviceTensor copy;  // bytes
    kernels::Stream stream;
  };

  const comm::Mesh* mesh_;
  StageLinkOptions options_;
  DeviceTensor header_;  // [4] i64
  std::array<Aside, 2> aside_;
  size_t n_aside_ = 0;  // sends
};

}  // namespace trireme::worker
