#include "parallel/step/step_plan.h"

namespace trireme::step {
namespace {

// A running 64-bit hash of words. Each word is added, then mixed by two rounds of multiply and
// xor-shift, so that every bit of every word reaches every bit of the digest. The same on every
// machine: the digest crosses the wire. It guards against ranks that disagree, not against an
// adversary.
class WordHash {
 public:
  void add(uint64_t word) {
    uint64_t mixed = state_ + kIncrement + word;
    mixed = (mixed ^ (mixed >> 32)) * kMultiplier1;
    mixed = (mixed ^ (mixed >> 29)) * kMultiplier2;
    state_ = mixed ^ (mixed >> 32);
  }
  // Sign-extended, so that -1 is one word on every machine.
  void add_int(int32_t value) { add(static_cast<uint64_t>(int64_t{value})); }
  uint64_t digest() const { return state_; }

 private:
  // Odd, with bits spread evenly: the golden ratio's and pi's and e's binary digits.
  static constexpr uint64_t kIncrement = 0x9e3779b97f4a7c15;
  static constexpr uint64_t kMultiplier1 = 0x243f6a8885a308d3;
  static constexpr uint64_t kMultiplier2 = 0xb7e151628aed2a6b;
  uint64_t state_ = 0x74726972656d6531;
};

uint64_t pair(int32_t high, int32_t low) {
  return uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low);
}

// The fields of a span that decide a shape, as one word: a sum of products with fixed odd numbers,
// so that two spans that differ in one word always differ in the fold.
uint64_t fold(const SequenceSpan& span) {
  const auto n_blocks_and_sample = span.new_blocks.size() * 2 + (span.sample ? 1 : 0);
  return span.id.value() * 0x9e3779b97f4a7c15 +
         pair(span.first_position, span.n_tokens) * 0xd1b54a32d192ed03 +
         n_blocks_and_sample * 0x8cb92ba72f3d8dd7 +
         pair(span.first_logprob_position, span.n_logprob_positions) * 0xaef17502108ef2d9;
}

}  // namespace

int32_t StepPlan::n_tokens() const {
  int32_t n = 0;
  for (const SequenceSpan& span : spans) n += span.n_tokens;
  return n;
}

uint64_t shape_hash(const StepPlan& plan) {
  WordHash hash;
  hash.add(plan.releases.size());
  for (const SequenceId id : plan.releases) hash.add(id.value());
  hash.add(plan.starts.size());
  for (const SequenceStart& start : plan.starts) {
    hash.add(start.id.value());
    hash.add(start.tokens.size());
    hash.add_int(start.n_prompt);
    hash.add_int(start.sampling.n_logprobs);
    hash.add_int(start.sampling.n_prompt_logprobs);
  }
  hash.add(plan.spans.size());
  // A step has a thousand spans. Each is folded by itself, which processors do for several at once,
  // and only the folds go through the chain.
  for (const SequenceSpan& span : plan.spans) hash.add(fold(span));
  for (const int32_t n : plan.n_group_blocks) hash.add_int(n);
  return hash.digest();
}

}  // namespace trireme::step
