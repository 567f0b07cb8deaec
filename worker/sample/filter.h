// top_k, top_p and min_p as one question: how many of the likeliest tokens stay?
//
// Each of the three keeps a prefix of the ranking (likelier first, ties to the lower id), so that
// together they keep a prefix. Order: temperature, min_p, top_k, and top_p over what those two
// left. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "parallel/step/step_plan.h"
#include "worker/sample/token_scan.h"

namespace trireme::worker {

// True when params filter at all (temperature > 0 and top_k, top_p or min_p in force).
bool has_filter(const step::SamplingParams& params);

// True when the answer depends on the row's mass: a top_p that nothing else has cut before.
bool needs_mass(const step::SamplingParams& params);

// At or below this temperature the distribution is its mode: greedy.
inline constexpr float kGreedyTemperature = 1e-5f;
inline bool is_greedy(const step::SamplingParams& params) {
  return params.temperature <= kGreedyTemperature;
}

// Of a row whose likeliest tokens are `ranking`: how many leading ones are kept (at least one, when
// there is one). `complete`: the ranking holds every token of the row that is not masked. `mass`:
// sum of exp((logit - max) / temperature) over the whole row. nullopt: the ranking ends before the
// answer.
std::optional<size_t> kept_prefix(const step::SamplingParams& params,
                                  std::span<const Candidate> ranking, bool complete, double mass);

}  // namespace trireme::worker
