// The sampler's questions to the device, and what follows from the answers. Exact: a draw's score
// and a mass come rounded from the device, and where the rounding could matter the row itself is
// read.
#include <algorithm>
#include <cmath>

#include "worker/sample/counter_random.h"
#include "worker/sample/filter.h"
#include "worker/sample/sampler.h"

namespace trireme::worker {
namespace {

// Of a draw: nearly always the first is far ahead of all but a few.
constexpr int64_t kDrawCandidates = 8;

bool asks(const RowRequest& request) {
  return request.token < 0 && has_no_rules(*request.params, request.n_outputs);
}

std::vector<Candidate> ranking_of(const DeviceScan::Best& best, size_t i, size_t n) {
  std::vector<Candidate> ranking;
  for (size_t j = 0; j < n; ++j) {
    const size_t at = i * static_cast<size_t>(best.k) + j;
    ranking.push_back({best.values[at], best.ids[at]});
  }
  return ranking;
}

}  // namespace

bool Sampler::mass_is_rounded(const RowRequest& request) const {
  return scan_ != nullptr && asks(request) && needs_mass(*request.params);
}

void Sampler::ask_device(const TensorView& logits, std::span<const RowRequest> requests,
                         StepContext& context) {
  answers_.assign(requests.size(), {});
  if (scan_ == nullptr) return;
  const TensorView mine = logits.columns(0, n_ids_);
  ask_for_picks(mine, requests, context);
  ask_for_draws(mine, requests, context);
  ask_for_rankings(mine, requests, context);
  ask_for_raw_tops(mine, requests, context);
}

void Sampler::ask_for_picks(const TensorView& logits, std::span<const RowRequest> requests,
                            StepContext& context) {
  DeviceScan::Rows rows;
  for (size_t row = 0; row < requests.size(); ++row) {
    if (asks(requests[row]) && is_greedy(*requests[row].params)) {
      rows.rows.push_back(static_cast<int32_t>(row));
    }
  }
  if (rows.size() == 0) return;
  const DeviceScan::Best best = scan_->best(logits, first_id_, rows, 1, context);
  for (size_t i = 0; i < rows.size(); ++i) {
    DeviceAnswer& answer = answers_[static_cast<size_t>(rows.rows[i])];
    answer.ruled = true;
    answer.best = {best.values[i], best.ids[i]};
  }
}

void Sampler::ask_for_draws(const TensorView& logits, std::span<const RowRequest> requests,
                            StepContext& context) {
  DeviceScan::Rows rows;
  for (size_t row = 0; row < requests.size(); ++row) {
    const RowRequest& request = requests[row];
    if (!asks(request) || is_greedy(*request.params) || has_filter(*request.params)) continue;
    rows.rows.push_back(static_cast<int32_t>(row));
    rows.inverse_temperature.push_back(1 / request.params->temperature);
    rows.keys.push_back(static_cast<int64_t>(sampling_key(request.params->seed, request.position)));
  }
  if (rows.size() == 0) return;
  const DeviceScan::Best best = scan_->best(logits, first_id_, rows, kDrawCandidates, context);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows.rows[i]);
    const size_t last = (i + 1) * static_cast<size_t>(kDrawCandidates) - 1;
    DeviceAnswer& answer = answers_[row];
    for (const Candidate& candidate : ranking_of(best, i, kDrawCandidates)) {
      if (candidate.token < 0) break;
      const double score = noisy_score(candidate.value, requests[row].params->temperature,
                                       static_cast<uint64_t>(rows.keys[i]), candidate.token);
      const bool wins = answer.winner.token < 0 || score > answer.winner.score ||
                        (score == answer.winner.score && candidate.token < answer.winner.token);
      if (!wins) continue;
      answer.winner = {score, candidate.token};
      answer.best = candidate;
    }
    // What is not among the candidates scores at most as the last of them, but for rounding.
    const double last_score = best.scores[last];
    const double reach = last_score + kernels::kScoreError * (std::abs(last_score) + 40);
    const bool complete = best.ids[last] < 0 || n_ids_ <= kDrawCandidates;
    answer.ruled = complete || answer.winner.score > reach;
  }
}

void Sampler::ask_for_rankings(const TensorView& logits, std::span<const RowRequest> requests,
                               StepContext& context) {
  DeviceScan::Rows rows;
  DeviceScan::Rows weighed;
  size_t k = 0;
  for (size_t row = 0; row < requests.size(); ++row) {
    if (!asks(requests[row]) || !has_filter(*requests[row].params)) continue;
    rows.rows.push_back(static_cast<int32_t>(row));
    k = std::max(k, n_candidates(requests[row]));
    if (!needs_mass(*requests[row].params)) continue;
    weighed.rows.push_back(static_cast<int32_t>(row));
    weighed.inverse_temperature.push_back(1 / requests[row].params->temperature);
  }
  if (rows.size() == 0) return;
  const DeviceScan::Best best =
      scan_->best(logits, first_id_, rows, static_cast<int64_t>(k), context);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows.rows[i]);
    DeviceAnswer& answer = answers_[row];
    answer.ruled = true;
    answer.ranking = ranking_of(best, i, n_candidates(requests[row]));
    answer.best = answer.ranking.front();
  }
  if (weighed.size() == 0) return;
  const std::vector<float> masses = scan_->masses(logits, weighed, context);
  for (size_t i = 0; i < weighed.size(); ++i) {
    answers_[static_cast<size_t>(weighed.rows[i])].mass = masses[i];
  }
}

// A ranking that ends early may lack tokens of -inf, which the raw order has: the row is read then.
void Sampler::ask_for_raw_tops(const TensorView& logits, std::span<const RowRequest> requests,
                               StepContext& context) {
  DeviceScan::Rows rows;
  size_t k = 0;
  for (size_t row = 0; row < requests.size(); ++row) {
    const size_t n = n_raw_top(requests[row]);
    if (n == 0 || n > static_cast<size_t>(kernels::kMaxRowCandidates)) continue;
    rows.rows.push_back(static_cast<int32_t>(row));
    k = std::max(k, n);
  }
  if (rows.size() == 0) return;
  const DeviceScan::Best best =
      scan_->best(logits, first_id_, rows, static_cast<int64_t>(k), context);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows.rows[i]);
    DeviceAnswer& answer = answers_[row];
    answer.raw_top = ranking_of(best, i, n_raw_top(requests[row]));
    answer.raw = answer.raw_top.back().token >= 0;
  }
}

// This rank's logit of each row's token, 0 where it is another's.
std::vector<float> Sampler::values_of_tokens(const TensorView& logits,
                                             const std::vector<int32_t>& rows,
                                             const std::vector<int32_t>& tokens,
                                             StepContext& context) {
  std::vector<float> values(rows.size(), 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t column = int64_t{tokens[i]} - first_id_;
    if (column < 0 || column >= n_ids_) continue;
    backend_->copy_to_host(&values[i], logits.row<float>(rows[i]) + column, sizeof(float),
                           context.stream);
  }
  backend_->synchronize(context.stream);
  return values;
}

std::vector<int32_t> Sampler::counts_before(const TensorView& logits,
                                            const std::vector<int32_t>& rows,
                                            const std::vector<int32_t>& tokens,
                                            const std::vector<float>& values,
                                            StepContext& context) {
  if (scan_ != nullptr) {
    return scan_->counts_before(logits.columns(0, n_ids_), first_id_, rows, tokens, values,
                                context);
  }
  std::vector<int32_t> counts;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> row = raw_row(logits, static_cast<size_t>(rows[i]), context);
    int32_t n = 0;
    for (size_t c = 0; c < row.size(); ++c) {
      const bool lower_id = first_id_ + static_cast<int32_t>(c) < tokens[i];
      n += row[c] > values[i] || (row[c] == values[i] && lower_id) ? 1 : 0;
    }
    counts.push_back(n);
  }
  return counts;
}

}  // namespace trireme::worker
