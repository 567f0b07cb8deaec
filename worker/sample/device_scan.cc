#include "worker/sample/device_scan.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace trireme::worker {
namespace {

// Candidates of one group of rows, and what a row needs beside them.
constexpr int64_t kMaxEntries = int64_t{1} << 16;
constexpr int64_t kMaxRowsAtOnce = int64_t{1} << 12;
constexpr int64_t kAlignment = 16;
constexpr size_t kEntryBytes = 4;  // of an id, a score, a value
constexpr int64_t kBytesOfRow = 4 * (8 + kAlignment);
constexpr int64_t kBytes = kMaxEntries * 12 + kMaxRowsAtOnce * kBytesOfRow + 16 * kAlignment;

template <typename T>
std::span<const T> part(const std::vector<T>& all, size_t begin, size_t end) {
  return std::span<const T>(all).subspan(begin, end - begin);
}

}  // namespace

Result<std::unique_ptr<DeviceScan>> DeviceScan::create(kernels::Backend& backend) {
  std::unique_ptr<DeviceScan> scan(new DeviceScan(backend));
  ASSIGN_OR_RETURN(scan->buffer_, allocate_tensor(backend, DType::kU8, {kBytes}));
  return scan;
}

TensorView DeviceScan::place(DType dtype, int64_t n) {
  const TensorView view(static_cast<char*>(buffer_.view.data) + used_, dtype, {n});
  used_ += (static_cast<int64_t>(view.bytes()) + kAlignment - 1) / kAlignment * kAlignment;
  CHECK_LE(used_, kBytes);
  return view;
}

template <typename T>
TensorView DeviceScan::upload(std::span<const T> host, StepContext& context) {
  const TensorView view = place(dtype_of<T>(), static_cast<int64_t>(host.size()));
  backend_.copy_to_device(view.data, host.data(), host.size_bytes(), context.stream);
  return view;
}

DeviceScan::Best DeviceScan::best(const TensorView& logits, int32_t first_id, const Rows& rows,
                                  int64_t k, StepContext& context) {
  Best best{.k = k, .ids = {}, .scores = {}, .values = {}};
  const size_t n_entries = rows.size() * static_cast<size_t>(k);
  best.ids.resize(n_entries);
  best.scores.resize(n_entries);
  best.values.resize(n_entries);
  const auto at_once = static_cast<size_t>(std::min(kMaxRowsAtOnce, kMaxEntries / k));
  for (size_t begin = 0; begin < rows.size(); begin += at_once) {
    const size_t end = std::min(begin + at_once, rows.size());
    const auto n = static_cast<int64_t>(end - begin);
    used_ = 0;
    kernels::RowCandidatesArgs args{
        .x = logits, .rows = upload(part(rows.rows, begin, end), context), .first_id = first_id};
    if (!rows.keys.empty()) {
      args.inverse_temperature = upload(part(rows.inverse_temperature, begin, end), context);
      args.keys = upload(part(rows.keys, begin, end), context);
    }
    // One behind another, so that one copy brings them all.
    const size_t n_found = static_cast<size_t>(n * k);
    char* const found = static_cast<char*>(place(DType::kF32, 3 * n * k).data);
    const auto third = [&](size_t i, DType dtype) {
      return TensorView(found + i * n_found * kEntryBytes, dtype, {n, k});
    };
    args.ids = third(0, DType::kI32);
    args.scores = third(1, DType::kF32);
    args.values = third(2, DType::kF32);
    backend_.row_candidates(args, context.stream);
    found_.resize(3 * n_found * kEntryBytes);
    backend_.copy_to_host(found_.data(), found, found_.size(), context.stream);
    backend_.synchronize(context.stream);
    const auto bring = [&](size_t i, void* to) {
      const size_t bytes = n_found * kEntryBytes;
      std::memcpy(to, found_.data() + i * bytes, bytes);
    };
    const size_t at = begin * static_cast<size_t>(k);
    bring(0, best.ids.data() + at);
    bring(1, best.scores.data() + at);
    bring(2, best.values.data() + at);
  }
  return best;
}

std::vector<float> DeviceScan::masses(const TensorView& logits, const Rows& rows,
                                      StepContext& context) {
  std::vector<float> masses(rows.size());
  for (size_t begin = 0; begin < rows.size(); begin += kMaxRowsAtOnce) {
    const size_t end = std::min(begin + kMaxRowsAtOnce, rows.size());
    const auto n = static_cast<int64_t>(end - begin);
    used_ = 0;
    const TensorView sums = place(DType::kF32, n);
    backend_.row_max_log_sum_exp(
        {.x = logits,
         .max = place(DType::kF32, n),
         .sum_exp = sums,
         .rows = upload(part(rows.rows, begin, end), context),
         .inverse_temperature = upload(part(rows.inverse_temperature, begin, end), context)},
        context.stream);
    backend_.copy_to_host(masses.data() + begin, sums.data, sums.bytes(), context.stream);
    backend_.synchronize(context.stream);
  }
  return masses;
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
