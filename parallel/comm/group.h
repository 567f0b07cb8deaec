// Group: an ordered set of ranks that act together, and the collectives over it.
//
// One interface over inproc (threads of one process, for tests and the embedded form), mpi (CPU clusters) and nccl
// (GPUs). A group belongs to one thread of its rank. Every rank of a group calls the same operations in the same order.
//
// all_reduce adds in rank order, element by element, whatever the size: a sum does not depend on the batch, and is the
// same bits on every rank. No call waits for ever: past `deadline_ns`, or once any rank aborted the group, it returns an
// error that names rank, step and op, and the group is unusable from then on.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/tensor.h"

namespace trireme::comm {

// What an operation is part of: for its deadline and for its error's words.
struct OpContext {
  StepId step;
  std::string_view op;      // e.g. "layer 3 attention all_reduce"; outlives the call
  int64_t deadline_ns = 0;  // on the group's clock (Clock::now_ns); 0: 30 s from the call
  kernels::Stream stream;
};

class Group {
 public:
  virtual ~Group() = default;

  virtual int rank() const = 0;  // 0 <= rank < size
  virtual int size() const = 0;

  // x = sum over ranks of x. f32 or bf16 (summed in f32), contiguous. A group of one returns at once.
  virtual Status all_reduce_sum(const TensorView& x, const OpContext& context) = 0;
  // residual += delta_scale * (sum over ranks of delta), then its norm where args has a weight: what
  // all_reduce_sum of delta and Backend::add_rms_norm (or add) make of it, as one piece of device
  // work. False, and nothing is done, where the group has no such way for this size, as on hosts:
  // the caller takes the two. What is in delta afterwards is not said.
  virtual Result<bool> all_reduce_into_residual(const kernels::AddRmsNormArgs& /*args*/,
                                                const OpContext& /*context*/) {
    return false;
  }
  // out = concatenation over ranks of x along dimension 0: out.shape[0] = size * x.shape[0]. Any dtype.
  virtual Status all_gather(const TensorView& x, const TensorView& out, const OpContext& context) = 0;
  // The same, enqueued where the group works on a device: what follows on the context's stream finds
  // it there, and the next operation that waits tells of a failure.
  virtual Status all_gather_enqueued(const TensorView& x, const TensorView& out,
                                     const OpContext& context) {
    return all_gather(x, out, context);
  }
  // out = this rank's 1/size slice along dimension 0 of the sum over ranks of x. f32 or bf16.
  virtual Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                                    const OpContext& context) = 0;
  // x = the root's x.
  virtual Status broadcast(const TensorView& x, int root, const OpContext& context) = 0;
  // Matching send and recv between two ranks of the group; send may return before the peer has received.
  virtual Status send(const TensorView& x, int peer, const OpContext& context) = 0;
  virtual Status recv(const TensorView& x, int peer, const OpContext& context) = 0;
  virtual Status barrier(const OpContext& context) = 0;

  // Whether this group's sums may be part of work that a backend records (kernels::Backend::begin_recording): those
  // that a device does by itself, and those of a group of one, which are nothing.
  virtual bool can_record() const = 0;
  // After a replay of recorded sums was enqueued on the context's stream: it is watched like an operation.
  virtual Status replayed(const OpContext& context) = 0;

  // An error where something enqueued on the group so far has failed: asked behind a wait for the
  // device, before what it computed is handed on by other ways than this group's operations, of
  // which those that wait ask by themselves.
  virtual Status check_enqueued(const OpContext& /*context*/) { return {}; }

  // Makes every pending and later operation of every rank of the group fail soon. Callable from any thread.
  virtual void abort(std::string_view reason) = 0;
};

}  // namespace trireme::comm
