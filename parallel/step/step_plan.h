// StepPlan and StepResult: what the coordinator tells the ranks of its replica, and what the last stage tells it back.
//
// Plain data: no tensor, no text. A step computes, for some sequences, a span of new token positions each, and samples
// at some of them. Ranks keep per-sequence state (block table, token history, sampling parameters) between
// SequenceStart and release, so that a step carries only what is new. All ranks get the same plan and run plans in order
// of step id. The header is agreed by all ranks before the first collective of the step.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace trireme::step {

struct SamplingParams {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;
  float min_p = 0;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id, added to its logit
  std::vector<int32_t> allowed_token_ids;             // empty: all
  std::vector<int32_t> banned_until_min_tokens;       // EOS and stop ids, never sampled before min_tokens outputs
  int32_t min_tokens = 0;
  int32_t n_logprobs = -1;         // -1: none; k >= 0: the sampled token's and the k best
  int32_t n_prompt_logprobs = -1;  // likewise for every prompt position
};

// A sequence enters the ranks' state: a new request, a preempted one again, or one resumed from another replica.
struct SequenceStart {
  SequenceId id;
  std::vector<int32_t> tokens;  // everything known so far: prompt, then tokens sampled earlier
  int32_t n_prompt = 0;         // how many of `tokens` are the prompt: penalties and min_tokens count the rest
  SamplingParams sampling;
};

// SequenceSpan::token where the plan was made before the token was known: the one that the step before sampled.
inline constexpr int32_t kSampledToken = -2;

// One sequence's part of a step: positions [first_position, first_position + n_tokens) are computed. Their token ids are
// known to the ranks from SequenceStart.tokens, then from `token` for every position beyond it.
struct SequenceSpan {
  SequenceId id;
  int32_t first_position = 0;
  int32_t n_tokens = 0;
  int32_t token = -1;                 // decode: the id at first_position (n_tokens == 1), sampled by an earlier step, or kSampledToken; else -1
  // Appended to the sequence's block tables before the step, one group of layers after the other. The table of a group
  // that slides begins with the block that the first position of the sequence's first span sees.
  std::vector<BlockId> new_blocks;
  bool sample = false;                // sample the token that follows the span's last position
  bool embed = false;                 // an encoder's: the span is the whole prompt, its rows are pooled
  int32_t first_logprob_position = 0; // prompt logprobs: logits rows wanted for positions in
  int32_t n_logprob_positions = 0;    //   [first_logprob_position, +n), inside the span; 0: none
};

struct StepHeader {
  uint64_t epoch = 0;       // of the replica: a restart changes it
  StepId step;
  uint64_t shape_hash = 0;  // over everything that decides the shapes of the step's collectives (shape_hash())
};

struct StepPlan {
  StepHeader header;
  int64_t deadline_ns = 0;  // duration from receipt after which the step is late
  std::vector<SequenceId> releases;    // forgotten first
  std::vector<SequenceStart> starts;   // then these enter
  std::vector<SequenceSpan> spans;     // then these are computed, rows in this order
  // How many of a span's new blocks are each group's: [spans that have any][n_groups]; empty: there is one group. A sequence's first are those that its first position sees.
  std::vector<int32_t> n_group_blocks;

  int32_t n_tokens() const;
};

// Hash of the spans' ids, positions, lengths and logits rows: ranks that would disagree on a collective's shape
// disagree on this first.
uint64_t shape_hash(const StepPlan& plan);

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0;
  int32_t rank = 0;  // 1: the likeliest
};

// Log-probabilities of one position: the actual token's and the best `n`, likeliest first.
struct PositionLogprobs {
  TokenLogprob actual;
  std::vector<TokenLogprob> top;
};

struct SequenceOutput {
  SequenceId id;
  int32_t token = -1;  // sampled, or -1 when the span did not sample
  std::vector<PositionLogprobs> logprobs;         // [1] when n_logprobs >= 0 and a token was sampled
  std::vector<PositionLogprobs> prompt_logprobs;  // one per requested position p: of token p + 1 given 0..p
  std::vector<float> embedding;                   // [hidden] when the span was to be embedded
};

// Where a rank's wall time of a step went.
struct StageTiming {
  int32_t worker_rank = 0;
  int64_t compute_ns = 0;
  int64_t collective_ns = 0;
  int64_t wait_upstream_ns = 0;
  int64_t wait_downstream_ns = 0;
  // Of this step: 1 where it was begun before the one before it was finished; and how often it was done again since the
  // tokens that it began with were not those sampled (worker/step_executor.h).
  int64_t n_ahead = 0;
  int64_t n_redone = 0;
  // What the rank keeps of recorded decode steps (worker/decode_graphs.h): gauges, not of this step.
  int64_t n_graphs = 0;
  int64_t graph_bytes = 0;
};

// How many rows of a step each expert of a rank had, layer by layer.
struct ExpertLoad {
  int32_t first_expert = 0;     // of the rank
  std::vector<int32_t> layers;  // those of the rank that have experts, by their index in the model
  std::vector<int32_t> rows;    // [n_layers, n_experts], both of the rank
  bool empty() const { return layers.empty(); }
};

struct StepResult {
  StepHeader header;
  std::vector<SequenceOutput> outputs;  // in the plan's order, spans that sampled, embedded or wanted logprobs
};

// A rank's word that it is lost, late or in doubt: the replica ends with it.
struct RankFailure {
  int32_t worker_rank = 0;
  StepId step;
  std::string op;
  std::string message;
};

}  // namespace trireme::step
