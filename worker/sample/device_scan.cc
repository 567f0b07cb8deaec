#include "worker/sample/device_scan.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace trireme::worker {
namespace {

// Candidates of one piece of a question, and its rows.
constexpr int64_t kMaxEntries = int64_t{1} << 16;
constexpr int64_t kMaxRowsAtOnce = int64_t{1} << 12;
constexpr int64_t kAlignment = 16;
constexpr int64_t kEntryBytes = 4;  // of an id, a score, a value, a sum
constexpr int64_t kFoundBytes = kMaxEntries * 3 * kEntryBytes + kMaxRowsAtOnce * kEntryBytes;
// Of a row: its number, temperature, key, and what a filter asks; of one piece of each question.
constexpr int64_t kOperandBytesOfRow = 64;
constexpr int64_t kOperandBytes = 6 * kMaxRowsAtOnce * kOperandBytesOfRow;

template <typename T>
std::span<const T> part(const std::vector<T>& all, size_t begin, size_t end) {
  return std::span<const T>(all).subspan(begin, end - begin);
}

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

int64_t DeviceScan::max_found_bytes() { return kFoundBytes; }

Result<std::unique_ptr<DeviceScan>> DeviceScan::create(kernels::Backend& backend) {
  std::unique_ptr<DeviceScan> scan(new DeviceScan(backend));
  ASSIGN_OR_RETURN(scan->found_, allocate_tensor(backend, DType::kU8, {kFoundBytes}));
  ASSIGN_OR_RETURN(scan->operands_, allocate_tensor(backend, DType::kU8, {kOperandBytes}));
  return scan;
}

Result<DeviceScan::Round> DeviceScan::make_round() {
  Round round;
  ASSIGN_OR_RETURN(round.host_, backend_.allocate_on_host(kFoundBytes));
  round.sent_ = backend_.make_marker();
  return round;
}

void DeviceScan::begin(Round& round) {
  round.answers_.clear();
  round.pieces_.clear();
  round.n_found_ = 0;
  round.is_whole_ = true;
  used_ = 0;
}

TensorView DeviceScan::place(DType dtype, int64_t n) {
  const TensorView view(static_cast<char*>(operands_.view.data) + used_, dtype, {n});
  used_ += aligned(static_cast<int64_t>(view.bytes()));
  CHECK_LE(used_, kOperandBytes);
  return view;
}

template <typename T>
TensorView DeviceScan::upload(std::span<const T> host, StepContext& context) {
  const TensorView view = place(dtype_of<T>(), static_cast<int64_t>(host.size()));
  backend_.copy_to_device(view.data, host.data(), host.size_bytes(), context.stream);
  return view;
}

template TensorView DeviceScan::upload(std::span<const int32_t>, StepContext&);
template TensorView DeviceScan::upload(std::span<const int64_t>, StepContext&);
template TensorView DeviceScan::upload(std::span<const float>, StepContext&);

int64_t DeviceScan::make_room(Round& round, int64_t found_bytes, int64_t operand_bytes,
                              StepContext& context) {
  if (round.n_found_ + found_bytes > kFoundBytes || used_ + operand_bytes > kOperandBytes) {
    send(round, context);
    collect(round);
    round.n_found_ = 0;
    round.is_whole_ = false;
    used_ = 0;
  }
  const int64_t at = round.n_found_;
  round.n_found_ += found_bytes;
  return at;
}

size_t DeviceScan::ask_best(Round& round, const TensorView& logits, int32_t first_id,
                            const Rows& rows, int64_t k, StepContext& context) {
  const size_t question = round.answers_.size();
  round.answers_.emplace_back();
  const size_t n_entries = rows.size() * static_cast<size_t>(k);
  round.answers_[question].k = k;
  round.answers_[question].ids.resize(n_entries);
  round.answers_[question].scores.resize(n_entries);
  round.answers_[question].values.resize(n_entries);
  const auto at_once = static_cast<size_t>(std::min(kMaxRowsAtOnce, kMaxEntries / k));
  for (size_t begin = 0; begin < rows.size(); begin += at_once) {
    const size_t end = std::min(begin + at_once, rows.size());
    const auto n = static_cast<int64_t>(end - begin);
    const int64_t at =
        make_room(round, aligned(3 * n * k * kEntryBytes), n * kOperandBytesOfRow, context);
    kernels::RowCandidatesArgs args{
        .x = logits, .rows = upload(part(rows.rows, begin, end), context), .first_id = first_id};
    if (!rows.keys.empty()) {
      args.inverse_temperature = upload(part(rows.inverse_temperature, begin, end), context);
      args.keys = upload(part(rows.keys, begin, end), context);
    }
    const auto third = [&](int64_t i, DType dtype) {
      char* const first = static_cast<char*>(found_.view.data) + at;
      return TensorView(first + i * n * k * kEntryBytes, dtype, {n, k});
    };
    args.ids = third(0, DType::kI32);
    args.scores = third(1, DType::kF32);
    args.values = third(2, DType::kF32);
    backend_.row_candidates(args, context.stream);
    round.pieces_.push_back({question, begin, end, at});
    round.answers_[question].at = end - begin == rows.size() ? at : -1;
  }
  return question;
}

size_t DeviceScan::ask_sums(Round& round, const TensorView& logits, const Rows& rows,
                            StepContext& context) {
  const size_t question = round.answers_.size();
  round.answers_.emplace_back();
  round.answers_[question].sums.resize(rows.size());
  for (size_t begin = 0; begin < rows.size(); begin += kMaxRowsAtOnce) {
    const size_t end = std::min(begin + kMaxRowsAtOnce, rows.size());
    const auto n = static_cast<int64_t>(end - begin);
    const int64_t at = make_room(round, aligned(n * kEntryBytes), n * kOperandBytesOfRow, context);
    char* const sums = static_cast<char*>(found_.view.data) + at;
    backend_.row_max_log_sum_exp(
        {.x = logits,
         .max = place(DType::kF32, n),
         .sum_exp = TensorView(sums, DType::kF32, {n}),
         .rows = upload(part(rows.rows, begin, end), context),
         .inverse_temperature = upload(part(rows.inverse_temperature, begin, end), context)},
        context.stream);
    round.pieces_.push_back({question, begin, end, at});
    round.answers_[question].at = end - begin == rows.size() ? at : -1;
  }
  return question;
}

void DeviceScan::send(Round& round, StepContext& context) {
  backend_.copy_to_host(round.host_->data(), found_.view.data, static_cast<size_t>(round.n_found_),
                        context.stream);
  backend_.mark(*round.sent_, context.stream);
}

void DeviceScan::collect(Round& round) {
  backend_.wait_for(*round.sent_);
  for (const Round::Piece& piece : round.pieces_) {
    Answer& answer = round.answers_[piece.question];
    const auto k = static_cast<size_t>(std::max<int64_t>(1, answer.k));
    const size_t bytes = (piece.end - piece.begin) * k * kEntryBytes;
    const char* from = static_cast<const char*>(round.host_->data()) + piece.at;
    const auto bring = [&](auto& to) {
      std::memcpy(to.data() + piece.begin * k, from, bytes);
      from += bytes;
    };
    if (answer.k == 0) {
      bring(answer.sums);
      continue;
    }
    bring(answer.ids);
    bring(answer.scores);
    bring(answer.values);
  }
  round.pieces_.clear();
}

std::vector<int32_t> DeviceScan::counts_before(const TensorView& logits, int32_t first_id,
                                               const std::vector<int32_t>& rows,
                                               const std::vector<int32_t>& tokens,
                                               const std::vector<float>& values,
                                               StepContext& context) {
  std::vector<int32_t> counts(rows.size());
  for (size_t begin = 0; begin < rows.size(); begin += kMaxRowsAtOnce) {
    const size_t end = std::min(begin + kMaxRowsAtOnce, rows.size());
    used_ = 0;
    const TensorView out = place(DType::kI32, static_cast<int64_t>(end - begin));
    backend_.count_before({.x = logits,
                           .rows = upload(part(rows, begin, end), context),
                           .ids = upload(part(tokens, begin, end), context),
                           .values = upload(part(values, begin, end), context),
                           .first_id = first_id,
                           .counts = out},
                          context.stream);
    backend_.copy_to_host(counts.data() + begin, out.data, out.bytes(), context.stream);
    backend_.synchronize(context.stream);
  }
  return counts;
}

}  // namespace trireme::worker
