// A job: one sequence that a replica generates for a client, and what its owner hears of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "parallel/step/step_plan.h"
#include "parallel/wire/messages.h"

namespace trireme::router {

using JobId = uint64_t;

struct JobSpec {
  std::string trace;  // x-request-id
  std::string tenant;
  std::shared_ptr<const std::vector<int32_t>> prompt;  // shared by the n choices of a request
  int32_t max_tokens = 0;                              // outputs
  std::vector<int32_t> stop_token_ids;
  step::SamplingParams sampling;
  int32_t priority = 0;    // lower goes first
  std::string cache_salt;  // derived from the tenant
  bool continuous_usage = false;
  bool embed = false;       // the prompt's vector is wanted, and max_tokens is 0
  int64_t deadline_ns = 0;  // of the monotonic clock; 0: none
};

// News of a job. Every output token is reported exactly once and in order, whatever happened to
// replicas meanwhile.
struct JobUpdate {
  std::span<const int32_t> tokens;
  std::span<const step::PositionLogprobs> logprobs;         // one per token, or empty
  std::span<const step::PositionLogprobs> prompt_logprobs;  // once, when asked for
  wire::FinishReason finish = wire::FinishReason::kNone;    // kNone, kStop or kLength
  int32_t stop_token = -1;
  int32_t cached_tokens = 0;  // of the prompt
  int64_t cost_nano_usd = 0;  // so far, over all replicas that worked on it
  int64_t queue_ns = 0, prefill_ns = 0, decode_ns = 0;  // with the finish
  std::span<const float> embedding;                     // likewise, where it was asked for
};

class JobListener {
 public:
  virtual ~JobListener() = default;
  // False: enough (a stop string was found). The job is then cancelled and nothing more is called;
  // likewise after an update with a finish. The listener must not call into Upstream from here.
  virtual bool on_update(const JobUpdate& update) = 0;
  virtual void on_error(const Error& error) = 0;  // the last call
};

}  // namespace trireme::router
