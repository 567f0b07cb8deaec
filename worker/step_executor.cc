#include "worker/step_executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/pooling.h"

namespace trireme::worker {
namespace {

// One step of so many tells of its experts' load: it costs a copy from the device and a message of
// a number per layer and expert.
constexpr uint64_t kExpertLoadPeriod = 16;

}  // namespace

StepExecutor::StepExecutor(const ExecutorInputs& inputs)
    : in_(inputs),
      table_(inputs.limits),
      tp_exchange_(inputs.backend, *inputs.mesh.tp, inputs.mesh.host_tp()) {
  timing_.worker_rank = inputs.rank.worker_rank;
}

Result<std::unique_ptr<StepExecutor>> StepExecutor::create(const ExecutorInputs& inputs) {
  std::unique_ptr<StepExecutor> executor(new StepExecutor(inputs));
  TRY(executor->allocate());
  return executor;
}

Status StepExecutor::allocate() {
  kernels::Backend& backend = in_.backend;
  const int64_t n = in_.limits.max_step_tokens;
  const int64_t n_rows = in_.limits.max_logits_rows;
  ASSIGN_OR_RETURN(x_, allocate_tensor(backend, DType::kF32, {n, in_.spec.hidden}));
  TRY(device_batch_.allocate(backend,
                             {.n_tokens = n,
                              .n_seqs = n,
                              .table_width = 1,
                              .n_groups = static_cast<int64_t>(in_.limits.kv_groups.size()),
                              .rope_sets = in_.limits.has_rope_sets()}));
  ASSIGN_OR_RETURN(StageLink stages, StageLink::create(backend, in_.mesh, in_.stage_link));
  stages_.emplace(std::move(stages));
  if (in_.decode_graphs && in_.mesh.tp->can_record() && !in_.spec.encoder) {
    ASSIGN_OR_RETURN(graphs_,
                     DecodeGraphs::create({.backend = backend,
                                           .tp = *in_.mesh.tp,
                                           .exchange = tp_exchange_,
                                           .limits = in_.limits,
                                           .spare_block = static_cast<int32_t>(in_.limits.n_blocks),
                                           .max_rows = std::min({kMaxRecordedRows, n, n_rows})}));
  }
  if (!in_.rank.last_stage || in_.spec.encoder) return {};
  ASSIGN_OR_RETURN(rows_, allocate_tensor(backend, DType::kI32, {n_rows}));
  ASSIGN_OR_RETURN(x_logits_, allocate_tensor(backend, DType::kF32, {n_rows, in_.spec.hidden}));
  ASSIGN_OR_RETURN(logits_, allocate_tensor(backend, DType::kF32, {n_rows, in_.rank.vocab_padded}));
  ASSIGN_OR_RETURN(sampler_, Sampler::create(backend, tp_exchange_, in_.rank, in_.spec.vocab,
                                             n_rows, in_.scan_on_device));
  return {};
}

Result<std::optional<step::StepResult>> StepExecutor::execute(
    const step::StepPlan& plan, const std::function<void()>& meanwhile) {
  const int64_t start_ns = in_.clock.now_ns();
  StepContext context;
  context.backend = &in_.backend;
  context.clock = &in_.clock;
  context.step = plan.header.step;
  context.deadline_ns =
      start_ns + (plan.deadline_ns > 0 ? plan.deadline_ns : in_.default_deadline_ns);

  auto result = run(plan, meanwhile, context);
  timing_.collective_ns = context.collective_ns;
  timing_.wait_upstream_ns = context.wait_upstream_ns;
  timing_.wait_downstream_ns = context.wait_downstream_ns;
  timing_.compute_ns = in_.clock.now_ns() - start_ns - context.collective_ns -
                       context.wait_upstream_ns - context.wait_downstream_ns;
  if (!result.ok()) {
    broken_ = true;
    last_op_ = context.op;
    in_.mesh.abort(fmt::format("rank {} failed in step {} ({}): {}", in_.rank.worker_rank,
                               plan.header.step.value(), context.op, result.error().message));
  }
  return result;
}

Status StepExecutor::check_header(const step::StepPlan& plan) {
  const step::StepHeader& header = plan.header;
  if (broken_) return failed_precondition("an earlier step failed on this rank");
  if (header.step <= last_step_) {
    return invalid_argument(
        fmt::format("step {} was planned after step {}", header.step.value(), last_step_.value()));
  }
  if (last_step_.value() != 0 && header.epoch != epoch_) {
    return invalid_argument(fmt::format("step {} is of epoch {}, this rank's is {}",
                                        header.step.value(), header.epoch, epoch_));
  }
  if (header.shape_hash != step::shape_hash(plan)) {
    return data_loss(fmt::format(
        "the plan of step {} does not have the shape that its header claims", header.step.value()));
  }
  epoch_ = header.epoch;
  last_step_ = header.step;
  return {};
}

Result<std::optional<step::StepResult>> StepExecutor::run(const step::StepPlan& plan,
                                                          const std::function<void()>& meanwhile,
                                                          StepContext& context) {
  expert_load_ = {};
  TRY(check_header(plan));
  TRY(table_.apply(plan, batch_));
  TRY(agree(plan.header, context));

  const auto n_tokens = static_cast<int64_t>(batch_.ids.size());
  if (n_tokens > 0) {
    const TensorView x = x_.view.rows(0, n_tokens);
    const bool recorded = graphs_ != nullptr && !tells_expert_load(plan.header) &&
                          graphs_->takes(batch_, in_.rank.last_stage);
    if (recorded) {
      TRY(compute_recorded(plan.header, x, context));
    } else {
      TRY(compute(plan.header, x, context));
    }
    if (in_.rank.last_stage) prepare_sampling(x, recorded, context);
    if (meanwhile) meanwhile();
    if (tells_expert_load(plan.header)) read_expert_load(context);
    if (in_.rank.last_stage) {
      TRY(sample(context));
      embed(x, context);
    } else {
      TRY(stages_->send(plan.header, x, context));
    }
  }
  if (!in_.rank.last_stage || in_.rank.tp_rank != 0) return std::optional<step::StepResult>();
  return std::optional<step::StepResult>(collect(plan));
}

Status StepExecutor::compute(const step::StepHeader& header, const TensorView& x,
                             StepContext& context) {
  ASSIGN_OR_RETURN(const Batch batch, device_batch_.upload(batch_, context));
  if (in_.rank.first_stage) {
    TRY(in_.model.embed(batch, x, context));
  } else {
    TRY(stages_->receive(header, x, context));
  }
  return in_.model.run_layers(batch, in_.kv, x, context);
}

// A decode step from its ids, or the hidden states that arrived, to hidden states or logits.
Status StepExecutor::compute_recorded(const step::StepHeader& header, const TensorView& x,
                                      StepContext& context) {
  if (!in_.rank.first_stage) TRY(stages_->receive(header, x, context));
  const auto work = [&](const Batch& batch) -> Status {
    const TensorView rows = x_.view.rows(0, batch.n_tokens());
    if (in_.rank.first_stage) TRY(in_.model.embed(batch, rows, context));
    TRY(in_.model.run_layers(batch, in_.kv, rows, context));
    if (!in_.rank.last_stage) return {};
    in_.model.compute_logits(rows, logits_.view.rows(0, batch.n_tokens()), context);
    return {};
  };
  TRY(graphs_->run(batch_, work, context));
  timing_.n_graphs = graphs_->counts().n_graphs;
  timing_.graph_bytes = graphs_->counts().bytes;
  return {};
}

bool StepExecutor::tells_expert_load(const step::StepHeader& header) const {
  return header.step.value() % kExpertLoadPeriod == 0 && in_.model.expert_starts().defined();
}

// Ranks with the same experts in slices route alike: the first one tells.
void StepExecutor::read_expert_load(StepContext& context) {
  const TensorView starts = in_.model.expert_starts();
  const bool in_slices = in_.rank.expert_columns.size() < in_.spec.moe->width;
  if (in_slices && in_.rank.tp_rank != 0) return;
  expert_starts_.resize(static_cast<size_t>(starts.numel()));
  in_.backend.copy_to_host(expert_starts_.data(), starts.data, starts.bytes(), context.stream);
  in_.backend.synchronize(context.stream);
  expert_load_.first_expert = static_cast<int32_t>(in_.rank.experts.begin);
  for (int64_t i = in_.rank.layers.begin; i < in_.rank.layers.end; ++i) {
    if (in_.spec.layers[static_cast<size_t>(i)].moe) {
      expert_load_.layers.push_back(static_cast<int32_t>(i));
    }
  }
  const auto n_starts = static_cast<size_t>(starts.dim(1));
  for (size_t layer = 0; layer < expert_load_.layers.size(); ++layer) {
    const int32_t* of_layer = expert_starts_.data() + layer * n_starts;
    for (size_t e = 0; e + 1 < n_starts; ++e) {
      expert_load_.rows.push_back(of_layer[e + 1] - of_layer[e]);
    }
  }
}

Status StepExecutor::agree(const step::StepHeader& header, StepContext& context) {
  if (tp_exchange_.size() == 1) return {};
  const HeaderWords mine = words_of(header, static_cast<int64_t>(batch_.ids.size()));
  mine_.resize(sizeof(mine));
  std::memcpy(mine_.data(), mine.data(), sizeof(mine));
  TRY(tp_exchange_.all_gather(mine_, all_, "step header all_gather", context));
  for (int rank = 0; rank < tp_exchange_.size(); ++rank) {
    HeaderWords theirs;
    std::memcpy(theirs.data(), all_.data() + static_cast<size_t>(rank) * sizeof(theirs),
                sizeof(theirs));
    if (theirs != mine) {
      return failed_precondition(fmt::format("tp rank {} is at {}, tp rank {} at {}", rank,
                                             header_text(theirs), in_.rank.tp_rank,
                                             header_text(mine)));
    }
  }
  return {};
}

void StepExecutor::prepare_sampling(const TensorView& x, bool has_logits, StepContext& context) {
  row_ids_.clear();
  requests_.clear();
  for (const LogitsRow& row : batch_.logits_rows) {
    const Sequence& sequence = *row.sequence;
    row_ids_.push_back(row.batch_row);
    RowRequest request;
    request.params = &sequence.sampling;
    request.counts = &sequence.counts;
    request.n_outputs = sequence.n_outputs();
    request.position = int64_t{row.position} + 1;
    request.token = row.sample ? -1 : sequence.tokens[static_cast<size_t>(row.position) + 1];
    request.n_logprobs = row.sample ? sequence.sampling.n_logprobs
                                    : std::max(0, sequence.sampling.n_prompt_logprobs);
    requests_.push_back(request);
  }
  if (has_logits || requests_.empty()) return;
  // Only the rows that somebody asked for go through norm and head.
  const auto n_rows = static_cast<int64_t>(requests_.size());
  const TensorView rows = rows_.view.rows(0, n_rows);
  in_.backend.copy_to_device(rows.data, row_ids_.data(), rows.bytes(), context.stream);
  const TensorView x_logits = x_logits_.view.rows(0, n_rows);
  in_.backend.gather_rows({.x = x, .rows = rows, .out = x_logits}, context.stream);
  in_.model.compute_logits(x_logits, logits_.view.rows(0, n_rows), context);
}

Status StepExecutor::sample(StepContext& context) {
  const auto n_rows = static_cast<int64_t>(requests_.size());
  if (n_rows == 0) return {};
  context.op = "sampling";
  const TensorView logits = logits_.view.rows(0, n_rows);
  if (in_.logits_observer) {
    observed_.resize(static_cast<size_t>(logits.numel()));
    in_.backend.copy_to_host(observed_.data(), logits.data, logits.bytes(), context.stream);
    in_.backend.synchronize(context.stream);
    in_.logits_observer(context.step, observed_.data(), n_rows, logits.dim(1));
  }
  TRY(sampler_->run(logits, requests_, outcomes_, context));
  for (size_t row = 0; row < outcomes_.size(); ++row) {
    const LogitsRow& of = batch_.logits_rows[row];
    if (of.sample) table_.note_sample(of.sequence->id, outcomes_[row].token);
  }
  return {};
}

// The hidden states are the same on every rank of the stage: one of them pools.
void StepExecutor::embed(const TensorView& x, StepContext& context) {
  embeddings_.clear();
  if (batch_.embedded.empty() || in_.rank.tp_rank != 0) return;
  context.op = "pooling";
  const auto width = static_cast<size_t>(in_.spec.hidden);
  embedded_rows_.resize(static_cast<size_t>(x.dim(0)) * width);
  in_.backend.copy_to_host(embedded_rows_.data(), x.data, x.bytes(), context.stream);
  in_.backend.synchronize(context.stream);
  for (const EmbeddedRows& rows : batch_.embedded) {
    const float* first = embedded_rows_.data() + static_cast<size_t>(rows.first_row) * width;
    embeddings_.push_back(pool_rows(first, rows.n_rows, in_.spec.hidden, *in_.spec.encoder));
  }
}

step::StepResult StepExecutor::collect(const step::StepPlan& plan) {
  step::StepResult result;
  result.header = plan.header;
  size_t row = 0;
  size_t n_embedded = 0;
  for (const step::SequenceSpan& span : plan.spans) {
    if (!span.sample && !span.embed && span.n_logprob_positions == 0) continue;
    step::SequenceOutput output;
    output.id = span.id;
    if (span.embed) output.embedding = std::move(embeddings_.at(n_embedded++));
    for (int32_t i = 0; i < span.n_logprob_positions; ++i) {
      output.prompt_logprobs.push_back(std::move(outcomes_[row++].logprobs));
    }
    if (span.sample) {
      RowOutcome& outcome = outcomes_[row];
      output.token = outcome.token;
      if (requests_[row].n_logprobs >= 0) output.logprobs.push_back(std::move(outcome.logprobs));
      ++row;
    }
    result.outputs.push_back(std::move(output));
  }
  return result;
}

}  // namespace trireme::worker
