// DeviceScan: what a sampler asks of logits that stay on the device: the best of rows, sums, ranks.
//
// A few numbers per row come to the host in place of the row. Works on any backend. Questions are
// enqueued as they are asked, and their answers come back together: one copy, and one wait when
// they are wanted. Where a step's answers do not fit the buffer, part of them is waited for before
// the next is asked. Used by the rank's thread.
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
  // Rows, and of each what a draw depends on where it is one.
  struct Rows {
    std::vector<int32_t> rows;
    std::vector<float> inverse_temperature;
    std::vector<int64_t> keys;

    size_t size() const { return rows.size(); }
  };
  // Of the k best of each row asked for (as the op leaves them: -1 behind the last), or of one sum
  // for each.
  struct Answer {
    int64_t k = 0;             // 0: sums
    std::vector<int32_t> ids;  // [rows asked for, k]
    std::vector<float> scores;
    std::vector<float> values;
    std::vector<float> sums;  // [rows asked for]
    int64_t at = -1;          // in found(): ids, scores and values, or sums; -1: in pieces
  };
  // A step's questions, until they are answered. Made once, and used for one step after another.
  class Round {
   public:
    const Answer& answer(size_t question) const { return answers_[question]; }
    // The bytes of found() that the answers take, while nothing else was asked since.
    int64_t n_found_bytes() const { return n_found_; }
    // All answers are in found() at once.
    bool is_whole() const { return is_whole_; }

   private:
    friend class DeviceScan;
    struct Piece {
      size_t question = 0;
      size_t begin = 0;  // of its rows
      size_t end = 0;
      int64_t at = 0;  // in found()
    };
    std::vector<Answer> answers_;
    std::vector<Piece> pieces_;  // on their way
    std::unique_ptr<kernels::Buffer> host_;
    std::unique_ptr<kernels::Marker> sent_;
    int64_t n_found_ = 0;
    bool is_whole_ = true;
  };

  // Bytes of the answers of a round at most, on the device.
  static int64_t max_found_bytes();

  // The backend outlives it.
  static Result<std::unique_ptr<DeviceScan>> create(kernels::Backend& backend);
  Result<Round> make_round();

  // Forgets the round's questions of before.
  void begin(Round& round);
  // Asks for the k best, by value, or where `rows` has keys by the scores of draws. k <=
  // kernels::kMaxRowCandidates. Names the question.
  size_t ask_best(Round& round, const TensorView& logits, int32_t first_id, const Rows& rows,
                  int64_t k, StepContext& context);
  // For sums of exp((x - max) * inverse_temperature) of each row.
  size_t ask_sums(Round& round, const TensorView& logits, const Rows& rows, StepContext& context);
  // Enqueues the answers' way to the host.
  void send(Round& round, StepContext& context);
  // Waits for what was sent: from then on the answers are there.
  void collect(Round& round);

  // Where the answers are on the device.
  TensorView found() const { return found_.view; }
  // The next n elements of the device's memory for a round's operands, filled from the host.
  template <typename T>
  TensorView upload(std::span<const T> host, StepContext& context);

  // How many columns of each row come before its token (CountBeforeArgs). Waits; not between a
  // round's first question and its answers.
  std::vector<int32_t> counts_before(const TensorView& logits, int32_t first_id,
                                     const std::vector<int32_t>& rows,
                                     const std::vector<int32_t>& tokens,
                                     const std::vector<float>& values, StepContext& context);

 private:
  explicit DeviceScan(kernels::Backend& backend) : backend_(backend) {}

  // The next n elements of the operands' memory.
  TensorView place(DType dtype, int64_t n);
  // Room for so many bytes of answers and of operands: where there is none, what was asked before
  // is waited for.
  int64_t make_room(Round& round, int64_t found_bytes, int64_t operand_bytes, StepContext& context);

  kernels::Backend& backend_;
  DeviceTensor found_;     // bytes
  DeviceTensor operands_;  // bytes
  int64_t used_ = 0;       // of the operands
};

}  // namespace trireme::worker
