#include "worker/host_exchange.h"

namespace trireme::worker {

Status HostExchange::reserve(size_t bytes) {
  if (send_ != nullptr && send_->bytes() >= bytes) return {};
  const size_t capacity = bytes < 4096 ? 4096 : bytes + bytes / 2;
  ASSIGN_OR_RETURN(send_, backend_.allocate(capacity));
  ASSIGN_OR_RETURN(receive_, backend_.allocate(capacity * static_cast<size_t>(group_.size())));
  return {};
}

Status HostExchange::all_gather(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                                std::string_view op, StepContext& context) {
  if (group_.size() == 1) {
    all = mine;
    return {};
  }
  const ScopedTime time(*context.clock, context.collective_ns);
  if (!on_host_) return gather_on_device(mine, all, op, context);
  const comm::OpContext over_host = context.begin(op);
  TRY(device_group_.check_enqueued(over_host));
  record_ = mine;
  all.resize(mine.size() * static_cast<size_t>(group_.size()));
  const auto n = static_cast<int64_t>(mine.size());
  return group_.all_gather(TensorView(record_.data(), DType::kU8, {n}),
                           TensorView(all.data(), DType::kU8, {n * group_.size()}), over_host);
}

Status HostExchange::gather_on_device(const std::vector<std::byte>& mine,
                                      std::vector<std::byte>& all, std::string_view op,
                                      StepContext& context) {
  TRY(reserve(mine.size()));
  const auto n = static_cast<int64_t>(mine.size());
  backend_.copy_to_device(send_->data(), mine.data(), mine.size(), context.stream);
  const TensorView send(send_->data(), DType::kU8, {n});
  const TensorView receive(receive_->data(), DType::kU8, {n * group_.size()});
  TRY(group_.all_gather(send, receive, context.begin(op)));
  all.resize(receive.bytes());
  backend_.copy_to_host(all.data(), receive.data, receive.bytes(), context.stream);
  backend_.synchronize(context.stream);
  return {};
}

}  // namespace trireme::worker
