// A request as the coordinator holds it, from Submit to its finish.
//
//   waiting ──> prefill ──> decode ──> finished        ending: cancelled, expired or orphaned while
//   a step in flight
//      ^           │           │                       still computes it. Its blocks go, and its
//      finish is told, when └ preempted ┴───────────┘   any ──> finished    that step's result
//      comes, so that its cost is complete.
//
// Every transition is CHECKed. Plain data otherwise: the engine, which owns all requests, is the
// only one to change them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/small_vector.h"
#include "coordinator/kv/block_hash.h"
#include "coordinator/kv/sequence_blocks.h"
#include "parallel/wire/messages.h"

namespace trireme::coordinator {

// One router as its replica numbers it: 0, 1, ... in the order of the configuration.
using RouterId = StrongId<struct RouterTag, int32_t>;

enum class RequestState : uint8_t {
  kWaiting,
  kPrefill,    // admitted: some known position is not computed yet
  kDecode,     // one token a step
  kPreempted,  // on its way back to waiting
  kEnding,
  kFinished,
};
std::string_view to_string(RequestState state);
bool is_allowed(RequestState from, RequestState to);

class RequestStateMachine {
 public:
  RequestState now() const { return state_; }
  void to(RequestState next);  // CHECKs is_allowed

 private:
  RequestState state_ = RequestState::kWaiting;
};

struct Finish {
  wire::FinishReason reason = wire::FinishReason::kNone;
  int32_t stop_token = -1;
  std::optional<Error> error;
  bool silent = false;  // the router is gone: nobody to tell
};

struct RouterState;

// Every running request is touched in every step: what a decoded token needs comes first, on a few
// neighbouring cache lines.
struct Request {
  // As submitted.
  int32_t n_prompt = 0;
  int32_t n_resumed = 0;  // known tokens when it came from another replica; else 0
  int32_t n_limit = 0;    // known tokens at which it ends by length
  int32_t tenant = 0;
  uint64_t id = 0;  // the router's
  RouterState* router_state = nullptr;
  SmallVector<int32_t, 6> stop_token_ids;
  bool continuous_usage = false;
  bool use_prefix_cache = false;
  bool samples = true;  // false: max_tokens reached at submission, prompt logprobs alone are wanted
  bool embeds = false;  // the prompt's vector is wanted, and nothing is sampled

  // Progress.
  RequestStateMachine state;
  int32_t running_index = -1;   // in the engine's vector of running sequences
  int32_t n_preempted = 0;      // positions that had been computed when it was last preempted
  int32_t n_settle_at = 0;      // computed positions with which its blocks are looked at again
  int32_t n_start = 0;          // tokens that the ranks know from SequenceStart
  std::vector<int32_t> tokens;  // prompt, then outputs
  SequenceId sequence;          // 0 unless admitted; a new one for each admission
  int32_t n_in_flight = 0;      // unfinished steps that compute it
  bool is_long = false;         // it has outgrown the model's recompute length
  std::vector<step::PositionLogprobs> prompt_logprobs;  // until they are told

  // Accounts.
  int64_t cost_nano_usd = 0;
  int64_t first_token_ns = 0;  // 0: not yet
  int64_t last_token_ns = 0;

  step::SamplingParams sampling;

  // Of no interest to most steps.
  RouterId router;
  uint64_t arrival = 0;
  int32_t priority = 0;
  int32_t n_prompt_logprobs_planned = 0;  // positions collected, or asked of steps in flight
  SequenceBlocks blocks;
  BlockHash root;                 // of the chain below
  std::vector<BlockHash> hashes;  // of full blocks of `tokens`
  std::optional<Finish> finish;   // while ending
  bool admitted_before = false;
  int32_t n_cached = 0;  // of the prompt, at the first admission
  int64_t submit_ns = 0;
  int64_t admit_ns = 0;     // 0: not yet
  int64_t deadline_ns = 0;  // monotonic; 0: none

  int32_t n_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t n_outputs() const { return n_tokens() - n_prompt; }
  // Positions to compute before the next sample, or in all when nothing is sampled: the last prompt
  // position would only predict what is not wanted. A vector is made of all positions.
  int32_t n_goal() const { return samples || embeds ? n_tokens() : n_prompt - 1; }
};

// Of a Request, from its beginning to the end of `sampling`: what a decoded token needs.
inline constexpr size_t kRequestHotBytes = 320;

// What the coordinator keeps of one router.
struct RouterState {
  RouterId id;
  uint64_t epoch = 0;                            // 0: not known yet
  std::unordered_map<uint64_t, uint32_t> slots;  // live requests by the router's id
  wire::TokenBatch news;                         // to be told with the next tick
};

}  // namespace trireme::coordinator
