// The rules of limits.h for every message, the same for a sender and a receiver: see check() in
// codec.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <span>

#include "parallel/wire/codec.h"
#include "parallel/wire/limits.h"
#include "parallel/wire/text_rules.h"

namespace trireme::wire {

bool is_printable(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0 || (length == 1 && !is_printable_ascii(text[i]))) return false;
    i += length;
  }
  return true;
}

namespace {

struct Named {
  const char* what;
  const std::string& text;
};

Status check_names(std::initializer_list<Named> names) {
  for (const Named& name : names) {
    if (name.text.size() > kMaxNameBytes) {
      return invalid_argument(fmt::format("the {} has {} bytes; the limit is {}", name.what,
                                          name.text.size(), kMaxNameBytes));
    }
    if (!is_printable(name.text)) {
      return invalid_argument(fmt::format("the {} is not printable UTF-8", name.what));
    }
  }
  return {};
}

Status check_count(const char* what, size_t count, size_t limit) {
  if (count > limit) {
    return resource_exhausted(fmt::format("{} {}; the limit is {}", count, what, limit));
  }
  return {};
}

Status check_ids(const char* what, std::span<const int32_t> ids, size_t limit) {
  TRY(check_count(what, ids.size(), limit));
  for (const int32_t id : ids) {
    if (id < 0) return invalid_argument(fmt::format("{} hold the negative id {}", what, id));
  }
  return {};
}

struct Counted {
  const char* what;
  int64_t value;
};

Status check_not_negative(std::initializer_list<Counted> values) {
  for (const Counted& value : values) {
    if (value.value < 0) {
      return invalid_argument(fmt::format("{} is {}", value.what, value.value));
    }
  }
  return {};
}

Status check_sampling(const step::SamplingParams& s) {
  const bool finite = std::isfinite(s.temperature) && std::isfinite(s.top_p) &&
                      std::isfinite(s.min_p) && std::isfinite(s.presence_penalty) &&
                      std::isfinite(s.frequency_penalty) && std::isfinite(s.repetition_penalty);
  if (!finite || s.temperature < 0 || s.top_p < 0 || s.top_p > 1 || s.min_p < 0 || s.min_p > 1 ||
      s.repetition_penalty <= 0) {
    return invalid_argument("a sampling parameter is out of range or no number");
  }
  TRY(check_not_negative({{"top_k", s.top_k}, {"min_tokens", s.min_tokens}}));
  TRY(check_count("logit bias entries", s.logit_bias.size(), kMaxLogitBias));
  for (const auto& [token, bias] : s.logit_bias) {
    if (token < 0 || std::isnan(bias)) return invalid_argument("a logit bias entry is no number");
  }
  TRY(check_ids("allowed token ids", s.allowed_token_ids, kMaxAllowedTokenIds));
  TRY(check_ids("banned token ids", s.banned_until_min_tokens, kMaxBannedTokenIds));
  for (const int32_t n : {s.n_logprobs, s.n_prompt_logprobs}) {
    if (n < -1 || n > kMaxTopLogprobs) {
      return invalid_argument(fmt::format("{} logprobs per position are asked for; the limit is {}",
                                          n, kMaxTopLogprobs));
    }
  }
  return {};
}

Status check_logprobs(const std::vector<step::PositionLogprobs>& positions) {
  TRY(check_count("logprob positions", positions.size(), kMaxLogprobPositions));
  for (const step::PositionLogprobs& position : positions) {
    TRY(check_count("logprobs of one position", position.top.size(),
                    static_cast<size_t>(kMaxTopLogprobs)));
  }
  return {};
}

Status check_embedding(const std::vector<float>& embedding) {
  TRY(check_count("numbers in an embedding", embedding.size(), kMaxEmbeddingWidth));
  for (const float number : embedding) {
    if (!std::isfinite(number)) return invalid_argument("an embedding holds what is no number");
  }
  return {};
}

// ---- replica to router ----

Status check_kind(const Hello& m) {
  TRY(check_names({{"replica name", m.replica},
                   {"model name", m.model},
                   {"model fingerprint", m.model_fingerprint}}));
  if (m.replica.empty() || m.model.empty()) {
    return invalid_argument("a hello names no replica or no model");
  }
  return check_not_negative({{"a hello's device count", m.n_devices},
                             {"a hello's context", m.context},
                             {"a hello's vocabulary", m.vocab},
                             {"a hello's block size", m.block_size},
                             {"a hello's KV block count", m.n_kv_blocks},
                             {"a hello's sequence count", m.max_running},
                             {"a hello's embedding width", m.embedding_width}});
}

Status check_kind(const Heartbeat& m) {
  return check_not_negative({{"running", m.load.running},
                             {"waiting", m.load.waiting},
                             {"waiting_tokens", m.load.waiting_tokens},
                             {"kv_blocks_used", m.load.kv_blocks_used},
                             {"kv_blocks_total", m.load.kv_blocks_total}});
}

Status check_kind(const TokenBatch& m) {
  TRY(check_count("updates in one batch", m.updates.size(), kMaxUpdatesPerBatch));
  for (const TokenUpdate& u : m.updates) {
    TRY(check_ids("tokens of one update", u.tokens, kMaxTokensPerUpdate));
    TRY(check_not_negative({{"an update's first index", u.first_index},
                            {"an update's cached tokens", u.cached_tokens},
                            {"an update's cost", u.cost_nano_usd},
                            {"an update's queue time", u.queue_ns},
                            {"an update's prefill time", u.prefill_ns},
                            {"an update's decode time", u.decode_ns}}));
    if (!u.logprobs.empty() && u.logprobs.size() != u.tokens.size()) {
      return invalid_argument("an update has logprobs for some of its tokens only");
    }
    TRY(check_logprobs(u.logprobs));
    TRY(check_logprobs(u.prompt_logprobs));
    TRY(check_embedding(u.embedding));
    if (u.stop_token < -1) return invalid_argument("an update's stop token is negative");
  }
  return {};
}

// The parts may be anything: a rounding correction can be negative.
Status check_kind(const LedgerReport& m) {
  return check_not_negative({{"device_ns", m.device_ns},
                             {"total_nano_usd", m.total_nano_usd},
                             {"prompt_tokens", m.prompt_tokens},
                             {"cached_tokens", m.cached_tokens},
                             {"generated_tokens", m.generated_tokens}});
}

Status check_kind(const Goodbye&) { return {}; }

// ---- router to replica ----

Status check_kind(const Welcome& m) { return check_names({{"router name", m.router}}); }
Status check_kind(const Refused&) { return {}; }
Status check_kind(const HelloAgain&) { return {}; }
Status check_kind(const RouterHeartbeat&) { return {}; }
Status check_kind(const Cancel&) { return {}; }
Status check_kind(const Drain&) { return {}; }

Status check_kind(const Submit& m) {
  TRY(check_names({{"trace", m.trace}, {"tenant", m.tenant}}));
  if (m.cache_salt.size() > kMaxNameBytes) {
    return invalid_argument(fmt::format("the cache salt has {} bytes; the limit is {}",
                                        m.cache_salt.size(), kMaxNameBytes));
  }
  TRY(check_ids("tokens of one request", m.tokens, kMaxTokensPerSequence));
  if (m.n_prompt < 1 || static_cast<size_t>(m.n_prompt) > m.tokens.size()) {
    return invalid_argument(
        fmt::format("a request's prompt is {} of {} tokens", m.n_prompt, m.tokens.size()));
  }
  TRY(check_not_negative({{"max_tokens", m.max_tokens}, {"a deadline", m.deadline_unix_ns}}));
  TRY(check_ids("stop token ids", m.stop_token_ids, kMaxStopTokenIds));
  return check_sampling(m.sampling);
}

// ---- the step link ----

Status check_rank(int32_t worker_rank) {
  if (worker_rank < 0 || worker_rank >= kMaxRanks) {
    return invalid_argument(fmt::format("the worker rank {} is none", worker_rank));
  }
  return {};
}

Status check_kind(const step::SetKvBlocks& m) {
  return check_not_negative({{"the number of KV blocks", m.n_blocks}});
}
Status check_kind(const step::Shutdown&) { return {}; }

// The new blocks of every span are those of its groups, and there are as many groups in each.
Status check_group_blocks(const step::StepPlan& m) {
  if (m.n_group_blocks.empty()) return {};
  const auto grows = [](const step::SequenceSpan& span) { return !span.new_blocks.empty(); };
  const auto n_spans = static_cast<size_t>(std::count_if(m.spans.begin(), m.spans.end(), grows));
  const size_t n_groups = n_spans == 0 ? 0 : m.n_group_blocks.size() / n_spans;
  if (n_groups < 2 || n_groups * n_spans != m.n_group_blocks.size()) {
    return invalid_argument("a plan's counts of KV blocks are not one for each span and group");
  }
  TRY(check_count("block tables per sequence", n_groups, kMaxKvGroups));
  size_t at = 0;
  for (const step::SequenceSpan& span : m.spans) {
    if (!grows(span)) continue;
    size_t n_blocks = 0;
    for (size_t g = 0; g < n_groups; ++g) {
      const int32_t count = m.n_group_blocks[at++];
      TRY(check_not_negative({{"a group's new KV blocks", count}}));
      n_blocks += static_cast<size_t>(count);
    }
    if (n_blocks != span.new_blocks.size()) {
      return invalid_argument("a span's KV blocks are not those of its groups");
    }
  }
  return {};
}

Status check_kind(const step::StepPlan& m) {
  TRY(check_not_negative({{"a step's deadline", m.deadline_ns}}));
  TRY(check_count("releases in one step", m.releases.size(), kMaxSequencesPerStep));
  TRY(check_count("sequences that start in one step", m.starts.size(), kMaxSequencesPerStep));
  TRY(check_count("spans in one step", m.spans.size(), kMaxSequencesPerStep));
  for (const step::SequenceStart& start : m.starts) {
    TRY(check_ids("tokens of one sequence", start.tokens, kMaxTokensPerSequence));
    if (start.n_prompt < 0 || static_cast<size_t>(start.n_prompt) > start.tokens.size()) {
      return invalid_argument("a sequence's prompt is longer than its tokens");
    }
    TRY(check_sampling(start.sampling));
  }
  size_t n_blocks = 0;
  for (const step::SequenceSpan& span : m.spans) {
    TRY(check_not_negative({{"a span's first position", span.first_position},
                            {"a span's length", span.n_tokens},
                            {"a span's first logprob position", span.first_logprob_position},
                            {"a span's logprob positions", span.n_logprob_positions}}));
    if (span.token < step::kSampledToken) return invalid_argument("a span's token is negative");
    n_blocks += span.new_blocks.size();
    for (const BlockId block : span.new_blocks) {
      if (block.value() < 0) return invalid_argument("a span's KV block is negative");
    }
  }
  TRY(check_group_blocks(m));
  return check_count("new KV blocks in one step", n_blocks, kMaxBlocksPerStep);
}

Status check_kind(const step::LoadProgress& m) {
  TRY(check_rank(m.worker_rank));
  return check_not_negative({{"bytes_done", m.bytes_done}, {"bytes_total", m.bytes_total}});
}

Status check_kind(const step::RankReady& m) {
  TRY(check_rank(m.worker_rank));
  return check_not_negative({{"a rank's KV block count", m.n_kv_blocks},
                             {"a rank's weight bytes", m.weight_bytes},
                             {"a rank's load time", m.load_ns},
                             {"a rank's start-up time", m.startup_comm_ns}});
}

Status check_kind(const step::StepResult& m) {
  TRY(check_count("outputs in one step", m.outputs.size(), kMaxSequencesPerStep));
  for (const step::SequenceOutput& output : m.outputs) {
    if (output.token < -1) return invalid_argument("an output's token is negative");
    TRY(check_logprobs(output.logprobs));
    TRY(check_logprobs(output.prompt_logprobs));
  }
  return {};
}

// As many numbers for each layer, and none outside the limits: they become labels of metrics.
Status check_load(const step::ExpertLoad& load) {
  TRY(check_ids("layers with experts", load.layers, kMaxLayers));
  TRY(check_ids("rows of experts", load.rows, kMaxLayers * kMaxExperts));
  const size_t n_layers = load.layers.size();
  const size_t n_experts = n_layers == 0 ? 0 : load.rows.size() / n_layers;
  const bool fits = n_experts * n_layers == load.rows.size() && load.first_expert >= 0 &&
                    static_cast<size_t>(load.first_expert) + n_experts <= kMaxExperts;
  if (!fits) return invalid_argument("the load of experts has no such shape");
  for (const int32_t layer : load.layers) {
    if (static_cast<size_t>(layer) >= kMaxLayers) {
      return invalid_argument(fmt::format("experts are in layer {}", layer));
    }
  }
  return {};
}

Status check_kind(const step::StepTimings& m) {
  TRY(check_rank(m.timing.worker_rank));
  TRY(check_load(m.experts));
  return check_not_negative({{"compute_ns", m.timing.compute_ns},
                             {"collective_ns", m.timing.collective_ns},
                             {"wait_upstream_ns", m.timing.wait_upstream_ns},
                             {"wait_downstream_ns", m.timing.wait_downstream_ns},
                             {"n_ahead", m.timing.n_ahead},
                             {"n_redone", m.timing.n_redone},
                             {"n_graphs", m.timing.n_graphs},
                             {"graph_bytes", m.timing.graph_bytes}});
}

Status check_kind(const step::RankFailure& m) { return check_rank(m.worker_rank); }

}  // namespace

Status check(const FromReplica& message) {
  return std::visit([](const auto& kind) { return check_kind(kind); }, message);
}
Status check(const FromRouter& message) {
  return std::visit([](const auto& kind) { return check_kind(kind); }, message);
}
Status check(const step::RankCommand& message) {
  return std::visit([](const auto& kind) { return check_kind(kind); }, message);
}
Status check(const step::RankEvent& message) {
  return std::visit([](const auto& kind) { return check_kind(kind); }, message);
}

}  // namespace trireme::wire
