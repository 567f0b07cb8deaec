// Upstream's own record of a job. For upstream*.cc alone.
#pragma once

#include "router/upstream/upstream.h"

namespace trireme::router {

struct Upstream::Job {
  enum class State { kNew, kQueued, kBackingOff, kRunning };

  JobId id = 0;
  JobSpec spec;
  JobListener* listener = nullptr;
  State state = State::kNew;
  std::vector<int32_t> emitted;
  Replica* replica = nullptr;  // while running
  uint64_t attempt = 0;        // its wire id there
  std::string fingerprint;  // of the replica whose tokens were emitted: only an equal one may go on
  int tries = 0;            // since the last token
  int n_attempts = 0;
  bool replica_answered = false;  // the current replica sent a token
  bool has_prompt_logprobs = false;
  int32_t cached_tokens = 0;
  int64_t cost_nano_usd = 0;       // on the current replica
  int64_t past_cost_nano_usd = 0;  // on earlier ones, as far as they said
  int64_t queued_ns = 0;
  int64_t queue_deadline_ns = 0;
  int64_t ready_ns = 0;  // while backing off
  QueueKey queue_key;
  int64_t queue_tokens = 0;
  int32_t hashed_block_size = 0;  // of `hashes`; 0: not made yet
  std::vector<uint64_t> hashes;
};

}  // namespace trireme::router
