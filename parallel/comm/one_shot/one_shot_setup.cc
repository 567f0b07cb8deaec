#include "parallel/comm/one_shot/one_shot_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <type_traits>

#include "base/check.h"

namespace trireme::comm {
namespace {

// At start a peer that does not come is found out soon: nothing else is going on.
constexpr int64_t kPatienceAtStartNs = 5'000'000'000;
constexpr int64_t kProbeWidth = 4096;  // rows of 16 KiB
// Calls per measurement: recorded together, as a decode step is.
constexpr int kCalls = 16;
constexpr int kReplays = 3;
// Where both ways add in f32 in orders of their own; terms are below 1 and a norm's results below
// 70.
constexpr float kTolerance = 1e-4f;

struct Verdict {
  bool ok = true;
  std::array<char, 200> reason{};
};

struct Introduction {
  Verdict verdict;
  uint64_t machine = 0;
  kernels::PeerOffer offer;
};

Verdict verdict_of(const Status& status) {
  Verdict verdict{.ok = status.ok()};
  if (!status.ok()) {
    const std::string& message = status.error().message;
    std::copy_n(message.begin(), std::min(message.size(), verdict.reason.size() - 1),
                verdict.reason.begin());
  }
  return verdict;
}

template <typename Verdicts, typename Of>
std::optional<std::string> first_reason(const Verdicts& all, Of&& of) {
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const Verdict& verdict = of(all[rank]);
    if (!verdict.ok) return fmt::format("rank {}: {}", rank, verdict.reason.data());
  }
  return std::nullopt;
}

}  // namespace

kernels::AddRmsNormArgs OneShotSetup::Problem::args() const {
  return {.residual = residual.view,
          .delta = delta.view,
          .weight = TensorView(weight.view.data, DType::kF32, {weight.view.dim(1)}),
          .eps = 1e-5f,
          .out = out.view};
}

OpContext OneShotSetup::context(std::string_view op) const {
  return {.step = StepId(0), .op = op, .deadline_ns = 0, .stream = {}};
}

template <typename Record>
Result<std::vector<Record>> OneShotSetup::gather(const Record& mine) {
  static_assert(std::is_trivially_copyable_v<Record>);
  std::vector<std::byte> record(sizeof(Record));
  std::memcpy(record.data(), &mine, sizeof(Record));
  std::vector<std::byte> bytes;
  TRY(records_.all_gather(record, bytes, context("one-shot sums: all_gather")));
  std::vector<Record> all(static_cast<size_t>(group_.size()));
  std::memcpy(all.data(), bytes.data(), bytes.size());
  return all;
}

Result<std::optional<std::string>> OneShotSetup::agree(const Status& mine) {
  ASSIGN_OR_RETURN(const std::vector<Verdict> all, gather(verdict_of(mine)));
  return first_reason(all, [](const Verdict& verdict) -> const Verdict& { return verdict; });
}

Result<std::optional<std::string>> OneShotSetup::run() {
  CHECK(!in_.sizes.empty() && in_.sizes.size() <= kMaxOneShotSizes);
  ASSIGN_OR_RETURN(std::optional<std::string> reason, connect());
  if (reason.has_value()) return reason;
  is_alarming_ = true;
  // What fails here fails by itself and at once, or the group's own deadline ends it.
  ASSIGN_OR_RETURN(reason, agree(check()));
  if (reason.has_value()) return reason;
  if (in_.mode == OneShotMode::kAlways) {
    choice_ = OneShotChoice::always(in_.sizes.back());
  } else {
    ASSIGN_OR_RETURN(reason, measure());
    if (reason.has_value()) return reason;
  }
  sum_->set_patience_ns(kernels::kPeerPatienceNs);
  return std::optional<std::string>();
}

Status OneShotSetup::make_sum() {
  ASSIGN_OR_RETURN(
      sum_,
      in_.make({.rank = group_.rank(), .n_ranks = group_.size(), .max_bytes = in_.sizes.back()}));
  sum_->set_patience_ns(kPatienceAtStartNs);
  return {};
}

Result<std::optional<std::string>> OneShotSetup::connect() {
  Introduction mine{.verdict = verdict_of(make_sum()),
                    .machine = std::hash<std::string>()(in_.machine)};
  if (mine.verdict.ok) mine.offer = sum_->offer();
  ASSIGN_OR_RETURN(const std::vector<Introduction> all, gather(mine));
  std::optional<std::string> reason =
      first_reason(all, [](const Introduction& rank) -> const Verdict& { return rank.verdict; });
  if (reason.has_value()) return reason;
  std::vector<kernels::PeerOffer> offers;
  for (const Introduction& rank : all) {
    if (rank.machine != mine.machine)
      return std::optional<std::string>("its ranks are on several machines");
    offers.push_back(rank.offer);
  }
  return agree(sum_->connect(offers));
}

Result<OneShotSetup::Matrix> OneShotSetup::make_matrix(int64_t n_rows, int64_t width) {
  Matrix matrix;
  ASSIGN_OR_RETURN(matrix.buffer,
                   in_.backend.allocate(static_cast<size_t>(n_rows * width) * sizeof(float)));
  matrix.view = TensorView(matrix.buffer->data(), DType::kF32, {n_rows, width});
  return matrix;
}

Result<OneShotSetup::Problem> OneShotSetup::make_problem(int64_t n_rows, int64_t width) {
  Problem problem;
  ASSIGN_OR_RETURN(problem.residual, make_matrix(n_rows, width));
  ASSIGN_OR_RETURN(problem.delta, make_matrix(n_rows, width));
  ASSIGN_OR_RETURN(problem.weight, make_matrix(1, width));
  ASSIGN_OR_RETURN(problem.out, make_matrix(n_rows, width));
  return problem;
}

// The residual stream and the weight are the same on all ranks, the deltas are not.
void OneShotSetup::fill(const Problem& problem, int round) {
  const auto upload = [&](const Matrix& matrix, int seed) {
    std::mt19937 random(static_cast<unsigned>(round * 1000 + seed));
    std::vector<float> values(static_cast<size_t>(matrix.view.numel()));
    for (float& value : values) {
      value = std::uniform_real_distribution<float>(-1, 1)(random);
    }
    in_.backend.copy_to_device(matrix.view.data, values.data(), matrix.view.bytes(), {});
    in_.backend.synchronize({});
  };
  upload(problem.residual, 500);
  upload(problem.weight, 501);
  upload(problem.delta, group_.rank());
}

std::vector<float> OneShotSetup::download(const Matrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.view.numel()));
  in_.backend.copy_to_host(values.data(), matrix.view.data, matrix.view.bytes(), {});
  in_.backend.synchronize({});
  return values;
}

Status OneShotSetup::sum_ordinarily(const Problem& problem) {
  TRY(group_.all_reduce_sum(problem.delta.view, context("one-shot sums: all_reduce")));
  in_.backend.add_rms_norm(problem.args(), {});
  return {};
}

Status OneShotSetup::compare(int64_t n_rows, int64_t width, int round) {
  ASSIGN_OR_RETURN(const Problem expected, make_problem(n_rows, width));
  ASSIGN_OR_RETURN(const Problem actual, make_problem(n_rows, width));
  fill(expected, round);
  fill(actual, round);
  TRY(sum_ordinarily(expected));
  TRY(group_.barrier(context("one-shot sums: barrier")));
  sum_->add_rms_norm(actual.args(), {});
  in_.backend.synchronize({});
  if (sum_->gave_up()) return unavailable("a rank's flag did not arrive in its peers' memory");
  for (const auto& [a, b] :
       {std::pair(&expected.residual, &actual.residual), std::pair(&expected.out, &actual.out)}) {
    const std::vector<float> want = download(*a);
    const std::vector<float> got = download(*b);
    for (size_t i = 0; i < want.size(); ++i) {
      const float most = in_.same_bits ? 0 : kTolerance * (1 + std::abs(want[i]));
      if (std::abs(got[i] - want[i]) <= most) continue;
      return internal_error(
          fmt::format("element {} of {} x {} is {:.9g} where the group's sum says {:.9g}", i,
                      n_rows, width, got[i], want[i]));
    }
  }
  return {};
}

// A rank that finds a difference goes on with the others, so that all end together. Shapes of both
// kinds of loads, one block and several, both turns of the windows.
Status OneShotSetup::check() {
  Status first;
  for (int round = 0; round < 6; ++round) {
    const bool odd = round % 2 == 1;
    Status status = compare(odd ? 3 : 1, odd ? 1030 : kProbeWidth, round);
    if (first.ok() && !status.ok()) first = std::move(status);
  }
  return first;
}

template <typename Body>
Result<float> OneShotSetup::time_of(Body&& body) {
  const auto calls = [&]() -> Status {
    for (int i = 0; i < kCalls; ++i) TRY(body());
    return {};
  };
  TRY(calls());
  std::unique_ptr<kernels::RecordedWork> recorded;
  if (group_.can_record()) {
    TRY(in_.backend.begin_recording({}));
    const Status enqueued = calls();
    ASSIGN_OR_RETURN(recorded, in_.backend.end_recording({}));
    if (!enqueued.ok()) return enqueued.error();
  }
  const auto run = [&]() -> Status {
    if (recorded == nullptr) return calls();
    if (!in_.backend.replay(*recorded, {})) return internal_error("a recording was lost");
    return group_.replayed(context("one-shot sums: measuring"));
  };
  TRY(run());
  TRY(group_.barrier(context("one-shot sums: barrier")));
  const int64_t begin_ns = in_.clock.now_ns();
  for (int i = 0; i < kReplays; ++i) TRY(run());
  in_.backend.synchronize({});
  const int64_t taken_ns = in_.clock.now_ns() - begin_ns;
  if (sum_->gave_up()) return unavailable("a rank's flag did not arrive while measuring");
  return static_cast<float>(taken_ns) * 1e-3f / (kReplays * kCalls);
}

// Deltas are zero and stay so.
Status OneShotSetup::time_sizes(Timings& timings) {
  for (size_t i = 0; i < in_.sizes.size(); ++i) {
    CHECK_EQ(in_.sizes[i] % (kProbeWidth * 4), 0);
    ASSIGN_OR_RETURN(const Problem problem,
                     make_problem(in_.sizes[i] / (kProbeWidth * 4), kProbeWidth));
    timings[i].bytes = in_.sizes[i];
    ASSIGN_OR_RETURN(timings[i].ordinary_us, time_of([&] { return sum_ordinarily(problem); }));
    ASSIGN_OR_RETURN(timings[i].one_shot_us, time_of([&]() -> Status {
                       sum_->add_rms_norm(problem.args(), {});
                       return {};
                     }));
  }
  return {};
}

Result<std::optional<std::string>> OneShotSetup::measure() {
  struct Measured {
    Verdict verdict;
    Timings timings{};
  };
  Measured mine;
  mine.verdict = verdict_of(time_sizes(mine.timings));
  ASSIGN_OR_RETURN(const std::vector<Measured> all, gather(mine));
  std::optional<std::string> reason =
      first_reason(all, [](const Measured& rank) -> const Verdict& { return rank.verdict; });
  if (reason.has_value()) return reason;
  std::vector<SizeTiming> slowest(
      mine.timings.begin(), mine.timings.begin() + static_cast<std::ptrdiff_t>(in_.sizes.size()));
  for (const Measured& rank : all) {
    for (size_t i = 0; i < slowest.size(); ++i) {
      slowest[i].one_shot_us = std::max(slowest[i].one_shot_us, rank.timings[i].one_shot_us);
      slowest[i].ordinary_us = std::max(slowest[i].ordinary_us, rank.timings[i].ordinary_us);
    }
  }
  choice_ = OneShotChoice::measured(std::move(slowest));
  return std::optional<std::string>();
}

}  // namespace trireme::comm
