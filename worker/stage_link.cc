#include "worker/stage_link.h"

#include <fmt/format.h>

#include "base/check.h"

namespace trireme::worker {

HeaderWords words_of(const step::StepHeader& header, int64_t n_tokens) {
  return {static_cast<int64_t>(header.epoch), static_cast<int64_t>(header.step.value()),
          static_cast<int64_t>(header.shape_hash), n_tokens};
}

std::string header_text(const HeaderWords& words) {
  return fmt::format("epoch {} step {} shape {:016x}", static_cast<uint64_t>(words[0]),
                     static_cast<uint64_t>(words[1]), static_cast<uint64_t>(words[2]));
}

std::vector<bool> boundaries_between_machines(const std::vector<uint64_t>& machines, int tp) {
  const size_t width = static_cast<size_t>(tp);
  CHECK_EQ(machines.size() % width, 0u);
  std::vector<bool> crosses(machines.size() / width - 1, false);
  for (size_t rank = 0; rank + width < machines.size(); ++rank) {
    if (machines[rank] != machines[rank + width]) crosses[rank / width] = true;
  }
  return crosses;
}

Result<StageLink> StageLink::create(kernels::Backend& backend, const comm::Mesh& mesh,
                                    StageLinkOptions options) {
  CHECK_EQ(options.between_machines.size() + 1, static_cast<size_t>(mesh.pp->size()));
  StageLink link(mesh, std::move(options));
  ASSIGN_OR_RETURN(link.header_, allocate_tensor(backend, DType::kI64, {4}));
  const auto n_bytes = static_cast<int64_t>(link.options_.max_bytes_aside);
  if (n_bytes == 0) return link;
  for (Aside& aside : link.aside_) {
    ASSIGN_OR_RETURN(aside.stream, backend.make_stream());
    ASSIGN_OR_RETURN(aside.copy, allocate_tensor(backend, DType::kU8, {n_bytes}));
  }
  return link;
}

// Alike on both sides: they have agreed on the rows.
bool StageLink::in_parts(int from_stage, const TensorView& x) const {
  return mesh_->tp->size() > 1 && options_.between_machines[static_cast<size_t>(from_stage)] &&
         x.bytes() >= options_.min_bytes_in_parts && x.numel() % mesh_->tp->size() == 0;
}

// Cut through rows where it must be.
TensorView StageLink::my_part(const TensorView& x) const {
  const int64_t n = x.numel() / mesh_->tp->size();
  return {x.as<float>() + n * mesh_->tp->rank(), x.dtype, {n}};
}

Result<HeaderWords> StageLink::receive_header(int from, StepContext& context) {
  HeaderWords words;
  const comm::OpContext op = context.begin("step header recv");
  if (comm::Group* host = mesh_->host_pp()) {
    TRY(host->recv({words.data(), DType::kI64, {4}}, from, op));
    return words;
  }
  TRY(mesh_->pp->recv(header_.view, from, op));
  context.backend->copy_to_host(words.data(), header_.view.data, sizeof(words), context.stream);
  context.backend->synchronize(context.stream);
  return words;
}

Status StageLink::send_header(HeaderWords words, int to, StepContext& context) {
  const comm::OpContext op = context.begin("step header send");
  if (comm::Group* host = mesh_->host_pp()) {
    return host->send({words.data(), DType::kI64, {4}}, to, op);
  }
  context.backend->copy_to_device(header_.view.data, words.data(), sizeof(words), context.stream);
  return mesh_->pp->send(header_.view, to, op);
}

Status StageLink::receive(const step::StepHeader& header, const TensorView& x,
                          StepContext& context) {
  const int previous = mesh_->stage() - 1;
  {
    const ScopedTime time(*context.clock, context.wait_upstream_ns);
    ASSIGN_OR_RETURN(const HeaderWords theirs, receive_header(previous, context));
    const HeaderWords mine = words_of(header, x.dim(0));
    if (theirs != mine) {
      return failed_precondition(fmt::format("stage {} sent {}, stage {} expects {}", previous,
                                             header_text(theirs), mesh_->stage(),
                                             header_text(mine)));
    }
    if (!in_parts(previous, x)) {
      return mesh_->pp->recv(x, previous, context.begin("hidden states recv"));
    }
    TRY(mesh_->pp->recv(my_part(x), previous, context.begin("hidden states recv")));
  }
  const ScopedTime time(*context.clock, context.collective_ns);
  const TensorView whole(x.data, x.dtype, {x.numel()});
  return mesh_->tp->all_gather(my_part(x), whole, context.begin("hidden states all_gather"));
}

Status StageLink::send(const step::StepHeader& header, const TensorView& x, StepContext& context) {
  context.backend->synchronize(context.stream);  // so that the wait is for the neighbour alone
  TRY(mesh_->tp->check_enqueued(context.begin("hidden states send")));
  const ScopedTime time(*context.clock, context.wait_downstream_ns);
  const int next = mesh_->stage() + 1;
  TRY(send_header(words_of(header, x.dim(0)), next, context));
  const TensorView part = in_parts(mesh_->stage(), x) ? my_part(x) : x;
  if (part.bytes() <= options_.max_bytes_aside) return send_aside(part, context);
  return mesh_->pp->send(part, next, context.begin("hidden states send"));
}

Status StageLink::send_aside(const TensorView& x, StepContext& context) {
  kernels::Backend& backend = *context.backend;
  const Aside& aside = aside_[n_aside_++ % aside_.size()];
  backend.order(aside.stream, context.stream);  // what was sent from it two steps ago has left it
  backend.copy_on_device(aside.copy.view.data, x.data, x.bytes(), context.stream);
  backend.order(context.stream, aside.stream);
  comm::OpContext op = context.begin("hidden states send");
  op.stream = aside.stream;
  return mesh_->pp->send({aside.copy.view.data, x.dtype, {x.numel()}}, mesh_->stage() + 1, op);
}

}  // namespace trireme::worker
