#include "worker/step_executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "worker/pooling.h"

namespace trireme::worker {
namespace {

// One step of so many tells of its experts' load: it costs a copy from the device and a message of
// a number per layer and expert.
constexpr uint64_t kExpertLoadPeriod = 16;

// After a step that began with a wrong guess, so many are begun one by one, and twice as many each
// time that guesses fail again soon: one that fails costs a step, and one that holds saves about a
// hundredth of it.
constexpr uint64_t kFirstWait = 64;
constexpr uint64_t kLongestWait = 8192;
constexpr uint64_t kSoon = 256;  // steps begun ahead

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
  ASSIGN_OR_RETURN(x_, allocate_tensor(backend, DType::kF32, {n, in_.spec.hidden}));
  for (Flight& flight : flights_) flight.enqueued = backend.make_marker();
  TRY(allocate_sampling());
  const TensorView samples = sampler_ != nullptr ? sampler_->device_tokens() : TensorView();
  TRY(device_batch_.allocate(backend,
                             {.n_tokens = n,
                              .n_seqs = n,
                              .table_width = 1,
                              .n_groups = static_cast<int64_t>(in_.limits.kv_groups.size()),
                              .rope_sets = in_.limits.has_rope_sets()},
                             samples));
  ASSIGN_OR_RETURN(StageLink stages, StageLink::create(backend, in_.mesh, in_.stage_link));
  stages_.emplace(std::move(stages));
  if (!in_.decode_graphs || !in_.mesh.tp->can_record() || in_.spec.encoder) return {};
  ASSIGN_OR_RETURN(
      graphs_,
      DecodeGraphs::create({.backend = backend,
                            .tp = *in_.mesh.tp,
                            .exchange = tp_exchange_,
                            .limits = in_.limits,
                            .spare_block = static_cast<int32_t>(in_.limits.n_blocks),
                            .max_rows = std::min({kMaxRecordedRows, n, in_.limits.max_logits_rows}),
                            .samples = samples}));
  return {};
}

Status StepExecutor::allocate_sampling() {
  if (!in_.rank.last_stage || in_.spec.encoder) return {};
  kernels::Backend& backend = in_.backend;
  const int64_t n_rows = in_.limits.max_logits_rows;
  ASSIGN_OR_RETURN(rows_, allocate_tensor(backend, DType::kI32, {n_rows}));
  ASSIGN_OR_RETURN(x_logits_, allocate_tensor(backend, DType::kF32, {n_rows, in_.spec.hidden}));
  ASSIGN_OR_RETURN(logits_, allocate_tensor(backend, DType::kF32, {n_rows, in_.rank.vocab_padded}));
  // A step ahead of its samples: where one stage does it all, and nobody looks at logits.
  const bool ahead = in_.steps_ahead && in_.rank.first_stage && !in_.logits_observer;
  ASSIGN_OR_RETURN(sampler_, Sampler::create(backend, tp_exchange_, in_.rank,
                                             {.vocab = in_.spec.vocab,
                                              .max_rows = n_rows,
                                              .on_device = in_.scan_on_device,
                                              .tokens_of = ahead ? in_.mesh.tp.get() : nullptr}));
  for (Flight& flight : flights_) {
    ASSIGN_OR_RETURN(flight.asked, sampler_->make_asked());
  }
  return {};
}

Result<std::optional<step::StepResult>> StepExecutor::execute(const step::StepPlan& plan) {
  TRY(begin(plan));
  return finish();
}

Status StepExecutor::begin(step::StepPlan plan) {
  CHECK(n_in_flight() == 0 || may_begin_next());
  const int64_t now_ns = in_.clock.now_ns();
  const int64_t own_ns = plan.deadline_ns > 0 ? plan.deadline_ns : in_.default_deadline_ns;
  Flight& flight = flight_of(n_begun_);
  flight.plan = std::move(plan);
  flight.n_ahead = n_in_flight() > 0 ? 1 : 0;
  flight.n_redone = 0;
  flight.context = {};
  flight.context.backend = &in_.backend;
  flight.context.clock = &in_.clock;
  flight.context.step = flight.plan.header.step;
  flight.context.start_ns = now_ns;
  // Behind another step it has little more, so that what never ends is told before the coordinator,
  // who waits for an eighth, has to guess.
  flight.context.deadline_ns = now_ns + own_ns + (n_in_flight() == 0 ? 0 : own_ns / 16);
  Status started = start(flight);
  if (started.ok()) {
    ++n_begun_;
    n_ahead_since_ += static_cast<uint64_t>(flight.n_ahead);
  } else {
    note_failure(flight, started.error());
    if (n_in_flight() == 0) in_.mesh.abort(failure_);
  }
  return started;
}

Result<std::optional<step::StepResult>> StepExecutor::finish() {
  CHECK_GT(n_in_flight(), 0u);
  Flight& flight = flight_of(n_finished_);
  const StepContext& context = flight.context;
  auto result = conclude(flight);
  const int64_t start_ns = std::max(context.start_ns, finished_ns_);
  finished_ns_ = in_.clock.now_ns();
  timing_.collective_ns = context.collective_ns;
  timing_.wait_upstream_ns = context.wait_upstream_ns;
  timing_.wait_downstream_ns = context.wait_downstream_ns;
  // What was waited for while the step before was under way is no part of the time since.
  timing_.compute_ns =
      std::max<int64_t>(0, finished_ns_ - start_ns - context.collective_ns -
                               context.wait_upstream_ns - context.wait_downstream_ns);
  timing_.n_ahead = flight.n_ahead;
  timing_.n_redone = flight.n_redone;
  ++n_finished_;
  if (!result.ok()) note_failure(flight, result.error());
  // Also of the step behind, which could not begin while this one needed the groups.
  if (broken_) in_.mesh.abort(failure_);
  return result;
}

void StepExecutor::note_failure(const Flight& flight, const Error& error) {
  if (broken_) return;
  broken_ = true;
  last_op_ = flight.context.op;
  failure_ = fmt::format("rank {} failed in step {} ({}): {}", in_.rank.worker_rank,
                         flight.plan.header.step.value(), flight.context.op, error.message);
}

bool StepExecutor::may_begin_next() const {
  if (n_in_flight() != 1 || broken_ || n_begun_ < waits_until_) return false;
  const Flight& flight = flight_of(n_finished_);
  return sampler_ != nullptr && sampler_->device_tokens().defined() &&
         !tells_expert_load(flight.plan.header) &&
         (flight.requests.empty() || flight.asked.is_told());
}

Result<bool> StepExecutor::all_would_begin(bool mine) {
  if (tp_exchange_.size() == 1) return mine;
  Flight& flight = flight_of(n_finished_);
  const Status gathered =
      tp_exchange_.all_gather({std::byte{mine}}, all_, "next step all_gather", flight.context);
  if (!gathered.ok()) {
    note_failure(flight, gathered.error());
    in_.mesh.abort(failure_);
    return gathered.error();
  }
  return std::ranges::none_of(all_, [](std::byte would) { return would == std::byte{0}; });
}

bool StepExecutor::is_device_done() const {
  return n_in_flight() == 0 || in_.backend.is_reached(*flight_of(n_finished_).enqueued);
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

Status StepExecutor::start(Flight& flight) {
  TRY(check_header(flight.plan));
  TRY(table_.apply(flight.plan, flight.batch));
  TRY(agree(flight.plan.header, flight.batch, flight.context));
  list_rows(flight);
  if (n_in_flight() > 0) keep_logits(flight_of(n_finished_));
  TRY(enqueue(flight));
  if (!flight.requests.empty() && flight.asked.is_told()) {
    for (size_t row = 0; row < flight.requests.size(); ++row) {
      table_.expect_sample(flight.batch.logits_rows[row].sequence->id, static_cast<int32_t>(row));
    }
  }
  return {};
}

Status StepExecutor::enqueue(Flight& flight) {
  const auto n_tokens = static_cast<int64_t>(flight.batch.ids.size());
  if (n_tokens > 0) {
    const TensorView x = x_.view.rows(0, n_tokens);
    const bool recorded = graphs_ != nullptr && !tells_expert_load(flight.plan.header) &&
                          graphs_->takes(flight.batch, in_.rank.last_stage);
    if (recorded) {
      TRY(compute_recorded(flight, x));
    } else {
      TRY(compute(flight, x));
    }
    if (!flight.requests.empty()) {
      const TensorView logits = logits_of(flight, x, recorded);
      TRY(sampler_->ask(logits, flight.requests, flight.asked, flight.context));
    }
  }
  in_.backend.mark(*flight.enqueued, flight.context.stream);
  return {};
}

Result<std::optional<step::StepResult>> StepExecutor::conclude(Flight& flight) {
  expert_load_ = {};
  const auto n_tokens = static_cast<int64_t>(flight.batch.ids.size());
  const step::StepHeader& header = flight.plan.header;
  if (n_tokens > 0) {
    const TensorView x = x_.view.rows(0, n_tokens);
    if (tells_expert_load(header)) read_expert_load(flight.context);
    if (in_.rank.last_stage) {
      TRY(sample(flight));
      embed(flight, x, flight.context);
    } else {
      TRY(stages_->send(header, x, flight.context));
    }
  }
  if (!in_.rank.last_stage || in_.rank.tp_rank != 0) return std::optional<step::StepResult>();
  return std::optional<step::StepResult>(collect(flight));
}

Status StepExecutor::compute(Flight& flight, const TensorView& x) {
  StepContext& context = flight.context;
  ASSIGN_OR_RETURN(const Batch batch, device_batch_.upload(flight.batch, context));
  if (in_.rank.first_stage) {
    TRY(in_.model.embed(batch, x, context));
  } else {
    TRY(stages_->receive(flight.plan.header, x, context));
  }
  return in_.model.run_layers(batch, in_.kv, x, context);
}

// A decode step from its ids, or the hidden states that arrived, to hidden states or logits.
Status StepExecutor::compute_recorded(Flight& flight, const TensorView& x) {
  StepContext& context = flight.context;
  if (!in_.rank.first_stage) TRY(stages_->receive(flight.plan.header, x, context));
  const auto work = [&](const Batch& batch) -> Status {
    const TensorView rows = x_.view.rows(0, batch.n_tokens());
    if (in_.rank.first_stage) TRY(in_.model.embed(batch, rows, context));
    TRY(in_.model.run_layers(batch, in_.kv, rows, context));
    if (!in_.rank.last_stage) return {};
    in_.model.compute_logits(rows, logits_.view.rows(0, batch.n_tokens()), context);
    return {};
  };
  TRY(graphs_->run(flight.batch, work, context));
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

Status StepExecutor::agree(const step::StepHeader& header, const HostBatch& batch,
                           StepContext& context) {
  if (tp_exchange_.size() == 1) return {};
  const HeaderWords mine = words_of(header, static_cast<int64_t>(batch.ids.size()));
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

void StepExecutor::list_rows(Flight& flight) const {
  flight.row_ids.clear();
  flight.requests.clear();
  if (!in_.rank.last_stage) return;
  for (const LogitsRow& row : flight.batch.logits_rows) {
    const Sequence& sequence = *row.sequence;
    flight.row_ids.push_back(row.batch_row);
    RowRequest request;
    request.params = &sequence.sampling;
    request.counts = &sequence.counts;
    request.n_outputs = sequence.n_outputs();
    request.position = int64_t{row.position} + 1;
    request.token = row.sample ? -1 : sequence.tokens[static_cast<size_t>(row.position) + 1];
    request.n_logprobs = row.sample ? sequence.sampling.n_logprobs
                                    : std::max(0, sequence.sampling.n_prompt_logprobs);
    flight.requests.push_back(request);
  }
}

TensorView StepExecutor::logits_of(Flight& flight, const TensorView& x, bool has_logits) {
  const auto n_rows = static_cast<int64_t>(flight.requests.size());
  const TensorView logits = logits_.view.rows(0, n_rows);
  if (has_logits) return logits;
  // Only the rows that somebody asked for go through norm and head.
  StepContext& context = flight.context;
  const TensorView rows = rows_.view.rows(0, n_rows);
  in_.backend.copy_to_device(rows.data, flight.row_ids.data(), rows.bytes(), context.stream);
  const TensorView x_logits = x_logits_.view.rows(0, n_rows);
  in_.backend.gather_rows({.x = x, .rows = rows, .out = x_logits}, context.stream);
  in_.model.compute_logits(x_logits, logits, context);
  return logits;
}

// Of the step before: the next one's take their place.
void StepExecutor::keep_logits(Flight& flight) {
  if (flight.requests.empty()) return;
  const TensorView logits = logits_.view.rows(0, static_cast<int64_t>(flight.requests.size()));
  sampler_->keep(logits, flight.requests, flight.asked, flight.context);
}

Status StepExecutor::sample(Flight& flight) {
  const auto n_rows = static_cast<int64_t>(flight.requests.size());
  if (n_rows == 0) return {};
  StepContext& context = flight.context;
  context.op = "sampling";
  const TensorView logits = logits_.view.rows(0, n_rows);
  if (in_.logits_observer) {
    observed_.resize(static_cast<size_t>(logits.numel()));
    in_.backend.copy_to_host(observed_.data(), logits.data, logits.bytes(), context.stream);
    in_.backend.synchronize(context.stream);
    in_.logits_observer(context.step, observed_.data(), n_rows, logits.dim(1));
  }
  TRY(sampler_->decide(logits, flight.requests, flight.asked, flight.outcomes, context));
  for (size_t row = 0; row < flight.outcomes.size(); ++row) {
    const LogitsRow& of = flight.batch.logits_rows[row];
    if (of.sample) table_.note_sample(of.sequence->id, flight.outcomes[row].token);
  }
  if (n_in_flight() < 2) return {};
  return confirm(flight, flight_of(n_finished_ + 1));
}

Status StepExecutor::confirm(const Flight& flight, Flight& next) {
  const std::span<const int32_t> told = flight.asked.told_tokens();
  bool as_told = true;
  for (size_t row = 0; row < next.batch.id_sources.size(); ++row) {
    if (next.batch.id_sources[row] < 0) continue;
    const auto source = static_cast<size_t>(next.batch.id_sources[row]);
    next.batch.ids[row] = flight.outcomes[source].token;
    as_told = as_told && told[source] == flight.outcomes[source].token;
  }
  next.batch.id_sources.clear();
  if (as_told) return {};
  // Its positions are computed again; what the guess left there is written over.
  const bool soon = n_ahead_since_ < kSoon;
  wait_ = wait_ == 0 || !soon ? kFirstWait : std::min(2 * wait_, kLongestWait);
  waits_until_ = n_begun_ + wait_;
  n_ahead_since_ = 0;
  ++next.n_redone;
  return enqueue(next);
}

// The hidden states are the same on every rank of the stage: one of them pools.
void StepExecutor::embed(const Flight& flight, const TensorView& x, StepContext& context) {
  embeddings_.clear();
  if (flight.batch.embedded.empty() || in_.rank.tp_rank != 0) return;
  context.op = "pooling";
  const auto width = static_cast<size_t>(in_.spec.hidden);
  embedded_rows_.resize(static_cast<size_t>(x.dim(0)) * width);
  in_.backend.copy_to_host(embedded_rows_.data(), x.data, x.bytes(), context.stream);
  in_.backend.synchronize(context.stream);
  for (const EmbeddedRows& rows : flight.batch.embedded) {
    const float* first = embedded_rows_.data() + static_cast<size_t>(rows.first_row) * width;
    embeddings_.push_back(pool_rows(first, rows.n_rows, in_.spec.hidden, *in_.spec.encoder));
  }
}

step::StepResult StepExecutor::collect(Flight& flight) {
  const step::StepPlan& plan = flight.plan;
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
      output.prompt_logprobs.push_back(std::move(flight.outcomes[row++].logprobs));
    }
    if (span.sample) {
      RowOutcome& outcome = flight.outcomes[row];
      output.token = outcome.token;
      if (flight.requests[row].n_logprobs >= 0)
        output.logprobs.push_back(std::move(outcome.logprobs));
      ++row;
    }
    result.outputs.push_back(std::move(output));
  }
  return result;
}

}  // namespace trireme::worker
