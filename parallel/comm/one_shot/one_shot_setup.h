// What the ranks of a group do at start before sums go over their memory. For one_shot_group.cc.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/comm/one_shot/one_shot_group.h"
#include "parallel/comm/record_exchange.h"

namespace trireme::comm {

class OneShotSetup {
 public:
  OneShotSetup(Group& group, const OneShotInputs& inputs)
      : group_(group), in_(inputs), records_(inputs.backend, group, inputs.host) {}

  // Nothing where all went well; else the reason against it, the same on every rank. Errors are the
  // group's own.
  Result<std::optional<std::string>> run();
  // The reason is one that is not expected where a group is on one machine: what came out was
  // wrong.
  bool is_alarming() const { return is_alarming_; }
  // Afterwards.
  std::unique_ptr<kernels::PeerSum> take_sum() { return std::move(sum_); }
  const OneShotChoice& choice() const { return *choice_; }

 private:
  // Device memory for a matrix of f32, zero.
  struct Matrix {
    std::unique_ptr<kernels::Buffer> buffer;
    TensorView view;
  };
  // One sum into a residual stream and its norm, either way.
  struct Problem {
    Matrix residual, delta, weight, out;
    kernels::AddRmsNormArgs args() const;
  };

  OpContext context(std::string_view op) const;
  // Every rank's record; of trivially copyable types.
  template <typename Record>
  Result<std::vector<Record>> gather(const Record& mine);
  // The first reason of any rank, or nothing.
  Result<std::optional<std::string>> agree(const Status& mine);

  Status make_sum();
  Result<std::optional<std::string>> connect();
  Result<Matrix> make_matrix(int64_t n_rows, int64_t width);
  Result<Problem> make_problem(int64_t n_rows, int64_t width);
  void fill(const Problem& problem, int round);
  std::vector<float> download(const Matrix& matrix);
  Status sum_ordinarily(const Problem& problem);
  // Both ways on the same random data; a reason where they differ.
  Status compare(int64_t n_rows, int64_t width, int round);
  Status check();
  // Mean microseconds of `body`, which enqueues one sum.
  template <typename Body>
  Result<float> time_of(Body&& body);
  using Timings = std::array<SizeTiming, kMaxOneShotSizes>;
  Status time_sizes(Timings& timings);
  // Chooses, or says why not, the same on every rank.
  Result<std::optional<std::string>> measure();

  Group& group_;
  const OneShotInputs& in_;
  RecordExchange records_;
  std::unique_ptr<kernels::PeerSum> sum_;
  std::optional<OneShotChoice> choice_;
  bool is_alarming_ = false;
};

}  // namespace trireme::comm
