// From the first rank that is ready to a replica that is: the KV pool, and the step that warms up.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "coordinator/engine.h"

namespace trireme::coordinator {

Status Engine::on_ready(const step::RankReady& ready) {
  auto& place = ready_ranks_[static_cast<size_t>(ready.worker_rank)];
  if (place) return fail(internal_error(fmt::format("rank {} is ready twice", ready.worker_rank)));
  place = ready;
  int64_t n_blocks = config_.max_kv_blocks > 0 ? config_.max_kv_blocks : INT32_MAX;
  int64_t load_ns = 0;
  int64_t comm_ns = 0;
  for (const auto& rank : ready_ranks_) {
    if (!rank) return {};
    if (rank->n_kv_blocks < budget_.n_groups()) {
      return fail(failed_precondition(
          fmt::format("rank {} has no memory for KV blocks after its weights of {} bytes",
                      rank->worker_rank, rank->weight_bytes)));
    }
    n_blocks = std::min(n_blocks, rank->n_kv_blocks);
    load_ns = std::max(load_ns, rank->load_ns);
    comm_ns = std::max(comm_ns, rank->startup_comm_ns);
  }
  if (n_blocks < budget_.n_groups()) {
    return fail(failed_precondition(
        fmt::format("{} KV blocks are not one for each of the {} block tables of a sequence",
                    n_blocks, budget_.n_groups())));
  }
  pool_ = std::make_unique<BlockPool>(n_blocks);
  limits_.n_kv_blocks = n_blocks;
  limits_.pool_context = budget_.longest(n_blocks);
  const int64_t now_ns = clock_.now_ns();
  metrics_.add_own_cost(LedgerPart::kStartup, ledger_.book(now_ns, LedgerPart::kStartup));
  metrics_.set_startup(load_ns, comm_ns);
  std::fill(rank_reported_ns_.begin(), rank_reported_ns_.end(), now_ns);
  if (const Status sent = link_.send(step::SetKvBlocks{n_blocks}); !sent.ok()) {
    return fail(sent.error());
  }
  return options_.warm_up ? begin_warm_up(now_ns) : Status();
}

// A prompt of one block and one sample, greedy; of an encoder, one vector. Its block has no name
// and its cost is start-up's.
Status Engine::begin_warm_up(int64_t now_ns) {
  warm_up_ = WarmUp();
  WarmUp& warm_up = *warm_up_;
  warm_up.sequence = SequenceId(++last_sequence_);
  warm_up.blocks = SequenceBlocks(pool_.get(), &budget_);
  warm_up.sent_ns = now_ns;
  const int32_t n_tokens =
      std::min({config_.block_size, config_.max_step_tokens, limits_.context()});
  step::StepPlan plan;
  step::SequenceStart start;
  start.id = warm_up.sequence;
  start.tokens.assign(static_cast<size_t>(n_tokens), 0);
  start.n_prompt = n_tokens;
  start.sampling.temperature = 0;
  plan.starts.push_back(std::move(start));
  step::SequenceSpan span;
  span.id = warm_up.sequence;
  span.n_tokens = n_tokens;
  warm_up.blocks.grow(n_tokens, n_tokens, span.new_blocks, plan.n_group_blocks);
  span.embed = options_.embedding_width > 0;
  span.sample = !span.embed;
  plan.spans.push_back(std::move(span));
  plan.deadline_ns = config_.step_deadline_ns;
  plan.header = {.epoch = options_.epoch, .step = StepId(++last_step_)};
  plan.header.shape_hash = step::shape_hash(plan);
  warm_up.header = plan.header;
  if (const Status sent = link_.send(step::RankCommand(std::move(plan))); !sent.ok()) {
    return fail(sent.error());
  }
  return {};
}

Status Engine::end_warm_up(const step::StepResult& result) {
  const step::StepHeader& want = warm_up_->header;
  bool fits = result.header.epoch == want.epoch && result.header.step == want.step &&
              result.header.shape_hash == want.shape_hash && result.outputs.size() == 1 &&
              result.outputs[0].id == warm_up_->sequence;
  if (fits && options_.embedding_width > 0) {
    fits = result.outputs[0].embedding.size() == static_cast<size_t>(options_.embedding_width);
  } else if (fits) {
    fits = result.outputs[0].token >= 0 && result.outputs[0].token < options_.vocab;
  }
  if (!fits) return fail(internal_error("the result of the warm-up step does not fit its plan"));
  const int64_t now_ns = clock_.now_ns();
  last_result_ns_ = now_ns;
  metrics_.add_own_cost(LedgerPart::kStartup, ledger_.book(now_ns, LedgerPart::kStartup));
  metrics_.set_warm_up(now_ns - warm_up_->sent_ns);
  releases_.push_back(warm_up_->sequence);
  warm_up_.reset();
  return {};
}

}  // namespace trireme::coordinator
