#include "worker/sample/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/sample/counter_random.h"
#include "worker/sample/filter.h"

namespace trireme::worker {
namespace {

// Candidates per rank and row in the first gather: enough for common settings, small enough to send
// every step.
constexpr size_t kCandidates = 128;
constexpr size_t kMaxCandidates = 512;

// Rankings of a whole row are sorted this far first; most thresholds lie within.
constexpr size_t kFirstSorted = 1024;

// For rows that are kept: a step that would need more is finished before the next begins.
constexpr int64_t kMaxKeptBytes = int64_t{128} << 20;

bool samples(const RowRequest& request) { return request.token < 0; }
bool wants_logprobs(const RowRequest& request) { return request.n_logprobs >= 0; }

// How far a device's sum of exponentials may be from the host's, relative to it.
constexpr double kMassError = 1e-5;

template <typename T>
void append(std::vector<std::byte>& bytes, const T* values, size_t n) {
  const auto* from = reinterpret_cast<const std::byte*>(values);
  bytes.insert(bytes.end(), from, from + n * sizeof(T));
}

template <typename T>
T read_at(const std::vector<std::byte>& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// Exactly n candidates in the record, however few the row has.
void append_candidates(std::vector<std::byte>& bytes, const std::vector<Candidate>& candidates,
                       size_t n) {
  append(bytes, candidates.data(), std::min(n, candidates.size()));
  const Candidate none;
  for (size_t i = candidates.size(); i < n; ++i) append(bytes, &none, 1);
}

// The draw among the kept tokens.
int32_t draw_from(std::span<const Candidate> kept, const RowRequest& request) {
  const uint64_t key = sampling_key(request.params->seed, request.position);
  ScoredToken best;
  for (const Candidate& candidate : kept) {
    const double score =
        noisy_score(candidate.value, request.params->temperature, key, candidate.token);
    if (score > best.score || (score == best.score && candidate.token < best.token)) {
      best = {score, candidate.token};
    }
  }
  return best.token;
}

}  // namespace

int64_t max_kept_rows(int64_t max_rows, int64_t vocab_padded) {
  const int64_t row_bytes = vocab_padded * static_cast<int64_t>(sizeof(float));
  return std::clamp<int64_t>(kMaxKeptBytes / row_bytes, 1, max_rows);
}

Result<std::unique_ptr<Sampler>> Sampler::create(kernels::Backend& backend, HostExchange& exchange,
                                                 const plan::RankPlan& rank,
                                                 const SamplerOptions& options) {
  const int64_t max_rows = options.max_rows;
  std::unique_ptr<Sampler> sampler(new Sampler(backend, exchange));
  sampler->vocab_ = options.vocab;
  sampler->vocab_padded_ = rank.vocab_padded;
  sampler->first_id_ = static_cast<int32_t>(rank.vocab.begin);
  sampler->n_ids_ = static_cast<int32_t>(rank.vocab.size());
  ASSIGN_OR_RETURN(sampler->row_max_, allocate_tensor(backend, DType::kF32, {max_rows}));
  ASSIGN_OR_RETURN(sampler->row_sum_exp_, allocate_tensor(backend, DType::kF32, {max_rows}));
  sampler->host_max_.resize(static_cast<size_t>(max_rows));
  sampler->host_sum_exp_.resize(static_cast<size_t>(max_rows));
  sampler->log_normalizer_.resize(static_cast<size_t>(max_rows));
  sampler->row_.resize(static_cast<size_t>(rank.vocab_padded));
  if (options.on_device) {
    ASSIGN_OR_RETURN(sampler->scan_, DeviceScan::create(backend));
    if (options.tokens_of != nullptr) {
      const int64_t n_kept = max_kept_rows(max_rows, rank.vocab_padded);
      ASSIGN_OR_RETURN(sampler->kept_,
                       allocate_tensor(backend, DType::kF32, {n_kept, rank.vocab_padded}));
      ASSIGN_OR_RETURN(sampler->tokens_, DeviceTokens::create(backend, *sampler->scan_,
                                                              *options.tokens_of, max_rows));
    }
  }
  return sampler;
}

Result<Sampler::Asked> Sampler::make_asked() {
  Asked asked;
  if (scan_ != nullptr) {
    ASSIGN_OR_RETURN(asked.round_, scan_->make_round());
  }
  if (tokens_ != nullptr) {
    ASSIGN_OR_RETURN(asked.tokens_, backend_->allocate_on_host(tokens_->tokens().bytes()));
  }
  return asked;
}

std::span<const int32_t> Sampler::Asked::told_tokens() const {
  return {static_cast<const int32_t*>(tokens_->data()), n_rows_};
}

size_t Sampler::n_candidates(const RowRequest& request) const {
  if (!samples(request) || !has_filter(*request.params)) return 0;
  const int32_t top_k = request.params->top_k;
  return top_k > 0 ? std::min<size_t>(static_cast<size_t>(top_k), kMaxCandidates) : kCandidates;
}

size_t Sampler::n_raw_top(const RowRequest& request) const {
  return static_cast<size_t>(std::clamp(request.n_logprobs, 0, vocab_));
}

std::span<float> Sampler::raw_row(const TensorView& logits, size_t row, StepContext& context) {
  const auto n = static_cast<size_t>(n_ids_);
  if (n > 0) {
    const float* from = nullptr;
    if (places_ == nullptr) {
      from = logits.row<float>(static_cast<int64_t>(row));
    } else {
      CHECK_GE((*places_)[row], 0);
      from = kept_.view.row<float>((*places_)[row]);
    }
    backend_->copy_to_host(row_.data(), from, n * sizeof(float), context.stream);
    backend_->synchronize(context.stream);
  }
  return {row_.data(), n};
}

std::span<float> Sampler::ruled_row(const TensorView& logits, size_t row, const RowRequest& request,
                                    StepContext& context) {
  const std::span<float> values = raw_row(logits, row, context);
  if (!has_no_rules(*request.params, request.n_outputs)) {
    apply_rules(*request.params, *request.counts, request.n_outputs, first_id_, values,
                allowed_values_);
  }
  return values;
}

void Sampler::measure_raw_rows(const TensorView& logits, StepContext& context) {
  const int64_t n_rows = logits.dim(0);
  const auto bytes = static_cast<size_t>(n_rows) * sizeof(float);
  if (n_ids_ == 0) {  // a slice of padding alone
    std::fill(host_max_.begin(), host_max_.end(), -std::numeric_limits<float>::infinity());
    std::fill(host_sum_exp_.begin(), host_sum_exp_.end(), 0.0f);
    return;
  }
  backend_->row_max_log_sum_exp({.x = logits.columns(0, n_ids_),
                                 .max = row_max_.view.rows(0, n_rows),
                                 .sum_exp = row_sum_exp_.view.rows(0, n_rows)},
                                context.stream);
  backend_->copy_to_host(host_max_.data(), row_max_.view.data, bytes, context.stream);
  backend_->copy_to_host(host_sum_exp_.data(), row_sum_exp_.view.data, bytes, context.stream);
  backend_->synchronize(context.stream);
}

// The slice's winner and, in `candidates_`, its ranking where a filter wants one.
void Sampler::summarize(const TensorView& logits, size_t row, const RowRequest& request,
                        Summary& summary, StepContext& context) {
  const step::SamplingParams& params = *request.params;
  const bool draws = !has_filter(params) && !is_greedy(params);
  if (const DeviceAnswer& answer = answers_[row]; answer.ruled) {
    summary.max = answer.best.value;
    summary.token = answer.best.token;
    summary.score = draws ? answer.winner.score : answer.best.value;
    summary.mass = answer.mass;
    candidates_ = answer.ranking;
    return;
  }
  const std::span<const float> values = ruled_row(logits, row, request, context);
  const Candidate best = best_candidate(values, first_id_);
  summary.max = best.value;
  summary.token = best.token;
  summary.score = best.value;
  if (has_filter(params)) {
    select_top(values, first_id_, n_candidates(request), candidates_);
    if (needs_mass(params)) summary.mass = sum_exp(values, best.value, params.temperature);
  } else if (draws) {
    const ScoredToken winner = draw_gumbel(values, first_id_, params.temperature,
                                           sampling_key(params.seed, request.position));
    summary.score = winner.score;
    summary.token = winner.token;
  }
}

void Sampler::append_summary(const TensorView& logits, size_t row, const RowRequest& request,
                             StepContext& context) {
  Summary summary;
  std::vector<Candidate>& candidates = candidates_;
  candidates.clear();
  if (wants_logprobs(request)) {
    summary.raw_max = host_max_[row];
    summary.raw_sum_exp = host_sum_exp_[row];
  }
  if (samples(request)) summarize(logits, row, request, summary, context);
  append(mine_, &summary, 1);
  append_candidates(mine_, candidates, n_candidates(request));
  if (const size_t n = n_raw_top(request); n > 0) {
    if (answers_[row].raw) {
      candidates = answers_[row].raw_top;
    } else {
      select_top(raw_row(logits, row, context), first_id_, n, candidates);
    }
    append_candidates(mine_, candidates, n);
  }
}

Status Sampler::decide(const TensorView& logits, std::span<const RowRequest> requests, Asked& asked,
                       std::vector<RowOutcome>& outcomes, StepContext& context) {
  CHECK_LE(requests.size(), host_max_.size());
  places_ = asked.kept_.empty() ? nullptr : &asked.kept_;
  outcomes.assign(requests.size(), {});
  const bool any_logprobs = std::any_of(requests.begin(), requests.end(), wants_logprobs);
  if (any_logprobs) measure_raw_rows(logits, context);

  take_answers(requests, asked);
  mine_.clear();
  for (size_t row = 0; row < requests.size(); ++row) {
    append_summary(logits, row, requests[row], context);
  }
  TRY(exchange_->all_gather(mine_, all_, "sampling all_gather", context));
  const size_t record_bytes = mine_.size();
  size_t offset = 0;
  for (size_t row = 0; row < requests.size(); ++row) {
    const RowRequest& request = requests[row];
    TRY(decide_row(logits, row, request, offset, record_bytes, outcomes[row], context));
    offset += sizeof(Summary) + (n_candidates(request) + n_raw_top(request)) * sizeof(Candidate);
  }
  if (any_logprobs) TRY(fill_actual_logprobs(logits, requests, outcomes, context));
  return {};
}

// Everything here is computed from gathered bytes, alike on every rank, so that all ranks agree on
// further gathers.
Status Sampler::decide_row(const TensorView& logits, size_t row, const RowRequest& request,
                           size_t offset, size_t record_bytes, RowOutcome& outcome,
                           StepContext& context) {
  ScoredToken winner;
  double max = -std::numeric_limits<double>::infinity();
  double raw_max = max;
  const auto n_ranks = static_cast<size_t>(exchange_->size());
  for (size_t rank = 0; rank < n_ranks; ++rank) {
    const auto summary = read_at<Summary>(all_, rank * record_bytes + offset);
    if (wants_logprobs(request)) raw_max = std::max(raw_max, double{summary.raw_max});
    if (summary.token < 0) continue;
    max = std::max(max, double{summary.max});
    if (winner.token < 0 || summary.score > winner.score) winner = {summary.score, summary.token};
  }
  if (wants_logprobs(request)) {
    double sum = 0;
    for (size_t rank = 0; rank < n_ranks; ++rank) {
      const auto summary = read_at<Summary>(all_, rank * record_bytes + offset);
      sum += summary.raw_sum_exp * std::exp(double{summary.raw_max} - raw_max);
    }
    log_normalizer_[row] = raw_max + std::log(sum);
    merge_raw_top(request, offset, record_bytes, outcome);
  }
  outcome.token = request.token;
  if (!samples(request)) return {};
  if (winner.token < 0) {
    if (!may_mask(*request.params)) {
      return internal_error(fmt::format("no logit of position {} is a number", request.position));
    }
    // The request's own masks leave nothing: the lowest allowed id, so that one bad request ends
    // nobody else's.
    const auto& allowed = request.params->allowed_token_ids;
    outcome.token = allowed.empty() ? 0 : *std::min_element(allowed.begin(), allowed.end());
    return {};
  }
  outcome.token = winner.token;
  if (!has_filter(*request.params)) return {};
  double mass = 0;
  for (size_t rank = 0; rank < n_ranks; ++rank) {
    const auto summary = read_at<Summary>(all_, rank * record_bytes + offset);
    if (summary.token < 0) continue;
    mass += summary.mass * std::exp((double{summary.max} - max) / request.params->temperature);
  }
  ASSIGN_OR_RETURN(outcome.token,
                   decide_filtered(logits, row, request, offset, record_bytes, mass, context));
  return {};
}

Result<int32_t> Sampler::decide_filtered(const TensorView& logits, size_t row,
                                         const RowRequest& request, size_t offset,
                                         size_t record_bytes, double mass, StepContext& context) {
  const size_t n = n_candidates(request);
  std::vector<Candidate>& ranking = candidates_;
  ranking.clear();
  // A rank with more tokens than it sent hides some behind its last one: the ranking is sound up to
  // the best such last.
  Candidate horizon;
  bool complete = true;
  for (int rank = 0; rank < exchange_->size(); ++rank) {
    const size_t at = static_cast<size_t>(rank) * record_bytes + offset + sizeof(Summary);
    for (size_t i = 0; i < n; ++i) {
      const auto candidate = read_at<Candidate>(all_, at + i * sizeof(Candidate));
      if (candidate.value > -std::numeric_limits<float>::infinity()) ranking.push_back(candidate);
    }
    const auto last = read_at<Candidate>(all_, at + (n - 1) * sizeof(Candidate));
    const int64_t n_ids = std::clamp<int64_t>(vocab_ - rank * vocab_padded_, 0, vocab_padded_);
    const bool hides =
        n_ids > static_cast<int64_t>(n) && last.value > -std::numeric_limits<float>::infinity();
    if (!hides) continue;
    complete = false;
    if (horizon.token < 0 || comes_before(last, horizon)) horizon = last;
  }
  std::sort(ranking.begin(), ranking.end(), comes_before);
  if (!complete) {
    while (!ranking.empty() && comes_before(horizon, ranking.back())) ranking.pop_back();
  }
  // A rounded mass decides where every mass that it may stand for decides alike.
  const double error = mass_is_rounded(request) ? kMassError : 0;
  const auto kept = kept_prefix(*request.params, ranking, complete, mass * (1 - error));
  const auto kept_of_more = kept_prefix(*request.params, ranking, complete, mass * (1 + error));
  if (kept.has_value() && kept == kept_of_more) {
    return draw_from(std::span<const Candidate>(ranking).first(*kept), request);
  }
  return decide_from_whole_row(logits, row, request, context);
}

Result<int32_t> Sampler::decide_from_whole_row(const TensorView& logits, size_t row,
                                               const RowRequest& request, StepContext& context) {
  ruled_row(logits, row, request, context);
  std::fill(row_.begin() + n_ids_, row_.end(), -std::numeric_limits<float>::infinity());
  whole_mine_.clear();
  append(whole_mine_, row_.data(), row_.size());
  TRY(exchange_->all_gather(whole_mine_, whole_, "sampling whole-row all_gather", context));

  const double mass =
      needs_mass(*request.params) ? mass_of_whole_row(request.params->temperature) : 0;
  std::vector<Candidate>& ranking = candidates_;
  ranking.clear();
  for (int32_t token = 0; token < vocab_; ++token) {
    const auto value = read_at<float>(whole_, static_cast<size_t>(token) * sizeof(float));
    if (value > -std::numeric_limits<float>::infinity()) ranking.push_back({value, token});
  }
  for (size_t n = std::min(kFirstSorted, ranking.size());; n = std::min(n * 8, ranking.size())) {
    const auto end = ranking.begin() + static_cast<std::ptrdiff_t>(n);
    std::partial_sort(ranking.begin(), end, ranking.end(), comes_before);
    const std::span<const Candidate> sorted(ranking.data(), n);
    const auto kept = kept_prefix(*request.params, sorted, n == ranking.size(), mass);
    if (kept.has_value()) return draw_from(sorted.first(*kept), request);
    CHECK_LT(n, ranking.size());
  }
}

// Of the gathered row, slice by slice as the ranks' own sums are.
double Sampler::mass_of_whole_row(double temperature) const {
  const auto* values = reinterpret_cast<const float*>(whole_.data());
  std::vector<double> masses;
  std::vector<float> maxima;
  float max = -std::numeric_limits<float>::infinity();
  for (int rank = 0; rank < exchange_->size(); ++rank) {
    const int64_t n_ids = std::clamp<int64_t>(vocab_ - rank * vocab_padded_, 0, vocab_padded_);
    const std::span<const float> slice(values + rank * vocab_padded_, static_cast<size_t>(n_ids));
    const Candidate best = best_candidate(slice, 0);
    if (best.token < 0) continue;
    maxima.push_back(best.value);
    masses.push_back(sum_exp(slice, best.value, temperature));
    max = std::max(max, best.value);
  }
  double mass = 0;
  for (size_t i = 0; i < masses.size(); ++i) {
    mass += masses[i] * std::exp((double{maxima[i]} - double{max}) / temperature);
  }
  return mass;
}

void Sampler::merge_raw_top(const RowRequest& request, size_t offset, size_t record_bytes,
                            RowOutcome& outcome) const {
  const size_t n = n_raw_top(request);
  if (n == 0) return;
  const size_t skip = offset + sizeof(Summary) + n_candidates(request) * sizeof(Candidate);
  std::vector<Candidate> merged;
  merged.reserve(n * static_cast<size_t>(exchange_->size()));
  for (size_t rank = 0; rank < static_cast<size_t>(exchange_->size()); ++rank) {
    for (size_t i = 0; i < n; ++i) {
      const auto candidate =
          read_at<Candidate>(all_, rank * record_bytes + skip + i * sizeof(Candidate));
      if (candidate.token >= 0) merged.push_back(candidate);
    }
  }
  std::sort(merged.begin(), merged.end(), comes_before);
  merged.resize(std::min(n, merged.size()));
  for (size_t i = 0; i < merged.size(); ++i) {
    // The logit for now; fill_actual_logprobs subtracts the normalizer.
    outcome.logprobs.top.push_back({merged[i].token, merged[i].value, static_cast<int32_t>(i) + 1});
  }
}

// Two more gathers: the owner of a token knows its logit, then every rank counts what lies above
// it.
Status Sampler::fill_actual_logprobs(const TensorView& logits, std::span<const RowRequest> requests,
                                     std::vector<RowOutcome>& outcomes, StepContext& context) {
  std::vector<int32_t> rows;
  std::vector<int32_t> tokens;
  for (size_t row = 0; row < requests.size(); ++row) {
    if (!wants_logprobs(requests[row])) continue;
    rows.push_back(static_cast<int32_t>(row));
    tokens.push_back(outcomes[row].token);
  }
  std::vector<float> values = values_of_tokens(logits, rows, tokens, context);
  mine_.clear();
  append(mine_, values.data(), values.size());
  TRY(exchange_->all_gather(mine_, all_, "logprob value all_gather", context));
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto owner = static_cast<size_t>(tokens[i] / vocab_padded_);
    values[i] = read_at<float>(all_, owner * mine_.size() + i * sizeof(float));
  }
  const std::vector<int32_t> counts = counts_before(logits, rows, tokens, values, context);
  mine_.clear();
  append(mine_, counts.data(), counts.size());
  TRY(exchange_->all_gather(mine_, all_, "logprob rank all_gather", context));
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    int32_t rank_of_token = 1;
    for (size_t rank = 0; rank < static_cast<size_t>(exchange_->size()); ++rank) {
      rank_of_token += read_at<int32_t>(all_, rank * mine_.size() + i * sizeof(int32_t));
    }
    const auto to_logprob = [&](float logit) {
      return static_cast<float>(logit - log_normalizer_[row]);
    };
    step::PositionLogprobs& logprobs = outcomes[row].logprobs;
    logprobs.actual = {tokens[i], to_logprob(values[i]), rank_of_token};
    for (step::TokenLogprob& top : logprobs.top) top.logprob = to_logprob(top.logprob);
  }
  return {};
}

}  // namespace trireme::worker
