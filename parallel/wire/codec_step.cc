// The codec of the step link: see codec.h.
#include <fmt/format.h>

#include <utility>

#include "parallel/wire/codec.h"
#include "parallel/wire/limits.h"
#include "parallel/wire/pb_convert.h"

namespace trireme::wire {
namespace {

using step::RankCommand;
using step::RankEvent;

void put_header(const step::StepHeader& from, pb::StepHeader* to) {
  to->set_epoch(from.epoch);
  to->set_step(from.step.value());
  to->set_shape_hash(from.shape_hash);
}
step::StepHeader take_header(const pb::StepHeader& from) {
  return {from.epoch(), StepId(from.step()), from.shape_hash()};
}

// ---- coordinator to rank ----

void put(const step::SetKvBlocks& from, pb::RankCommand* message) {
  message->mutable_set_kv_blocks()->set_n_blocks(from.n_blocks);
}
void put(const step::Shutdown& from, pb::RankCommand* message) {
  message->mutable_shutdown()->set_reason(clean_sentence(from.reason));
}

void put_spans(const std::vector<step::SequenceSpan>& from, pb::Spans* to) {
  const int n = static_cast<int>(from.size());
  to->mutable_id()->Reserve(n);
  to->mutable_first_position()->Reserve(n);
  to->mutable_n_tokens()->Reserve(n);
  to->mutable_token()->Reserve(n);
  to->mutable_sample()->Reserve(n);
  to->mutable_n_new_blocks()->Reserve(n);
  bool any_logprobs = false;
  bool any_embeds = false;
  for (const step::SequenceSpan& span : from) {
    to->add_id(span.id.value());
    to->add_first_position(span.first_position);
    to->add_n_tokens(span.n_tokens);
    to->add_token(span.token);
    to->add_sample(span.sample);
    to->add_n_new_blocks(static_cast<uint32_t>(span.new_blocks.size()));
    for (const BlockId block : span.new_blocks) to->add_new_block(block.value());
    any_logprobs |= span.n_logprob_positions != 0 || span.first_logprob_position != 0;
    any_embeds |= span.embed;
  }
  // Rare: these columns are either complete or absent.
  if (any_embeds) {
    for (const step::SequenceSpan& span : from) to->add_embed(span.embed);
  }
  if (!any_logprobs) return;
  for (const step::SequenceSpan& span : from) {
    to->add_first_logprob_position(span.first_logprob_position);
    to->add_n_logprob_positions(span.n_logprob_positions);
  }
}

Status check_span_columns(const pb::Spans& from) {
  const int n = from.id_size();
  const int n_logprob_rows = from.n_logprob_positions_size();
  uint64_t n_blocks = 0;
  for (const uint32_t count : from.n_new_blocks()) n_blocks += count;
  if (from.first_position_size() != n || from.n_tokens_size() != n || from.token_size() != n ||
      from.sample_size() != n || from.n_new_blocks_size() != n ||
      n_blocks != static_cast<uint64_t>(from.new_block_size()) ||
      from.first_logprob_position_size() != n_logprob_rows ||
      (n_logprob_rows != 0 && n_logprob_rows != n) ||
      (from.embed_size() != 0 && from.embed_size() != n)) {
    return data_loss("the columns of a plan's spans differ in length");
  }
  if (static_cast<size_t>(n) > kMaxSequencesPerStep) {
    return resource_exhausted(
        fmt::format("{} spans in one step; the limit is {}", n, kMaxSequencesPerStep));
  }
  return {};
}

Result<std::vector<step::SequenceSpan>> take_spans(const pb::Spans& from) {
  TRY(check_span_columns(from));
  std::vector<step::SequenceSpan> to(static_cast<size_t>(from.id_size()));
  int block = 0;
  for (int i = 0; i < from.id_size(); ++i) {
    step::SequenceSpan& span = to[static_cast<size_t>(i)];
    span.id = SequenceId(from.id(i));
    span.first_position = from.first_position(i);
    span.n_tokens = from.n_tokens(i);
    span.token = from.token(i);
    span.sample = from.sample(i);
    span.embed = from.embed_size() != 0 && from.embed(i);
    span.new_blocks.resize(from.n_new_blocks(i));
    for (BlockId& id : span.new_blocks) id = BlockId(from.new_block(block++));
    if (from.n_logprob_positions_size() != 0) {
      span.first_logprob_position = from.first_logprob_position(i);
      span.n_logprob_positions = from.n_logprob_positions(i);
    }
  }
  return to;
}

void put(const step::StepPlan& from, pb::RankCommand* message) {
  pb::StepPlan* to = message->mutable_step_plan();
  put_header(from.header, to->mutable_header());
  to->set_deadline_ns(from.deadline_ns);
  for (const SequenceId id : from.releases) to->add_releases(id.value());
  for (const step::SequenceStart& start : from.starts) {
    pb::SequenceStart* start_to = to->add_starts();
    start_to->set_id(start.id.value());
    wire::put(start_to->mutable_tokens(), start.tokens);
    start_to->set_n_prompt(start.n_prompt);
    put_sampling(start.sampling, start_to->mutable_sampling());
  }
  put_spans(from.spans, to->mutable_spans());
  for (const int32_t n : from.n_group_blocks) {
    to->mutable_spans()->add_n_group_blocks(static_cast<uint32_t>(n));
  }
}

Result<step::StepPlan> take_plan(const pb::StepPlan& from) {
  step::StepPlan to;
  to.header = take_header(from.header());
  to.deadline_ns = from.deadline_ns();
  to.releases.reserve(static_cast<size_t>(from.releases_size()));
  for (const uint64_t id : from.releases()) to.releases.emplace_back(id);
  to.starts.resize(static_cast<size_t>(from.starts_size()));
  for (int i = 0; i < from.starts_size(); ++i) {
    step::SequenceStart& start = to.starts[static_cast<size_t>(i)];
    start.id = SequenceId(from.starts(i).id());
    start.tokens = take(from.starts(i).tokens());
    start.n_prompt = from.starts(i).n_prompt();
    ASSIGN_OR_RETURN(start.sampling, take_sampling(from.starts(i).sampling()));
  }
  ASSIGN_OR_RETURN(to.spans, take_spans(from.spans()));
  for (const uint32_t n : from.spans().n_group_blocks()) {
    to.n_group_blocks.push_back(static_cast<int32_t>(n));
  }
  return to;
}

Result<RankCommand> take_message(const pb::RankCommand& from) {
  switch (from.kind_case()) {
    case pb::RankCommand::kSetKvBlocks:
      return RankCommand(step::SetKvBlocks{from.set_kv_blocks().n_blocks()});
    case pb::RankCommand::kStepPlan: {
      ASSIGN_OR_RETURN(step::StepPlan plan, take_plan(from.step_plan()));
      return RankCommand(std::move(plan));
    }
    case pb::RankCommand::kShutdown:
      return RankCommand(step::Shutdown{clean_sentence(from.shutdown().reason())});
    case pb::RankCommand::KIND_NOT_SET:
      break;
  }
  return invalid_argument("a command of an unknown kind from the coordinator");
}

// ---- rank to coordinator ----

void put(const step::LoadProgress& from, pb::RankEvent* message) {
  pb::LoadProgress* to = message->mutable_load_progress();
  to->set_worker_rank(from.worker_rank);
  to->set_bytes_done(from.bytes_done);
  to->set_bytes_total(from.bytes_total);
}

void put(const step::RankReady& from, pb::RankEvent* message) {
  pb::RankReady* to = message->mutable_rank_ready();
  to->set_worker_rank(from.worker_rank);
  to->set_n_kv_blocks(from.n_kv_blocks);
  to->set_weight_bytes(from.weight_bytes);
  to->set_load_ns(from.load_ns);
  to->set_startup_comm_ns(from.startup_comm_ns);
  to->set_device(clean_sentence(from.device));
}

step::RankReady take_ready(const pb::RankReady& from) {
  step::RankReady to;
  to.worker_rank = from.worker_rank();
  to.n_kv_blocks = from.n_kv_blocks();
  to.weight_bytes = from.weight_bytes();
  to.load_ns = from.load_ns();
  to.startup_comm_ns = from.startup_comm_ns();
  to.device = clean_sentence(from.device());
  return to;
}

void put(const step::StepResult& from, pb::RankEvent* message) {
  pb::StepResult* to = message->mutable_step_result();
  put_header(from.header, to->mutable_header());
  const bool any_embedding =
      std::any_of(from.outputs.begin(), from.outputs.end(),
                  [](const step::SequenceOutput& output) { return !output.embedding.empty(); });
  for (const step::SequenceOutput& output : from.outputs) {
    to->add_id(output.id.value());
    to->add_token(output.token);
    to->add_n_logprobs(static_cast<uint32_t>(output.logprobs.size()));
    to->add_n_prompt_logprobs(static_cast<uint32_t>(output.prompt_logprobs.size()));
    if (!output.logprobs.empty()) put_logprobs(output.logprobs, to->mutable_logprobs());
    if (!output.prompt_logprobs.empty()) {
      put_logprobs(output.prompt_logprobs, to->mutable_prompt_logprobs());
    }
    if (!any_embedding) continue;
    to->add_n_embedding(static_cast<uint32_t>(output.embedding.size()));
    to->mutable_embedding()->Add(output.embedding.begin(), output.embedding.end());
  }
}

Result<step::StepResult> take_result(const pb::StepResult& from) {
  const int n = from.id_size();
  uint64_t n_logprobs = 0;
  uint64_t n_prompt_logprobs = 0;
  for (const uint32_t count : from.n_logprobs()) n_logprobs += count;
  for (const uint32_t count : from.n_prompt_logprobs()) n_prompt_logprobs += count;
  uint64_t n_embedding = 0;
  for (const uint32_t count : from.n_embedding()) n_embedding += count;
  if (from.token_size() != n || from.n_logprobs_size() != n || from.n_prompt_logprobs_size() != n ||
      n_logprobs != static_cast<uint64_t>(from.logprobs().token_size()) ||
      n_prompt_logprobs != static_cast<uint64_t>(from.prompt_logprobs().token_size()) ||
      (from.n_embedding_size() != 0 && from.n_embedding_size() != n) ||
      n_embedding != static_cast<uint64_t>(from.embedding_size())) {
    return data_loss("the columns of a step's outputs differ in length");
  }
  if (static_cast<size_t>(n) > kMaxSequencesPerStep) {
    return resource_exhausted(
        fmt::format("{} outputs in one step; the limit is {}", n, kMaxSequencesPerStep));
  }
  TRY(check_logprobs(from.logprobs()));
  TRY(check_logprobs(from.prompt_logprobs()));
  step::StepResult to;
  to.header = take_header(from.header());
  to.outputs.resize(static_cast<size_t>(n));
  int row = 0, top = 0, prompt_row = 0, prompt_top = 0, number = 0;
  for (int i = 0; i < n; ++i) {
    step::SequenceOutput& output = to.outputs[static_cast<size_t>(i)];
    output.id = SequenceId(from.id(i));
    output.token = from.token(i);
    const int n_rows = static_cast<int>(from.n_logprobs(i));
    const int n_prompt_rows = static_cast<int>(from.n_prompt_logprobs(i));
    output.logprobs = take_logprobs(from.logprobs(), row, n_rows, &top);
    output.prompt_logprobs =
        take_logprobs(from.prompt_logprobs(), prompt_row, n_prompt_rows, &prompt_top);
    row += n_rows;
    prompt_row += n_prompt_rows;
    if (from.n_embedding_size() == 0) continue;
    const int end = number + static_cast<int>(from.n_embedding(i));
    output.embedding.assign(from.embedding().begin() + number, from.embedding().begin() + end);
    number = end;
  }
  return to;
}

void put(const step::StepTimings& from, pb::RankEvent* message) {
  pb::StepTimings* to = message->mutable_step_timings();
  to->set_step(from.step.value());
  to->set_worker_rank(from.timing.worker_rank);
  to->set_compute_ns(from.timing.compute_ns);
  to->set_collective_ns(from.timing.collective_ns);
  to->set_wait_upstream_ns(from.timing.wait_upstream_ns);
  to->set_wait_downstream_ns(from.timing.wait_downstream_ns);
  to->set_n_graphs(from.timing.n_graphs);
  to->set_graph_bytes(from.timing.graph_bytes);
  to->set_n_ahead(from.timing.n_ahead);
  to->set_n_redone(from.timing.n_redone);
  to->set_first_expert(from.experts.first_expert);
  wire::put(to->mutable_expert_layer(), from.experts.layers);
  wire::put(to->mutable_expert_rows(), from.experts.rows);
}

step::StepTimings take_timings(const pb::StepTimings& from) {
  return {.step = StepId(from.step()),
          .timing = {.worker_rank = from.worker_rank(),
                     .compute_ns = from.compute_ns(),
                     .collective_ns = from.collective_ns(),
                     .wait_upstream_ns = from.wait_upstream_ns(),
                     .wait_downstream_ns = from.wait_downstream_ns(),
                     .n_ahead = from.n_ahead(),
                     .n_redone = from.n_redone(),
                     .n_graphs = from.n_graphs(),
                     .graph_bytes = from.graph_bytes()},
          .experts = {.first_expert = from.first_expert(),
                      .layers = take(from.expert_layer()),
                      .rows = take(from.expert_rows())}};
}

void put(const step::RankFailure& from, pb::RankEvent* message) {
  pb::RankFailure* to = message->mutable_rank_failure();
  to->set_worker_rank(from.worker_rank);
  to->set_step(from.step.value());
  to->set_op(clean_sentence(from.op));
  to->set_message(clean_sentence(from.message));
}

step::RankFailure take_failure(const pb::RankFailure& from) {
  return {from.worker_rank(), StepId(from.step()), clean_sentence(from.op()),
          clean_sentence(from.message())};
}

Result<RankEvent> take_message(const pb::RankEvent& from) {
  switch (from.kind_case()) {
    case pb::RankEvent::kLoadProgress:
      return RankEvent(step::LoadProgress{from.load_progress().worker_rank(),
                                          from.load_progress().bytes_done(),
                                          from.load_progress().bytes_total()});
    case pb::RankEvent::kRankReady:
      return RankEvent(take_ready(from.rank_ready()));
    case pb::RankEvent::kStepResult: {
      ASSIGN_OR_RETURN(step::StepResult result, take_result(from.step_result()));
      return RankEvent(std::move(result));
    }
    case pb::RankEvent::kStepTimings:
      return RankEvent(take_timings(from.step_timings()));
    case pb::RankEvent::kRankFailure:
      return RankEvent(take_failure(from.rank_failure()));
    case pb::RankEvent::KIND_NOT_SET:
      break;
  }
  return invalid_argument("an event of an unknown kind from a rank");
}

}  // namespace

std::string encode(const RankCommand& message) {
  ScratchArena arena;
  auto* encoded = arena.make<pb::RankCommand>();
  std::visit([&](const auto& kind) { put(kind, encoded); }, message);
  return encoded->SerializeAsString();
}

std::string encode(const RankEvent& message) {
  ScratchArena arena;
  auto* encoded = arena.make<pb::RankEvent>();
  std::visit([&](const auto& kind) { put(kind, encoded); }, message);
  return encoded->SerializeAsString();
}

Result<RankCommand> decode_rank_command(std::string_view bytes) {
  ASSIGN_OR_RETURN(const size_t n_starts,
                   count_nested_fields(bytes, pb::RankCommand::kStepPlanFieldNumber,
                                       pb::StepPlan::kStartsFieldNumber));
  if (n_starts > kMaxSequencesPerStep) {
    return resource_exhausted(fmt::format("{} sequences start in one step; the limit is {}",
                                          n_starts, kMaxSequencesPerStep));
  }
  ScratchArena arena;
  auto* encoded = arena.make<pb::RankCommand>();
  TRY(parse_bytes(bytes, encoded));
  return checked(take_message(*encoded));
}

Result<RankEvent> decode_rank_event(std::string_view bytes) {
  ScratchArena arena;
  auto* encoded = arena.make<pb::RankEvent>();
  TRY(parse_bytes(bytes, encoded));
  return checked(take_message(*encoded));
}

}  // namespace trireme::wire
