#include "parallel/comm/record_exchange.h"

namespace trireme::comm {

Status RecordExchange::reserve(size_t bytes) {
  if (send_ != nullptr && send_->bytes() >= bytes) return {};
  const size_t capacity = bytes < 4096 ? 4096 : bytes + bytes / 2;
  ASSIGN_OR_RETURN(send_, backend_.allocate(capacity));
  ASSIGN_OR_RETURN(receive_, backend_.allocate(capacity * static_cast<size_t>(group_.size())));
  return {};
}

Status RecordExchange::all_gather(const std::vector<std::byte>& mine, std::vector<std::byte>& all,
                                  const OpContext& context) {
  if (group_.size() == 1) {
    all = mine;
    return {};
  }
  if (host_ != nullptr) return gather_on_host(mine, all, context);
  TRY(reserve(mine.size()));
  const auto n = static_cast<int64_t>(mine.size());
  backend_.copy_to_device(send_->data(), mine.data(), mine.size(), context.stream);
  const TensorView send(send_->data(), DType::kU8, {n});
  const TensorView receive(receive_->data(), DType::kU8, {n * group_.size()});
  TRY(group_.all_gather(send, receive, context));
  all.resize(receive.bytes());
  backend_.copy_to_host(all.data(), receive.data, receive.bytes(), context.stream);
  backend_.synchronize(context.stream);
  return {};
}

Status RecordExchange::gather_on_host(const std::vector<std::byte>& mine,
                                      std::vector<std::byte>& all, const OpContext& context) {
  TRY(group_.check_enqueued(context));
  record_ = mine;
  all.resize(mine.size() * static_cast<size_t>(group_.size()));
  const auto n = static_cast<int64_t>(mine.size());
  return host_->all_gather(TensorView(record_.data(), DType::kU8, {n}),
                           TensorView(all.data(), DType::kU8, {n * group_.size()}), context);
}

}  // namespace trireme::comm
