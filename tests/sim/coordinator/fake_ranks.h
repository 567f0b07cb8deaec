// Ranks that compute nothing and check everything: the coordinator's end of a link whose other end
// executes plans in a model.
//
// A "KV block" holds, for each position, the hash of all tokens up to it and of the group of
// layers; attention is the check that every position behind a span that one of its rows sees, in
// any group, holds the right hash. A sampled token is a function of all tokens so far, the seed and
// nothing else. So a wrong token, a wrong position, a block shared too widely or written by two
// shows as a complaint or as wrong outputs. Whatever a real worker would refuse goes to
// `complaints`.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "parallel/plan/kv_layout.h"
#include "parallel/step/step_link.h"
#include "parallel/wire/messages.h"

namespace trireme::coordinator::testing {

inline constexpr int32_t kVocab = 97;

// The model: the token that follows `tokens`.
int32_t next_token(const std::vector<int32_t>& tokens, int32_t n_prompt,
                   const step::SamplingParams& sampling);
float prompt_logprob(const std::vector<int32_t>& tokens, int32_t position);

// What a request must give when it runs alone: outputs from the first one on, and why it ends.
struct Expected {
  std::vector<int32_t> outputs;
  wire::FinishReason finish = wire::FinishReason::kNone;
};
Expected expected_outputs(const wire::Submit& submit, int32_t context);

class FakeRanks final : public step::CoordinatorLink {
 public:
  FakeRanks(int n_ranks, int32_t block_size, int32_t max_step_tokens, int32_t max_running,
            std::vector<plan::KvGroup> groups = {plan::KvGroup()})
      : n_ranks_(n_ranks),
        groups_(std::move(groups)),
        block_size_(block_size),
        max_step_tokens_(max_step_tokens),
        max_running_(max_running) {}

  int n_ranks() const override { return n_ranks_; }
  Status send(const step::RankCommand& command) override;
  std::optional<step::RankEvent> receive(int64_t) override { return std::nullopt; }
  int event_fd() const override { return -1; }

  bool has_result() const { return !results_.empty(); }
  size_t n_in_flight() const { return results_.size(); }
  step::StepResult pop_result();

  std::vector<std::string> complaints;
  std::vector<step::StepPlan> plans;  // all that came, when `keep_plans`
  bool keep_plans = false;
  int64_t n_blocks = 0;
  size_t most_in_flight = 0;
  int most_chunks_in_flight = 0;  // of one sequence
  int64_t n_plans = 0;
  int64_t n_unseen = 0;  // spans that went on with a token unseen
  bool refuse_sends = false;
  bool runs_ahead = false;       // plans may go on with a token that they have not seen
  int32_t embedding_width = 0;   // of the vectors that embedded spans get
  int32_t recompute_length = 0;  // a sequence started with more tokens has other keys; 0: never

 private:
  struct Table {
    std::vector<int32_t> blocks;
    size_t first = 0;  // entries before it are seen by no later position
  };
  struct Sequence {
    std::vector<int32_t> tokens;
    int32_t n_prompt = 0;
    int32_t n_computed = -1;    // -1: no span yet
    int32_t sampled = -1;       // the last sampled token, until the plan gives it back
    std::vector<Table> tables;  // by group
    step::SamplingParams sampling;
    int n_in_flight = 0;          // unfinished steps that compute it
    int n_samples_in_flight = 0;  // of them sample: what follows cannot be planned, or unseen alone
    uint64_t last_plan = 0;
    bool is_long = false;
  };

  void execute(const step::StepPlan& plan);
  void compute(const step::StepPlan& plan, const step::SequenceSpan& span,
               step::StepResult& result);
  void take_blocks(const step::SequenceSpan& span, Sequence& sequence);
  void append_blocks(std::span<const BlockId> blocks, Table& table);
  void forget_before(size_t index, Table& table);
  void write_span(const step::SequenceSpan& span, Sequence& sequence);
  void write_group(const step::SequenceSpan& span, const Sequence& sequence, size_t group);
  void complain(const step::StepPlan* plan, const std::string& what);

  const int n_ranks_;
  const std::vector<plan::KvGroup> groups_;
  const int32_t block_size_, max_step_tokens_, max_running_;
  const step::StepPlan* plan_ = nullptr;
  size_t next_count_ = 0;  // of plan_->n_group_blocks
  uint64_t last_step_ = 0;
  std::map<uint64_t, Sequence> sequences_;
  std::set<uint64_t> seen_ids_;
  std::vector<std::vector<uint64_t>> blocks_;  // [n_blocks][block_size] prefix hashes
  std::vector<int32_t> n_tables_;              // resident tables of which a block is still seen
  std::deque<step::StepResult> results_;
};

}  // namespace trireme::coordinator::testing
