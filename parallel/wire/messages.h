// The messages between routers and replicas, as plain structs. Their encoding is wire.proto, behind
// codec.cc.
//
// A replica dials every router (DEALER to ROUTER), says Hello, and is greeted with Welcome or
// refused. Heartbeats go both ways; a router that comes back asks unknown replicas to say Hello
// again. Tokens are ids: no text and no tensor passes. Every field from the other side is bounded
// (limits.h) and checked by the codec before anybody sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/small_vector.h"
#include "parallel/step/step_plan.h"

namespace trireme::wire {

// The version in the hello. A router refuses a replica of another major version with a sentence
// that names both.
inline constexpr uint32_t kProtocolMajor = 1;
inline constexpr uint32_t kProtocolMinor = 0;

// ---- replica to router ----

struct Hello {
  uint32_t major = kProtocolMajor;
  uint32_t minor = kProtocolMinor;
  std::string replica;            // stable name, e.g. "replica-0"
  uint64_t epoch = 0;             // changes with every start of the replica
  std::string model;              // served model name
  std::string model_fingerprint;  // equal for replicas that give identical tokens: weights, plan,
                                  // compute dtype
  std::string plan;               // "tp 2 x pp 2 (layers 4 + 4)"
  int32_t n_devices = 0;
  int32_t context = 0;  // tokens
  int32_t vocab = 0;
  int32_t block_size = 0;  // tokens per KV block
  int64_t n_kv_blocks = 0;
  int32_t max_running = 0;      // sequences
  int32_t embedding_width = 0;  // of an encoder's vectors; 0: it makes tokens
};

// Sent every heartbeat interval and with every step's tokens when it changed.
struct Load {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t waiting_tokens = 0;
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_total = 0;
  bool draining = false;
};

struct Heartbeat {
  uint64_t epoch = 0;
  Load load;
};

enum class FinishReason : uint8_t {
  kNone,       // goes on
  kStop,       // an EOS or stop token id
  kLength,     // max_tokens or the context
  kCancelled,  // as asked
  kError,      // `error` says why
};

// One request's part of a step's news.
struct TokenUpdate {
  TokenUpdate() {}  // not defaulted: a step makes a thousand, and each would be zeroed first

  uint64_t request = 0;            // the router's id
  int32_t first_index = 0;         // of tokens[0] among the request's outputs, resumed ones counted
  SmallVector<int32_t, 4> tokens;  // new output ids, usually one
  std::vector<step::PositionLogprobs> logprobs;  // one per token, or empty
  std::vector<step::PositionLogprobs>
      prompt_logprobs;  // once, when asked for: positions 1..n_prompt-1
  FinishReason finish = FinishReason::kNone;
  int32_t stop_token =
      -1;  // the id that stopped it (EOS or stop id); it is also the last of `tokens`
  // With the finish (and with each update when continuous usage was asked for):
  int32_t cached_tokens = 0;  // of the prompt, from the prefix cache
  int64_t cost_nano_usd = 0;  // so far, on this replica
  int64_t queue_ns = 0, prefill_ns = 0, decode_ns = 0;
  std::vector<float> embedding;  // with the finish, of a request that was to be embedded
  std::optional<Error> error;
};

// One message per router per step.
struct TokenBatch {
  uint64_t epoch = 0;
  std::vector<TokenUpdate> updates;
};

// The replica's ledger since it started, for /v1/pricing and /v1/usage; sent with heartbeats, at
// most once a second.
struct LedgerReport {
  uint64_t epoch = 0;
  int64_t device_ns = 0;       // wall x devices since start
  int64_t total_nano_usd = 0;  // device_ns x price, exactly the sum of the parts below
  int64_t prefill_nano_usd = 0;
  int64_t decode_nano_usd = 0;
  int64_t idle_nano_usd = 0;
  int64_t startup_nano_usd = 0;
  int64_t recompute_nano_usd = 0;
  int64_t resume_nano_usd = 0;
  int64_t prompt_tokens = 0;  // computed
  int64_t cached_tokens = 0;
  int64_t generated_tokens = 0;
};

struct Goodbye {  // the replica leaves on purpose: take it out of rotation and resume what it still
                  // has
  std::string reason;
};

using FromReplica = std::variant<Hello, Heartbeat, TokenBatch, LedgerReport, Goodbye>;

// ---- router to replica ----

struct Welcome {
  uint64_t router_epoch =
      0;  // changes with every start of the router: requests of an older one are cancelled
  std::string router;
};

struct Refused {
  std::string reason;  // e.g. "protocol 2.0 is not 1.x"
};

struct HelloAgain {};  // the router does not know this replica: announce yourself

struct RouterHeartbeat {
  uint64_t router_epoch = 0;
};

struct Submit {
  uint64_t request = 0;                 // the router's id, unique within its epoch
  std::string trace;                    // x-request-id, for logs
  std::string tenant;                   // metric label and fairness key
  std::vector<int32_t> tokens;          // prompt, then what was already emitted when resuming
  int32_t n_prompt = 0;                 // how many of `tokens` are the prompt
  int32_t max_tokens = 0;               // outputs in all, resumed ones counted
  std::vector<int32_t> stop_token_ids;  // EOS ids unless ignore_eos, and the request's own
  step::SamplingParams sampling;
  int32_t priority = 0;          // lower goes first
  int64_t deadline_unix_ns = 0;  // 0: none
  std::string cache_salt;        // derived by the router from the tenant (and the request's own)
  bool resumed = false;          // books its recompute as resume
  bool continuous_usage = false;
  bool embed = false;  // the prompt's vector is wanted, and no token: max_tokens is 0
};

struct Cancel {
  uint64_t request = 0;
};

struct Drain {};  // finish what runs, take nothing new

using FromRouter =
    std::variant<Welcome, Refused, HelloAgain, RouterHeartbeat, Submit, Cancel, Drain>;

}  // namespace trireme::wire
