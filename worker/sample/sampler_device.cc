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
constexpr size_t kDrawCandidates = 8;

bool asks(const RowRequest& request) {
  return request.token < 0 && has_no_rules(*request.params, request.n_outputs);
}

std::vector<Candidate> ranking_of(const DeviceScan::Answer& answer, size_t i, size_t n) {
  std::vector<Candidate> ranking;
  for (size_t j = 0; j < n; ++j) {
    const size_t at = i * static_cast<size_t>(answer.k) + j;
    ranking.push_back({answer.values[at], answer.ids[at]});
  }
  return ranking;
}

}  // namespace

bool Sampler::mass_is_rounded(const RowRequest& request) const {
  return scan_ != nullptr && asks(request) && needs_mass(*request.params);
}

// Rounding, or candidates that do not reach a threshold, may want the row itself: but for greedy
// ones.
bool Sampler::may_be_read(const RowRequest& request) { return !is_greedy(*request.params); }

bool Sampler::can_tell(std::span<const RowRequest> requests) const {
  if (tokens_ == nullptr) return false;
  const auto simple = [](const RowRequest& request) {
    return asks(request) && request.n_logprobs < 0;
  };
  return std::ranges::all_of(requests, simple) &&
         std::ranges::count_if(requests, may_be_read) <= kept_.view.dim(0);
}

void Sampler::keep(const TensorView& logits, std::span<const RowRequest> requests, Asked& asked,
                   StepContext& context) {
  CHECK(asked.told_);
  asked.kept_.assign(requests.size(), -1);
  std::vector<int32_t> rows;
  for (size_t row = 0; row < requests.size(); ++row) {
    if (!may_be_read(requests[row])) continue;
    asked.kept_[row] = static_cast<int32_t>(rows.size());
    rows.push_back(static_cast<int32_t>(row));
  }
  if (rows.empty()) return;
  backend_->gather_rows({.x = logits,
                         .rows = scan_->upload(std::span<const int32_t>(rows), context),
                         .out = kept_.view.rows(0, static_cast<int64_t>(rows.size()))},
                        context.stream);
}

// Which row is asked about how.
void Sampler::sort_questions(std::span<const RowRequest> requests, Asked& asked) const {
  for (Asked::Question* question :
       {&asked.picks_, &asked.draws_, &asked.rankings_, &asked.masses_, &asked.raw_tops_}) {
    *question = {};
  }
  bool any_needs_mass = false;
  for (size_t row = 0; row < requests.size(); ++row) {
    const RowRequest& request = requests[row];
    const auto row_id = static_cast<int32_t>(row);
    const size_t n_top = n_raw_top(request);
    if (n_top > 0 && n_top <= static_cast<size_t>(kernels::kMaxRowCandidates)) {
      asked.raw_tops_.rows.rows.push_back(row_id);
    }
    if (!asks(request)) continue;
    const step::SamplingParams& params = *request.params;
    if (is_greedy(params)) {
      asked.picks_.rows.rows.push_back(row_id);
    } else if (has_filter(params)) {
      asked.rankings_.rows.rows.push_back(row_id);
      asked.masses_.rows.rows.push_back(row_id);
      asked.masses_.rows.inverse_temperature.push_back(1 / params.temperature);
      any_needs_mass = any_needs_mass || needs_mass(params);
    } else {
      asked.draws_.rows.rows.push_back(row_id);
      asked.draws_.rows.inverse_temperature.push_back(1 / params.temperature);
      asked.draws_.rows.keys.push_back(
          static_cast<int64_t>(sampling_key(params.seed, request.position)));
    }
  }
  if (!any_needs_mass) asked.masses_ = {};
}

Status Sampler::ask(const TensorView& logits, std::span<const RowRequest> requests, Asked& asked,
                    StepContext& context) {
  CHECK_EQ(logits.dim(0), static_cast<int64_t>(requests.size()));
  asked.told_ = false;
  asked.kept_.clear();
  asked.n_rows_ = requests.size();
  if (scan_ == nullptr) return {};
  const TensorView mine = logits.columns(0, n_ids_);
  sort_questions(requests, asked);
  DeviceScan::Round& round = asked.round_;
  scan_->begin(round);
  const auto ask_best = [&](Asked::Question& question, size_t k) {
    if (question.rows.size() == 0) return;
    question.at =
        scan_->ask_best(round, mine, first_id_, question.rows, static_cast<int64_t>(k), context);
  };
  const auto most = [&](const Asked::Question& question, auto&& count) {
    size_t k = 0;
    for (const int32_t row : question.rows.rows) {
      k = std::max(k, count(requests[static_cast<size_t>(row)]));
    }
    return k;
  };
  ask_best(asked.picks_, 1);
  ask_best(asked.draws_, kDrawCandidates);
  ask_best(asked.rankings_,
           most(asked.rankings_, [&](const RowRequest& request) { return n_candidates(request); }));
  if (asked.masses_.rows.size() > 0) {
    asked.masses_.at = scan_->ask_sums(round, mine, asked.masses_.rows, context);
  }
  ask_best(asked.raw_tops_, most(asked.raw_tops_, [&](const RowRequest& request) {
             const size_t n = n_raw_top(request);
             return n <= static_cast<size_t>(kernels::kMaxRowCandidates) ? n : 0;
           }));
  if (round.is_whole() && can_tell(requests)) TRY(tell(requests, asked, context));
  scan_->send(round, context);
  return {};
}

Status Sampler::tell(std::span<const RowRequest> requests, Asked& asked, StepContext& context) {
  std::vector<DeviceTokens::Best> best;
  for (const Asked::Question* question : {&asked.picks_, &asked.draws_}) {
    if (question->at.has_value()) best.push_back({*question->at, &question->rows});
  }
  std::optional<DeviceTokens::Drawn> drawn;
  if (asked.rankings_.at.has_value()) {
    drawn.emplace();
    drawn->question = *asked.rankings_.at;
    drawn->sums = asked.masses_.at;
    drawn->rows = &asked.rankings_.rows;
    for (const int32_t row : asked.rankings_.rows.rows) {
      const RowRequest& request = requests[static_cast<size_t>(row)];
      drawn->params.push_back(request.params);
      drawn->keys.push_back(
          static_cast<int64_t>(sampling_key(request.params->seed, request.position)));
    }
  }
  TRY(tokens_->tell(asked.round_, best, drawn, context));
  backend_->copy_to_host(asked.tokens_->data(), tokens_->tokens().data,
                         requests.size() * sizeof(int32_t), context.stream);
  asked.told_ = true;
  return {};
}

void Sampler::take_answers(std::span<const RowRequest> requests, Asked& asked) {
  answers_.assign(requests.size(), {});
  if (scan_ == nullptr) return;
  scan_->collect(asked.round_);
  take_picks(asked);
  take_draws(requests, asked);
  take_rankings(requests, asked);
  take_raw_tops(requests, asked);
}

void Sampler::take_picks(const Asked& asked) {
  if (!asked.picks_.at.has_value()) return;
  const DeviceScan::Answer& best = asked.round_.answer(*asked.picks_.at);
  for (size_t i = 0; i < asked.picks_.rows.size(); ++i) {
    DeviceAnswer& answer = answers_[static_cast<size_t>(asked.picks_.rows.rows[i])];
    answer.ruled = true;
    answer.best = {best.values[i], best.ids[i]};
  }
}

void Sampler::take_draws(std::span<const RowRequest> requests, const Asked& asked) {
  if (!asked.draws_.at.has_value()) return;
  const DeviceScan::Rows& rows = asked.draws_.rows;
  const DeviceScan::Answer& best = asked.round_.answer(*asked.draws_.at);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows.rows[i]);
    const size_t last = (i + 1) * kDrawCandidates - 1;
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
    const bool complete = best.ids[last] < 0 || n_ids_ <= static_cast<int32_t>(kDrawCandidates);
    answer.ruled = complete || answer.winner.score > reach;
  }
}

void Sampler::take_rankings(std::span<const RowRequest> requests, const Asked& asked) {
  if (!asked.rankings_.at.has_value()) return;
  const DeviceScan::Rows& rows = asked.rankings_.rows;
  const DeviceScan::Answer& best = asked.round_.answer(*asked.rankings_.at);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows.rows[i]);
    DeviceAnswer& answer = answers_[row];
    answer.ruled = true;
    answer.ranking = ranking_of(best, i, n_candidates(requests[row]));
    answer.best = answer.ranking.front();
    if (asked.masses_.at.has_value()) {
      answer.mass = asked.round_.answer(*asked.masses_.at).sums[i];
    }
  }
}

// A ranking that ends early may lack tokens of -inf, which the raw order has: the row is read then.
void Sampler::take_raw_tops(std::span<const RowRequest> requests, const Asked& asked) {
  if (!asked.raw_tops_.at.has_value()) return;
  const DeviceScan::Answer& best = asked.round_.answer(*asked.raw_tops_.at);
  for (size_t i = 0; i < asked.raw_tops_.rows.size(); ++i) {
    const auto row = static_cast<size_t>(asked.raw_tops_.rows.rows[i]);
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
