// Which replica takes a request: a pure function of a snapshot.
//
//   score = matched / prompt  -  beta * (load - mean) / max(1, mean)
//
// matched is how many prompt tokens the replica's prefix cache is thought to hold, load its
// requests in flight, mean the load's mean over the candidates. The best score wins, at random
// among equals. Health and drain come first: a replica that is not usable is no candidate at all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::router {

struct ReplicaSnapshot {
  bool usable =
      false;  // alive, not draining, breaker closed, room for one more, of the fitting model
  std::string why_not;         // where it is not, for the explanation
  int64_t load = 0;            // requests
  int64_t matched_tokens = 0;  // of the prompt
};

struct BalanceResult {
  int chosen = -1;             // index into the snapshot; -1: no candidate
  std::vector<double> scores;  // one per replica; 0 where it is no candidate
};

// A small seeded generator (splitmix64): reproducible in tests and in the simulator.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  uint64_t below(uint64_t n) { return n == 0 ? 0 : next() % n; }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

BalanceResult choose_replica(const std::vector<ReplicaSnapshot>& replicas, int64_t prompt_tokens,
                             double beta, Random& random);

}  // namespace trireme::router
