#include "worker/sequence_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace trireme::worker {
namespace {

template <typename... Args>
Error wrong(SequenceId id, fmt::format_string<Args...> format, Args&&... args) {
  return invalid_argument(fmt::format("the plan's sequence {} {}", id.value(),
                                      fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace

void HostBatch::clear() {
  ids.clear();
  id_sources.clear();
  positions.clear();
  for (HostKvTable& table : kv_groups) {
    table.slots.clear();
    table.block_table.clear();
  }
  query_start.clear();
  context_len.clear();
  max_blocks = 0;
  rope_sets.clear();
  embedded.clear();
  logits_rows.clear();
}

const Sequence* SequenceTable::find(SequenceId id) const {
  const auto at = sequences_.find(id);
  return at == sequences_.end() ? nullptr : &at->second;
}

Status SequenceTable::apply(const step::StepPlan& plan, HostBatch& batch) {
  batch.kv_groups.resize(limits_.kv_groups.size());
  batch.clear();
  in_step_.clear();
  released_.clear();
  ++n_plans_;
  for (const SequenceId id : plan.releases) {
    released_.push_back(sequences_.extract(id));
    if (released_.back().empty()) return wrong(id, "is released, but is not known");
  }
  for (const step::SequenceStart& entering : plan.starts) TRY(start(entering));
  batch.query_start.push_back(0);
  next_count_ = 0;
  for (const step::SequenceSpan& span : plan.spans) TRY(append_span(plan, span, batch));
  if (next_count_ != plan.n_group_blocks.size()) {
    return invalid_argument(
        fmt::format("the plan deals blocks to groups of layers in {} counts, and {} are needed",
                    plan.n_group_blocks.size(), next_count_));
  }
  if (!batch.id_sources.empty()) batch.id_sources.resize(batch.ids.size(), -1);
  fill_tables(batch);
  return {};
}

// The widest table decides the row length; kernels never read behind a sequence's own blocks, nor
// before those that its first row sees: what has left the window may be another sequence's by now.
void SequenceTable::fill_tables(HostBatch& batch) const {
  for (const Sequence* sequence : in_step_) {
    for (const std::vector<int32_t>& table : sequence->tables) {
      batch.max_blocks = std::max(batch.max_blocks, static_cast<int32_t>(table.size()));
    }
  }
  const auto width = static_cast<size_t>(batch.max_blocks);
  for (size_t g = 0; g < limits_.kv_groups.size(); ++g) {
    std::vector<int32_t>& rows = batch.kv_groups[g].block_table;
    rows.resize(in_step_.size() * width, 0);
    for (size_t i = 0; i < in_step_.size(); ++i) {
      const std::vector<int32_t>& table = in_step_[i]->tables[g];
      const int32_t position =
          batch.context_len[i] - (batch.query_start[i + 1] - batch.query_start[i]);
      const auto first = static_cast<std::ptrdiff_t>(limits_.kv_groups[g].first_visible(position) /
                                                     limits_.block_size);
      std::copy(table.begin() + first, table.end(),
                rows.begin() + static_cast<std::ptrdiff_t>(i * width) + first);
    }
  }
}

Status SequenceTable::start(const step::SequenceStart& start) {
  if (static_cast<int64_t>(sequences_.size()) >= limits_.max_sequences) {
    return wrong(start.id, "would be one more than the {} that a rank keeps",
                 limits_.max_sequences);
  }
  if (start.tokens.empty() || start.tokens.size() > static_cast<size_t>(limits_.context)) {
    return wrong(start.id, "starts with {} tokens; 1 to {} are possible", start.tokens.size(),
                 limits_.context);
  }
  if (start.n_prompt < 1 || static_cast<size_t>(start.n_prompt) > start.tokens.size()) {
    return wrong(start.id, "has a prompt of {} tokens among {}", start.n_prompt,
                 start.tokens.size());
  }
  for (const int32_t token : start.tokens) {
    if (token < 0 || token >= limits_.vocab) {
      return wrong(start.id, "holds token id {}, outside the vocabulary of {}", token,
                   limits_.vocab);
    }
  }
  TRY(check_sampling(start.id, start.sampling));
  const auto [at, is_new] = sequences_.try_emplace(start.id);
  if (!is_new) return wrong(start.id, "starts, but is already there");
  Sequence& sequence = at->second;
  sequence.id = start.id;
  sequence.tokens = start.tokens;
  sequence.n_prompt = start.n_prompt;
  sequence.tables.resize(limits_.kv_groups.size());
  sequence.sampling = start.sampling;
  const auto n_tokens = static_cast<int32_t>(start.tokens.size());
  sequence.is_long = limits_.recompute_length > 0 && n_tokens > limits_.recompute_length;
  if (TokenCounts::needed(sequence.sampling)) {
    sequence.counts.update(sequence.tokens, sequence.n_prompt);
  }
  return {};
}

Status SequenceTable::check_sampling(SequenceId id, const step::SamplingParams& sampling) const {
  const auto outside = [&](int32_t token) { return token < 0 || token >= limits_.vocab; };
  const float values[] = {sampling.temperature,
                          sampling.top_p,
                          sampling.min_p,
                          sampling.presence_penalty,
                          sampling.frequency_penalty,
                          sampling.repetition_penalty};
  for (const float value : values) {
    if (!std::isfinite(value)) return wrong(id, "has a sampling value that is not a number");
  }
  if (sampling.temperature < 0 || sampling.top_k < 0 || sampling.top_p < 0 || sampling.min_p < 0 ||
      sampling.min_p > 1 || sampling.repetition_penalty <= 0) {
    return wrong(id, "has a sampling value out of its range");
  }
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (outside(token) || std::isnan(bias)) {
      return wrong(id, "has a logit bias {} for token id {}", bias, token);
    }
  }
  for (const auto* list : {&sampling.allowed_token_ids, &sampling.banned_until_min_tokens}) {
    for (const int32_t token : *list) {
      if (outside(token)) {
        return wrong(id, "names token id {}, outside the vocabulary of {}", token, limits_.vocab);
      }
    }
  }
  return {};
}

// Where the length decides once (longrope), all of a sequence's keys are rotated by one set of
// frequencies: one that outgrows its set starts again. Where the base grows, each token has its
// own.
Status SequenceTable::take_rope_sets(const step::SequenceSpan& span, const Sequence& sequence,
                                     HostBatch& batch) const {
  if (limits_.rope_growth.grows()) {
    for (int32_t i = 0; i < span.n_tokens; ++i) {
      batch.rope_sets.push_back(
          limits_.rope_growth.set_of(sequence.n_prompt, span.first_position + i));
    }
    return {};
  }
  if (limits_.recompute_length == 0) return {};
  if (!sequence.is_long && span.first_position + span.n_tokens > limits_.recompute_length) {
    return wrong(span.id, "grows past {} tokens, where it must be computed again from its start",
                 limits_.recompute_length);
  }
  batch.rope_sets.insert(batch.rope_sets.end(), static_cast<size_t>(span.n_tokens),
                         sequence.is_long ? 1 : 0);
  return {};
}

Status SequenceTable::append_span(const step::StepPlan& plan, const step::SequenceSpan& span,
                                  HostBatch& batch) {
  const auto at = sequences_.find(span.id);
  if (at == sequences_.end()) return wrong(span.id, "is not known");
  Sequence& sequence = at->second;
  if (sequence.last_plan == n_plans_) return wrong(span.id, "appears twice");
  sequence.last_plan = n_plans_;
  if (span.n_tokens < 1 || span.first_position < 0) {
    return wrong(span.id, "has a span of {} tokens from position {}", span.n_tokens,
                 span.first_position);
  }
  // A first span may start behind a cached prefix; from then on positions follow one another.
  if (sequence.next_position >= 0 && span.first_position != sequence.next_position) {
    return wrong(span.id, "continues at position {}, but {} comes next", span.first_position,
                 sequence.next_position);
  }
  if (static_cast<int64_t>(batch.ids.size()) + span.n_tokens > limits_.max_step_tokens) {
    return wrong(span.id, "makes the step longer than {} tokens", limits_.max_step_tokens);
  }
  TRY(check_purpose(span, sequence));
  TRY(take_rope_sets(span, sequence, batch));
  TRY(take_token(span, sequence, batch));
  TRY(take_blocks(plan, span, sequence));

  const int32_t end = span.first_position + span.n_tokens;
  const auto first_row = static_cast<int32_t>(batch.ids.size());
  for (int32_t position = span.first_position; position < end; ++position) {
    batch.ids.push_back(sequence.tokens[static_cast<size_t>(position)]);
    batch.positions.push_back(position);
  }
  for (size_t g = 0; g < sequence.tables.size(); ++g) {
    for (int32_t position = span.first_position; position < end; ++position) {
      const int64_t block = sequence.tables[g][static_cast<size_t>(position / limits_.block_size)];
      batch.kv_groups[g].slots.push_back(block * limits_.block_size +
                                         position % limits_.block_size);
    }
  }
  batch.query_start.push_back(static_cast<int32_t>(batch.ids.size()));
  batch.context_len.push_back(end);
  sequence.next_position = end;
  in_step_.push_back(&sequence);
  if (span.embed) batch.embedded.push_back({first_row, span.n_tokens});
  return append_logits_rows(span, sequence, first_row, batch);
}

// An encoder's rows look both ways, so that a prompt is computed whole or not at all; a decoder
// makes tokens and no vectors.
Status SequenceTable::check_purpose(const step::SequenceSpan& span,
                                    const Sequence& sequence) const {
  if (span.embed != limits_.encoder) {
    return wrong(span.id, "{}",
                 limits_.encoder ? "is not to be embedded, and the model is an encoder"
                                 : "is to be embedded, and the model is no encoder");
  }
  if (!limits_.encoder) return {};
  if (span.sample || span.n_logprob_positions != 0) {
    return wrong(span.id, "wants tokens of an encoder");
  }
  if (span.first_position != 0 || span.n_tokens != sequence.n_prompt ||
      sequence.tokens.size() != static_cast<size_t>(sequence.n_prompt)) {
    return wrong(span.id, "is to be embedded in part: {} tokens from {} of {}", span.n_tokens,
                 span.first_position, sequence.tokens.size());
  }
  return {};
}

void SequenceTable::expect_sample(SequenceId id, int32_t row) {
  const auto at = sequences_.find(id);
  CHECK(at != sequences_.end());
  at->second.sampled = -1;
  at->second.expected_row = row;
}

void SequenceTable::note_sample(SequenceId id, int32_t token) {
  const auto at = sequences_.find(id);
  if (at == sequences_.end()) return;
  Sequence& sequence = at->second;
  if (sequence.awaited_position < 0) {
    sequence.sampled = token;
    sequence.expected_row = -1;
    return;
  }
  sequence.tokens[static_cast<size_t>(sequence.awaited_position)] = token;
  sequence.awaited_position = -1;
  if (TokenCounts::needed(sequence.sampling)) {
    sequence.counts.update(sequence.tokens, sequence.n_prompt);
  }
}

Status SequenceTable::take_token(const step::SequenceSpan& span, Sequence& sequence,
                                 HostBatch& batch) const {
  const auto n_known = static_cast<int64_t>(sequence.tokens.size());
  const int64_t end = int64_t{span.first_position} + span.n_tokens;
  if (end > limits_.context) {
    return wrong(span.id, "reaches position {}, beyond the context of {}", end, limits_.context);
  }
  if (span.token == -1) {
    if (end > n_known) {
      return wrong(span.id, "reaches position {}, but only {} tokens are known", end, n_known);
    }
    return {};
  }
  const bool unseen = span.token == step::kSampledToken;
  const bool expected = unseen && sequence.expected_row >= 0;
  if (!unseen && sequence.expected_row >= 0) {
    return wrong(span.id, "brings token id {}, and the step before has not sampled yet",
                 span.token);
  }
  if (unseen && !expected && sequence.sampled < 0) {
    return wrong(span.id, "goes on with a sampled token, and this rank sampled none");
  }
  // What is expected holds its place.
  const int32_t token = expected ? 0 : unseen ? sequence.sampled : span.token;
  if (token < 0 || token >= limits_.vocab) {
    return wrong(span.id, "brings token id {}, outside the vocabulary of {}", token, limits_.vocab);
  }
  if (span.n_tokens != 1 || span.first_position > n_known) {
    return wrong(span.id, "brings a token for position {} in a span of {}, with {} tokens known",
                 span.first_position, span.n_tokens, n_known);
  }
  if (span.first_position < n_known) {
    const int32_t known = sequence.tokens[static_cast<size_t>(span.first_position)];
    if (expected) {
      return wrong(span.id, "brings a sampled token for position {}, where {} is known",
                   span.first_position, known);
    }
    if (known != token) {
      return wrong(span.id, "brings token id {} for position {}, where {} is known", token,
                   span.first_position, known);
    }
    return {};
  }
  sequence.tokens.push_back(token);
  sequence.sampled = -1;
  if (expected) {
    sequence.awaited_position = span.first_position;
    batch.id_sources.resize(batch.ids.size(), -1);
    batch.id_sources.push_back(sequence.expected_row);
    sequence.expected_row = -1;
    return {};
  }
  sequence.expected_row = -1;
  if (TokenCounts::needed(sequence.sampling)) {
    sequence.counts.update(sequence.tokens, sequence.n_prompt);
  }
  return {};
}

// Deals the span's new blocks to the tables. At a sequence's first span, the table of a group that
// slides begins with the block that its first position sees.
Status SequenceTable::take_blocks(const step::StepPlan& plan, const step::SequenceSpan& span,
                                  Sequence& sequence) {
  const size_t n_groups = sequence.tables.size();
  std::span<const int32_t> counts;  // none: no new blocks, or one group
  if (n_groups > 1 && !span.new_blocks.empty()) {
    if (plan.n_group_blocks.size() - next_count_ < n_groups) {
      return wrong(span.id, "gets blocks, and does not say how many for each of {} groups",
                   n_groups);
    }
    counts = std::span(plan.n_group_blocks).subspan(next_count_, n_groups);
    next_count_ += n_groups;
  }
  std::span<const BlockId> left(span.new_blocks);
  for (size_t g = 0; g < n_groups; ++g) {
    std::vector<int32_t>& table = sequence.tables[g];
    if (sequence.next_position < 0) {
      const int32_t first = limits_.kv_groups[g].first_visible(span.first_position);
      table.assign(static_cast<size_t>(first / limits_.block_size), 0);
    }
    const int64_t n_new = counts.empty() ? static_cast<int64_t>(left.size()) : counts[g];
    if (n_new < 0 || n_new > static_cast<int64_t>(left.size())) {
      return wrong(span.id, "gets {} blocks for a group of layers, of {}", n_new, left.size());
    }
    TRY(take_group_blocks(span, left.first(static_cast<size_t>(n_new)), table));
    left = left.subspan(static_cast<size_t>(n_new));
  }
  if (!left.empty()) return wrong(span.id, "gets {} blocks for no group of layers", left.size());
  return {};
}

Status SequenceTable::take_group_blocks(const step::SequenceSpan& span,
                                        std::span<const BlockId> blocks,
                                        std::vector<int32_t>& table) const {
  const auto max_blocks =
      static_cast<size_t>((limits_.context + limits_.block_size - 1) / limits_.block_size);
  if (table.size() > max_blocks || blocks.size() > max_blocks - table.size()) {
    return wrong(span.id, "gets more blocks than its context has");
  }
  for (const BlockId block : blocks) {
    if (block.value() < 0 || block.value() >= limits_.n_blocks) {
      return wrong(span.id, "gets block {}, outside the pool of {}", block.value(),
                   limits_.n_blocks);
    }
    table.push_back(block.value());
  }
  const int64_t end = int64_t{span.first_position} + span.n_tokens;
  const int64_t n_slots = static_cast<int64_t>(table.size()) * limits_.block_size;
  if (end > n_slots) {
    return wrong(span.id, "reaches position {}, but its {} blocks hold {}", end, table.size(),
                 n_slots);
  }
  return {};
}

Status SequenceTable::append_logits_rows(const step::SequenceSpan& span, const Sequence& sequence,
                                         int32_t first_row, HostBatch& batch) const {
  const int64_t end = int64_t{span.first_position} + span.n_tokens;
  const auto n_known = static_cast<int64_t>(sequence.tokens.size());
  const auto row_of = [&](int64_t position) {
    return first_row + static_cast<int32_t>(position - span.first_position);
  };
  if (span.n_logprob_positions != 0) {
    const int64_t first = span.first_logprob_position;
    const int64_t last = first + span.n_logprob_positions;
    if (span.n_logprob_positions < 0 || first < span.first_position || last > end ||
        last >= n_known) {
      return wrong(span.id,
                   "wants prompt log-probabilities of {} positions from {} in a span of {} to {}",
                   span.n_logprob_positions, first, span.first_position, end);
    }
    for (int64_t position = first; position < last; ++position) {
      batch.logits_rows.push_back(
          {&sequence, row_of(position), static_cast<int32_t>(position), false});
    }
  }
  if (span.sample) {
    // Penalties and min_tokens count every token that is known: a sample must follow the last one.
    if (end != n_known) {
      return wrong(span.id, "samples at position {}, but {} tokens are known", end, n_known);
    }
    batch.logits_rows.push_back({&sequence, row_of(end - 1), static_cast<int32_t>(end - 1), true});
  }
  if (static_cast<int64_t>(batch.logits_rows.size()) > limits_.max_logits_rows) {
    return wrong(span.id, "makes the step want more than {} rows of logits",
                 limits_.max_logits_rows);
  }
  return {};
}

}  // namespace trireme::worker
