// The scheduler: what the next step computes. A pure function: a snapshot in, a decision out; the
// engine applies it.
//
// Continuous batching under one token budget. First the decodes, one token each; what is left of
// the budget goes to prompts in chunks, those under way and those that wait, by (priority, least
// served tenant, arrival). A waiting request is admitted only when blocks for all its known tokens
// are free (of layers that slide: all that it holds at once), so that a prefill under way never
// lacks one; the first that does not fit holds back
// those behind it, so that a long prompt is not starved by short ones.
//
// When the decodes need more blocks than are free, the sequence of the worst priority that came
// last is preempted, and computed again later. A waiting request that does not fit preempts
// sequences of a strictly worse priority likewise, also where the step itself has no room for it
// left: a decode may be free in just such decisions. A decision that names victims names nothing
// else: the engine preempts them and asks again, since only the pool knows what a victim's shared
// blocks really free. If the worst sequence is in flight, the ones that lack a block wait for it.
//
// A sequence that has outgrown `n_most` is preempted likewise: its keys hold for no longer
// sequence.
//
// With pp stages, pp steps are in flight. A decoding sequence is in one of them at most, since its
// next token is the last step's to sample: a decision takes at most its pp-th part of them, so that
// the others have their share. A prompt's chunks need nothing of each other but their KV, which
// every stage writes in the order of the steps: the next chunk is planned while those before it are
// in flight, so that a prompt alone keeps all stages busy. What follows its last chunk waits for
// the sample.
//
// Planning ahead: with `assume_done` set, the sequences whose sample that step makes count as
// having it, as if none of them met a stop token. Such a decision never preempts (it says that it
// would have to, and is void).
//
// Cost: O(running + waiting candidates); under 100 us at 1,024 running sequences
// (tests/bench/scheduler).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cluster_config.h"
#include "base/ids.h"
#include "coordinator/kv/kv_budget.h"

namespace trireme::coordinator {

// An admitted sequence. The engine keeps a vector of these up to date, so that a snapshot costs
// nothing.
struct RunningSequence {
  uint32_t slot = 0;  // the engine's handle
  SequenceId sequence;
  int32_t tenant = 0;
  int32_t priority = 0;        // lower goes first
  uint64_t arrival = 0;        // order of submission, kept through preemption
  int32_t n_computed = 0;      // positions in the KV cache, by the results that have come
  int32_t n_planned = 0;       // and those of the plans that are out: the next span begins here
  int32_t n_goal = 0;          // positions to compute before the next sample: all known tokens
  int32_t n_limit = 0;         // known tokens at which it ends by length
  int32_t n_most = INT32_MAX;  // known tokens behind which it must start again
  int32_t n_blocks = 0;        // entries that each of its block tables has or is promised
  int32_t n_held = 0;          // blocks that it would give back, of all groups
  bool bounded = false;        // its prompt takes blocks span by span, out of a reservation
  bool samples = true;         // false: it ends when n_goal is computed (prompt logprobs alone)
  int32_t n_in_flight = 0;     // unfinished steps that compute it
  uint64_t last_step = 0;      // that it was part of
  int32_t last_token = -1;     // the last known token: what a decode computes
};

// A waiting request that may be admitted now, with what the prefix index holds for it.
struct WaitingCandidate {
  uint32_t slot = 0;
  int32_t tenant = 0;
  int32_t priority = 0;
  uint64_t arrival = 0;
  int32_t n_goal = 0;    // positions to compute or find
  int32_t n_cached = 0;  // of them found, < n_goal
  bool whole = false;    // all positions in one step, or none
  int32_t n_free_blocks_taken =
      0;  // of the pool's free blocks, found ones that nobody holds included
};

// What a tenant had so far: work units over its weight, so that the least served is comparable
// between weights.
struct TenantShare {
  int64_t served = 0;
  int32_t weight = 1;
};

struct Snapshot {
  std::span<const RunningSequence> running;
  std::span<const WaitingCandidate> waiting;  // in the order of pick_waiting()
  std::span<const TenantShare> tenants;       // by tenant index
  int64_t n_blocks = 0;
  int64_t n_free_blocks = 0;
  int32_t n_groups = 1;    // block tables of a sequence: each takes a block for the next positions
  int32_t n_resident = 0;  // running, and ended ones that a step in flight still uses
  int32_t n_waiting = 0;   // candidates or not
  int32_t n_stages = 1;    // pp
  StepId assume_done;      // 0: plan for now
};

struct SpanChoice {
  uint32_t slot = 0;
  SequenceId sequence;
  int32_t n_tokens = 0;
};

struct AdmitChoice {
  uint32_t slot = 0;
  uint64_t arrival = 0;
  int32_t n_tokens = 0;
};

struct Decision {
  std::vector<SpanChoice> spans;
  std::vector<AdmitChoice> admits;
  std::vector<uint32_t>
      preempt;  // slots; not empty: nothing else is decided, preempt and ask again
  bool wants_preemption = false;  // planning ahead only: void
  int32_t n_tokens = 0;           // of spans and admits together, <= max_step_tokens

  bool empty() const { return spans.empty() && admits.empty() && preempt.empty(); }
};

Decision schedule(const Snapshot& snapshot, const SchedulerConfig& config);

// The free blocks that an admission leaves alone while others run, for their next tokens: without
// it a request would be admitted into the last block and preempted for it in the next step.
int64_t admission_reserve(int64_t n_blocks, int32_t n_groups, bool anything_runs);

}  // namespace trireme::coordinator
