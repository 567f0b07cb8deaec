// SequenceTable: what a rank remembers of every sequence between steps, and the door where step
// plans are checked.
//
// `apply` believes nothing: ids must be known, positions consecutive, token ids inside the
// vocabulary, blocks inside the pool and enough, rows within the buffers. It turns a plan into the
// host arrays of a batch. An error leaves the table in between two steps: the rank must not run
// another plan.
//
// A plan may be applied before the samples of the one before it are known, where these are on the
// device already (expect_sample): a row that begins with one has a placeholder for its id, and says
// which sample it is. Used by the rank's thread.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "parallel/plan/kv_layout.h"
#include "parallel/step/step_plan.h"
#include "worker/sample/logit_rules.h"

namespace trireme::worker {

struct Sequence {
  SequenceId id;
  std::vector<int32_t> tokens;  // all that is known: prompt, then outputs
  int32_t n_prompt = 0;
  step::SamplingParams sampling;
  std::vector<std::vector<int32_t>> tables;  // block ids by group; 0 in the holes before a window
  int32_t sampled = -1;       // behind `tokens`, by the last step; -1: none, or it is in `tokens`
  int32_t expected_row = -1;  // the same, not known yet: of the last step's samples; -1: none
  int32_t awaited_position = -1;  // in `tokens`, of a placeholder for such a sample; -1: none
  int32_t next_position = -1;     // the first position not yet computed; -1 before the first span
  TokenCounts counts;             // filled when the penalties need it
  uint64_t last_plan = 0;         // the last plan that had a span of it
  bool is_long = false;           // started with more than TableLimits::recompute_length tokens

  int32_t n_outputs() const { return static_cast<int32_t>(tokens.size()) - n_prompt; }
};

struct TableLimits {
  int32_t vocab = 0;
  int32_t context = 0;  // positions
  int32_t block_size = 0;
  int64_t n_blocks = 0;                                      // of the pool
  std::vector<plan::KvGroup> kv_groups = {plan::KvGroup()};  // KvLayout::groups
  int64_t max_step_tokens = 0;
  int64_t max_logits_rows = 0;
  int64_t max_sequences = 1 << 16;
  int32_t recompute_length = 0;  // ModelSpec::recompute_length
  plan::RopeGrowth rope_growth;  // ModelSpec::rope_growth
  bool encoder = false;          // whole prompts are embedded, and nothing else is asked

  // Whether rows say which of several sets of frequencies rotates them.
  bool has_rope_sets() const { return recompute_length > 0 || rope_growth.grows(); }
};

// A row whose logits are wanted.
struct LogitsRow {
  const Sequence* sequence = nullptr;
  int32_t batch_row = 0;
  int32_t position = 0;  // of the row; its logits are about position + 1
  bool sample = false;   // else: log-probabilities of the known token at position + 1
};

// The rows of a prompt that are pooled to one vector.
struct EmbeddedRows {
  int32_t first_row = 0;
  int32_t n_rows = 0;
};

// Of one group of layers.
struct HostKvTable {
  std::vector<int64_t> slots;        // of the rows
  std::vector<int32_t> block_table;  // [n_seqs, max_blocks], with 0 where there is nothing to read
};

// A step's rows on the host; the vectors keep their capacity from step to step.
struct HostBatch {
  std::vector<int32_t> ids;
  // Of each row the sample of the step before that is its id, -1 where the id is known; empty where
  // all are.
  std::vector<int32_t> id_sources;
  std::vector<int32_t> positions;
  std::vector<HostKvTable> kv_groups;
  std::vector<int32_t> query_start;
  std::vector<int32_t> context_len;
  int32_t max_blocks = 0;              // of the longest table in the step
  std::vector<int32_t> rope_sets;      // only where the model has several sets
  std::vector<EmbeddedRows> embedded;  // in the order of the spans
  std::vector<LogitsRow>
      logits_rows;  // in the order of the spans, prompt rows before the sampled one

  void clear();
};

class SequenceTable {
 public:
  explicit SequenceTable(const TableLimits& limits) : limits_(limits) {}

  // Releases, starts and spans of the plan, in this order. invalid_argument names the sequence and
  // what is wrong. What is released stays where it is until the next plan, for the step before.
  Status apply(const step::StepPlan& plan, HostBatch& batch);

  // The last plan samples for this sequence of it, as its `row`th sample: the next may ask for it
  // unseen.
  void expect_sample(SequenceId id, int32_t row);
  // The last plan, or the one before where the last began with what was expected of it, sampled
  // `token` for this sequence of it. A sequence that was released since is no error.
  void note_sample(SequenceId id, int32_t token);

  size_t n_sequences() const { return sequences_.size(); }
  const Sequence* find(SequenceId id) const;

 private:
  Status start(const step::SequenceStart& start);
  Status check_sampling(SequenceId id, const step::SamplingParams& sampling) const;
  Status append_span(const step::StepPlan& plan, const step::SequenceSpan& span, HostBatch& batch);
  Status take_rope_sets(const step::SequenceSpan& span, const Sequence& sequence,
                        HostBatch& batch) const;
  Status take_token(const step::SequenceSpan& span, Sequence& sequence, HostBatch& batch) const;
  Status take_blocks(const step::StepPlan& plan, const step::SequenceSpan& span,
                     Sequence& sequence);
  Status take_group_blocks(const step::SequenceSpan& span, std::span<const BlockId> blocks,
                           std::vector<int32_t>& table) const;
  void fill_tables(HostBatch& batch) const;
  Status check_purpose(const step::SequenceSpan& span, const Sequence& sequence) const;
  Status append_logits_rows(const step::SequenceSpan& span, const Sequence& sequence,
                            int32_t first_row, HostBatch& batch) const;

  TableLimits limits_;
  std::unordered_map<SequenceId, Sequence> sequences_;
  std::vector<std::unordered_map<SequenceId, Sequence>::node_type> released_;  // by the last plan
  std::vector<const Sequence*> in_step_;  // of the batch, by span
  size_t next_count_ = 0;                 // of the plan's n_group_blocks
  uint64_t n_plans_ = 0;
};

}  // namespace trireme::worker
