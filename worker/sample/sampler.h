// Sampler: from each rank's slice of the logits to one token per row, the same on every rank of the
// tp group.
//
// The vocabulary stays sharded: a rank sends the winner of its slice, or its best candidates where
// top_k, top_p or min_p are in force, in one small gather for all rows; only a row whose candidates
// do not reach its threshold is gathered whole, so that the result is always exact. A draw is the
// argmax of logit / temperature + Gumbel noise keyed by (seed, position, token id): it depends on
// its row alone, not on batch, chunking or the number of ranks. Log-probabilities are the raw
// log-softmax, before penalties and temperature.
//
// On a device the logits stay where they are: rows without rules are answered by DeviceScan, to the
// same tokens as on the host, and may be told to the device before they are decided (DeviceTokens).
// Used by the rank's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "parallel/plan/parallel_plan.h"
#include "parallel/step/step_plan.h"
#include "worker/host_exchange.h"
#include "worker/layers/step_context.h"
#include "worker/sample/device_scan.h"
#include "worker/sample/device_tokens.h"
#include "worker/sample/logit_rules.h"
#include "worker/sample/token_scan.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

// What one logits row is for.
struct RowRequest {
  const step::SamplingParams* params = nullptr;
  const TokenCounts* counts = nullptr;
  int32_t n_outputs = 0;    // tokens behind the prompt so far
  int64_t position = 0;     // of the token that this row predicts
  int32_t token = -1;       // the known token (prompt log-probabilities), or -1: sample one
  int32_t n_logprobs = -1;  // -1: none wanted; k: the token's and the k best
};

struct RowOutcome {
  int32_t token = -1;
  step::PositionLogprobs logprobs;  // filled when n_logprobs >= 0
};

// How many rows of logits a sampler that tells tokens can keep (Sampler::keep).
int64_t max_kept_rows(int64_t max_rows, int64_t vocab_padded);

struct SamplerOptions {
  int32_t vocab = 0;  // of the model
  int64_t max_rows = 0;
  bool on_device = false;            // rows are scanned by the backend's ops
  comm::Group* tokens_of = nullptr;  // the tp group: tokens can be told to the device
};

class Sampler {
 public:
  // What was asked of the device about a step's rows. Made once, and used for step after step.
  class Asked {
   public:
    // The step's tokens are in device_tokens().
    bool is_told() const { return told_; }
    // They are these, once the step is decided. [rows]
    std::span<const int32_t> told_tokens() const;

   private:
    friend class Sampler;
    struct Question {
      DeviceScan::Rows rows;
      std::optional<size_t> at;  // in the round, where it has rows
    };
    DeviceScan::Round round_;
    Question picks_;     // rows that are greedy
    Question draws_;     // that draw from all tokens
    Question rankings_;  // that draw from leading ones
    Question masses_;    // of the same rows, where one needs its own
    Question raw_tops_;
    bool told_ = false;
    size_t n_rows_ = 0;
    // Of each row its place among those kept, -1: none; empty: nothing was kept.
    std::vector<int32_t> kept_;
    std::unique_ptr<kernels::Buffer> tokens_;  // on the host
  };

  // Backend, exchange and group outlive the sampler; the exchange is over the tp group.
  static Result<std::unique_ptr<Sampler>> create(kernels::Backend& backend, HostExchange& exchange,
                                                 const plan::RankPlan& rank,
                                                 const SamplerOptions& options);
  Result<Asked> make_asked();

  // Enqueues what is asked of the device. logits [n_rows, vocab_padded] f32 on the device. Where
  // every row is sampled, by its logits alone, and no probability is wanted, the tokens are told to
  // the device too; on every rank or on none.
  Status ask(const TensorView& logits, std::span<const RowRequest> requests, Asked& asked,
             StepContext& context);
  // Where the tokens were told, the logits may go before the step is decided: enqueues a copy of
  // the rows that may be needed then. There is room for one step's.
  void keep(const TensorView& logits, std::span<const RowRequest> requests, Asked& asked,
            StepContext& context);
  // After ask; after keep, without a look at `logits`. internal_error when a row has no finite
  // logit.
  Status decide(const TensorView& logits, std::span<const RowRequest> requests, Asked& asked,
                std::vector<RowOutcome>& outcomes, StepContext& context);

  // [max_rows] i32 on the device, by row of the logits; undefined where tokens are not told.
  TensorView device_tokens() const { return tokens_ ? tokens_->tokens() : TensorView(); }

 private:
  // One rank's word on one row; candidates and raw_top follow it in the record.
  struct Summary {
    double score = 0;    // of the slice's winner: logit (greedy) or noisy score
    double mass = 0;     // sum of exp((x - max) / temperature), after the rules
    int32_t token = -1;  // the slice's winner, -1 when all is masked
    float max = 0;       // after the rules
    float raw_max = 0;   // before them
    float raw_sum_exp = 0;
  };

  // What the device said of a row.
  struct DeviceAnswer {
    bool ruled = false;              // of the row that is sampled: best, winner, ranking, mass
    bool raw = false;                // raw_top
    Candidate best;                  // the likeliest; of a draw, the winner
    ScoredToken winner;              // of a draw
    std::vector<Candidate> ranking;  // of a filter
    double mass = 0;
    std::vector<Candidate> raw_top;
  };

  Sampler(kernels::Backend& backend, HostExchange& exchange)
      : backend_(&backend), exchange_(&exchange) {}

  size_t n_candidates(const RowRequest& request) const;
  size_t n_raw_top(const RowRequest& request) const;
  std::span<float> raw_row(const TensorView& logits, size_t row, StepContext& context);
  std::span<float> ruled_row(const TensorView& logits, size_t row, const RowRequest& request,
                             StepContext& context);
  void measure_raw_rows(const TensorView& logits, StepContext& context);
  // sampler_device.cc
  bool mass_is_rounded(const RowRequest& request) const;
  bool can_tell(std::span<const RowRequest> requests) const;
  static bool may_be_read(const RowRequest& request);
  void sort_questions(std::span<const RowRequest> requests, Asked& asked) const;
  Status tell(std::span<const RowRequest> requests, Asked& asked, StepContext& context);
  void take_answers(std::span<const RowRequest> requests, Asked& asked);
  void take_picks(const Asked& asked);
  void take_draws(std::span<const RowRequest> requests, const Asked& asked);
  void take_rankings(std::span<const RowRequest> requests, const Asked& asked);
  void take_raw_tops(std::span<const RowRequest> requests, const Asked& asked);
  std::vector<float> values_of_tokens(const TensorView& logits, const std::vector<int32_t>& rows,
                                      const std::vector<int32_t>& tokens, StepContext& context);
  std::vector<int32_t> counts_before(const TensorView& logits, const std::vector<int32_t>& rows,
                                     const std::vector<int32_t>& tokens,
                                     const std::vector<float>& values, StepContext& context);

  void summarize(const TensorView& logits, size_t row, const RowRequest& request, Summary& summary,
                 StepContext& context);
  void append_summary(const TensorView& logits, size_t row, const RowRequest& request,
                      StepContext& context);
  Status decide_row(const TensorView& logits, size_t row, const RowRequest& request, size_t offset,
                    size_t record_bytes, RowOutcome& outcome, StepContext& context);
  Result<int32_t> decide_filtered(const TensorView& logits, size_t row, const RowRequest& request,
                                  size_t offset, size_t record_bytes, double mass,
                                  StepContext& context);
  Result<int32_t> decide_from_whole_row(const TensorView& logits, size_t row,
                                        const RowRequest& request, StepContext& context);
  double mass_of_whole_row(double temperature) const;
  void merge_raw_top(const RowRequest& request, size_t offset, size_t record_bytes,
                     RowOutcome& outcome) const;
  Status fill_actual_logprobs(const TensorView& logits, std::span<const RowRequest> requests,
                              std::vector<RowOutcome>& outcomes, StepContext& context);

  kernels::Backend* backend_;
  HostExchange* exchange_;
  int32_t vocab_ = 0;                             // of the model
  int32_t first_id_ = 0;                          // of this rank's slice
  int32_t n_ids_ = 0;                             // true rows of this rank's slice
  int64_t vocab_padded_ = 0;                      // columns per rank
  DeviceTensor row_max_;                          // [max_rows] f32
  DeviceTensor row_sum_exp_;                      // [max_rows] f32
  std::unique_ptr<DeviceScan> scan_;              // or nullptr: rows are read
  std::unique_ptr<DeviceTokens> tokens_;          // or nullptr
  DeviceTensor kept_;                             // [kept_rows, vocab_padded] f32, with tokens_
  const std::vector<int32_t>* places_ = nullptr;  // Asked::kept_ of the step being decided
  std::vector<DeviceAnswer> answers_;
  std::vector<float> host_max_;
  std::vector<float> host_sum_exp_;
  std::vector<double>
      log_normalizer_;      // per row: max + log(sum exp), for rows with log-probabilities
  std::vector<float> row_;  // one row on the host
  std::vector<float> allowed_values_;
  std::vector<Candidate> candidates_;
  std::vector<std::byte> mine_;
  std::vector<std::byte> all_;
  std::vector<std::byte> whole_mine_;
  std::vector<std::byte> whole_;
};

}  // namespace trireme::worker
