#include "tests/sim/coordinator/fake_ranks.h"

#include <fmt/core.h>

#include <algorithm>

namespace trireme::coordinator::testing {

namespace {

constexpr uint64_t kEmpty = 0x9E3779B97F4A7C15;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + kEmpty + (hash << 6) + (hash >> 2);
  hash *= 0xFF51AFD7ED558CCD;
  return hash ^ (hash >> 33);
}

uint64_t extend(uint64_t prefix, int32_t token) {
  return mix(prefix, static_cast<uint64_t>(token) + 1);
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

int32_t next_token(const std::vector<int32_t>& tokens, int32_t n_prompt,
                   const step::SamplingParams& sampling) {
  uint64_t hash = kEmpty;
  for (const int32_t token : tokens) hash = extend(hash, token);
  hash = mix(hash, sampling.seed);
  auto token = static_cast<int32_t>(hash % kVocab);
  if (static_cast<int32_t>(tokens.size()) - n_prompt < sampling.min_tokens) {
    while (contains(sampling.banned_until_min_tokens, token)) token = (token + 1) % kVocab;
  }
  return token;
}

float prompt_logprob(const std::vector<int32_t>& tokens, int32_t position) {
  return -static_cast<float>(position) - static_cast<float>(tokens[position + 1]) / 128;
}

Expected expected_outputs(const wire::Submit& submit, int32_t context) {
  Expected expected;
  std::vector<int32_t> tokens(submit.tokens.begin(), submit.tokens.begin() + submit.n_prompt);
  const auto limit =
      static_cast<size_t>(std::min<int64_t>(int64_t{submit.n_prompt} + submit.max_tokens, context));
  while (tokens.size() < limit) {
    const int32_t token = next_token(tokens, submit.n_prompt, submit.sampling);
    tokens.push_back(token);
    expected.outputs.push_back(token);
    if (static_cast<int32_t>(expected.outputs.size()) > submit.sampling.min_tokens &&
        contains(submit.stop_token_ids, token)) {
      expected.finish = wire::FinishReason::kStop;
      return expected;
    }
  }
  expected.finish = wire::FinishReason::kLength;
  return expected;
}

void FakeRanks::complain(const step::StepPlan* plan, const std::string& what) {
  complaints.push_back(
      fmt::format("step {}: {}", plan == nullptr ? 0 : plan->header.step.value(), what));
}

Status FakeRanks::send(const step::RankCommand& command) {
  if (refuse_sends) return unavailable("rank 1 is gone");
  if (const auto* set = std::get_if<step::SetKvBlocks>(&command)) {
    n_blocks = set->n_blocks;
    blocks_.assign(static_cast<size_t>(n_blocks),
                   std::vector<uint64_t>(static_cast<size_t>(block_size_), 0));
    n_tables_.assign(static_cast<size_t>(n_blocks), 0);
  } else if (const auto* plan = std::get_if<step::StepPlan>(&command)) {
    if (keep_plans) plans.push_back(*plan);
    execute(*plan);
  }
  return {};
}

step::StepResult FakeRanks::pop_result() {
  step::StepResult result = std::move(results_.front());
  results_.pop_front();
  for (const step::SequenceOutput& output : result.outputs) {
    const auto found = sequences_.find(output.id.value());
    if (found == sequences_.end()) continue;
    --found->second.n_in_flight;
    if (output.token >= 0) --found->second.n_samples_in_flight;
  }
  // Only the outputs that a real last stage sends.
  std::erase_if(result.outputs, [](const step::SequenceOutput& output) {
    return output.token < 0 && output.prompt_logprobs.empty() && output.embedding.empty();
  });
  return result;
}

void FakeRanks::execute(const step::StepPlan& plan) {
  ++n_plans;
  if (plan.header.step.value() != ++last_step_) complain(&plan, "step ids are not consecutive");
  if (plan.header.shape_hash != step::shape_hash(plan)) complain(&plan, "shape hash");
  if (plan.spans.empty()) complain(&plan, "a plan without spans");
  if (plan.n_tokens() > max_step_tokens_) complain(&plan, "over the token budget");
  if (plan.deadline_ns <= 0) complain(&plan, "no deadline");
  for (const SequenceId id : plan.releases) {
    const auto found = sequences_.find(id.value());
    if (found == sequences_.end()) {
      complain(&plan, fmt::format("releases unknown sequence {}", id.value()));
      continue;
    }
    // Behind a stop token a row may be in flight that nobody wants; ranks work in the plans' order.
    if (found->second.n_in_flight > (runs_ahead ? 1 : 0))
      complain(&plan, "releases a sequence in flight");
    for (Table& table : found->second.tables) forget_before(table.blocks.size(), table);
    sequences_.erase(found);
  }
  for (const step::SequenceStart& start : plan.starts) {
    if (!seen_ids_.insert(start.id.value()).second) complain(&plan, "a sequence id is used again");
    Sequence sequence;
    sequence.tokens = start.tokens;
    sequence.n_prompt = start.n_prompt;
    sequence.sampling = start.sampling;
    sequence.is_long =
        recompute_length > 0 && static_cast<int32_t>(start.tokens.size()) > recompute_length;
    sequences_.emplace(start.id.value(), std::move(sequence));
  }
  if (static_cast<int32_t>(sequences_.size()) > max_running_) {
    complain(&plan, fmt::format("{} sequences are resident", sequences_.size()));
  }
  step::StepResult result;
  result.header = plan.header;
  next_count_ = 0;
  for (const step::SequenceSpan& span : plan.spans) compute(plan, span, result);
  if (next_count_ != plan.n_group_blocks.size()) complain(&plan, "counts of no blocks");
  results_.push_back(std::move(result));
  most_in_flight = std::max(most_in_flight, results_.size());
}

void FakeRanks::compute(const step::StepPlan& plan, const step::SequenceSpan& span,
                        step::StepResult& result) {
  const auto found = sequences_.find(span.id.value());
  if (found == sequences_.end()) {
    complain(&plan, fmt::format("unknown sequence {}", span.id.value()));
    return;
  }
  Sequence& s = found->second;
  plan_ = &plan;
  const bool goes_on =
      runs_ahead && s.n_samples_in_flight == 1 && span.token == step::kSampledToken;
  if (s.n_samples_in_flight > 0 && !goes_on) {
    complain(&plan, "a sequence is planned behind an unfinished sample");
  }
  if (s.last_plan == plan.header.step.value()) complain(&plan, "a sequence is twice in a step");
  s.last_plan = plan.header.step.value();
  s.n_samples_in_flight += span.sample ? 1 : 0;
  most_chunks_in_flight = std::max(most_chunks_in_flight, ++s.n_in_flight);
  if (span.n_tokens < 1) complain(&plan, "an empty span");
  if (s.n_computed >= 0 && span.first_position != s.n_computed) {
    complain(&plan, "positions are not consecutive");
  }
  if (s.n_computed < 0 && span.first_position % block_size_ != 0) {
    complain(&plan, "a prefix hit that is not whole blocks");
  }
  if (span.first_position >= static_cast<int32_t>(s.tokens.size())) {
    const int32_t token = goes_on ? s.sampled : span.token;
    if (token < 0 || token != s.sampled) complain(&plan, "not the token that was sampled");
    n_unseen += goes_on ? 1 : 0;
    s.tokens.push_back(token);
    s.sampled = -1;
  } else if (span.token != -1) {
    complain(&plan, "a token is given for a position that is known");
  }
  const int32_t end = span.first_position + span.n_tokens;
  if (end > static_cast<int32_t>(s.tokens.size())) {
    complain(&plan, "a span beyond the known tokens");
    return;
  }
  write_span(span, s);
  s.n_computed = end;

  step::SequenceOutput output;
  output.id = span.id;
  if (span.embed) {
    if (span.first_position != 0 || end != s.n_prompt || span.sample) {
      complain(&plan, "embeds a part of a text");
    }
    // Numbers that tell one text from another.
    for (int32_t i = 0; i < embedding_width; ++i) {
      const int32_t token = s.tokens[static_cast<size_t>(i) % s.tokens.size()];
      output.embedding.push_back(static_cast<float>(end * 1000 + token));
    }
  }
  if (span.sample) {
    if (end != static_cast<int32_t>(s.tokens.size())) complain(&plan, "samples in mid-prompt");
    output.token = s.sampled = next_token(s.tokens, s.n_prompt, s.sampling);
    if (s.sampling.n_logprobs >= 0) {
      output.logprobs.push_back({{output.token, -0.5F, 1}, {}});
    }
  }
  for (int32_t i = 0; i < span.n_logprob_positions; ++i) {
    const int32_t p = span.first_logprob_position + i;
    if (p < span.first_position || p >= end || p + 1 >= s.n_prompt) {
      complain(&plan, "a prompt logprob outside its span or prompt");
      continue;
    }
    output.prompt_logprobs.push_back(
        {{s.tokens[static_cast<size_t>(p) + 1], prompt_logprob(s.tokens, p), 1}, {}});
  }
  result.outputs.push_back(std::move(output));
}

void FakeRanks::forget_before(size_t index, Table& table) {
  for (; table.first < std::min(index, table.blocks.size()); ++table.first) {
    --n_tables_[static_cast<size_t>(table.blocks[table.first])];
  }
}

void FakeRanks::append_blocks(std::span<const BlockId> blocks, Table& table) {
  for (const BlockId id : blocks) {
    if (id.value() < 0 || id.value() >= n_blocks) {
      complain(plan_, "a block that is not in the pool");
      return;
    }
    const std::vector<int32_t> seen(table.blocks.begin() + static_cast<ptrdiff_t>(table.first),
                                    table.blocks.end());
    if (contains(seen, id.value())) complain(plan_, "a block twice in one table");
    table.blocks.push_back(id.value());
    ++n_tables_[static_cast<size_t>(id.value())];
  }
}

// As worker/sequence_table.cc does.
void FakeRanks::take_blocks(const step::SequenceSpan& span, Sequence& s) {
  if (s.n_computed < 0) {
    for (const plan::KvGroup& group : groups_) {
      Table& table = s.tables.emplace_back();
      table.first = static_cast<size_t>(group.first_visible(span.first_position) / block_size_);
      table.blocks.assign(table.first, -1);
    }
  }
  std::span<const BlockId> left(span.new_blocks);
  if (left.empty()) return;
  if (groups_.size() == 1) return append_blocks(left, s.tables[0]);
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (next_count_ >= plan_->n_group_blocks.size()) return complain(plan_, "counts are missing");
    const auto n = static_cast<size_t>(plan_->n_group_blocks[next_count_++]);
    if (n > left.size()) return complain(plan_, "counts of more blocks than there are");
    append_blocks(left.first(n), s.tables[g]);
    left = left.subspan(n);
  }
  if (!left.empty()) complain(plan_, "blocks of no group");
}

void FakeRanks::write_span(const step::SequenceSpan& span, Sequence& s) {
  take_blocks(span, s);
  const int32_t end = span.first_position + span.n_tokens;
  if (recompute_length > 0 && !s.is_long && end > recompute_length) {
    complain(plan_, "a sequence outgrows its keys");
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (end > static_cast<int32_t>(s.tables[g].blocks.size()) * block_size_) {
      complain(plan_, "the block table is too short");
      return;
    }
    write_group(span, s, g);
    forget_before(static_cast<size_t>(groups_[g].first_visible(end) / block_size_), s.tables[g]);
  }
}

void FakeRanks::write_group(const step::SequenceSpan& span, const Sequence& s, size_t group) {
  const int32_t end = span.first_position + span.n_tokens;
  const int32_t seen = groups_[group].first_visible(span.first_position);
  uint64_t hash = s.is_long ? mix(kEmpty, 1) : kEmpty;
  for (int32_t p = 0; p < end; ++p) {
    hash = extend(hash, s.tokens[static_cast<size_t>(p)]);
    if (p < seen) continue;
    const uint64_t key = mix(hash, group);
    const int32_t id = s.tables[group].blocks[static_cast<size_t>(p / block_size_)];
    if (id < 0) return complain(plan_, "a hole where a key is seen");
    const auto block = static_cast<size_t>(id);
    uint64_t& slot = blocks_[block][static_cast<size_t>(p % block_size_)];
    if (p < span.first_position) {
      if (slot != key) {
        complain(plan_, fmt::format("position {} of sequence {} holds another prefix in group {}",
                                    p, span.id.value(), group));
      }
      continue;
    }
    if (n_tables_[block] != 1) complain(plan_, "a shared block is written");
    slot = key;
  }
}

}  // namespace trireme::coordinator::testing
