#include "parallel/comm/mpi/mpi_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/check.h"
#include "parallel/comm/op_signature.h"
#include "parallel/comm/rank_order_sum.h"
#include "parallel/comm/shm/wait.h"

namespace trireme::comm {
namespace {

constexpr int kTagCollective = 1;
constexpr int kTagPointToPoint = 2;
constexpr int kTagAbort = 3;
constexpr size_t kPieceBytes = 1 << 20;     // largest message but for its signature
constexpr size_t kOneShotBytes = 32 << 10;  // up to here latency counts more than bytes
constexpr size_t kSignatureBytes = 64;      // a cache line keeps the payload aligned
constexpr size_t kAbortBytes = 256;
constexpr int64_t kFirstNapNs = 20'000;
constexpr int64_t kLongestNapNs = 1'000'000;

std::byte* bytes_of(const TensorView& x) { return static_cast<std::byte*>(x.data); }

}  // namespace

MpiGroup::MpiGroup(MPI_Comm comm, MpiGroupOptions options, const Clock& clock)
    : comm_(comm), options_(std::move(options)), clock_(clock) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  int level = MPI_THREAD_SINGLE;
  MPI_Query_thread(&level);
  any_thread_may_call_ = level == MPI_THREAD_MULTIPLE;
  staging_ = std::make_unique<Staging>();
  const auto n = static_cast<size_t>(size());
  staging_->out.resize(n);
  staging_->in.resize(n);
}

MpiGroup::~MpiGroup() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (broken_ || aborted_.load()) {
    // MPI may still read from or write to the staging buffers: they stay until the process ends.
    (void)staging_.release();  // NOLINT(bugprone-unused-return-value)
  } else if (finalized == 0) {
    MPI_Comm_free(&comm_);
  }
}

// ---- abort and errors

void MpiGroup::abort(std::string_view reason) {
  {
    const std::lock_guard lock(mutex_);
    if (abort_worker_ >= 0) return;  // the first reason is the cause
    abort_worker_ = worker(rank_);
    abort_reason_ = reason.substr(0, kAbortBytes);
  }
  aborted_.store(true);
  if (any_thread_may_call_) tell_peers();
}

void MpiGroup::tell_peers() {
  if (told_.exchange(true)) return;
  // Small enough to be sent without the peer's help. Nobody waits for these: the buffer and
  // requests are left to MPI.
  auto message = std::make_unique<std::array<char, kAbortBytes>>();
  message->fill('\0');
  {
    const std::lock_guard lock(mutex_);
    abort_reason_.copy(message->data(), kAbortBytes);
  }
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank_) continue;
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Isend(message->data(), static_cast<int>(kAbortBytes), MPI_CHAR, peer, kTagAbort, comm_,
              &request);
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done == 0) MPI_Request_free(&request);
  }
  (void)message.release();  // NOLINT(bugprone-unused-return-value)
}

bool MpiGroup::heard_abort() {
  if (aborted_.load()) {
    tell_peers();
    return true;
  }
  int there = 0;
  MPI_Status status;
  if (MPI_Iprobe(MPI_ANY_SOURCE, kTagAbort, comm_, &there, &status) != MPI_SUCCESS || there == 0) {
    return false;
  }
  std::array<char, kAbortBytes> message{};
  MPI_Recv(message.data(), static_cast<int>(kAbortBytes), MPI_CHAR, status.MPI_SOURCE, kTagAbort,
           comm_, MPI_STATUS_IGNORE);
  {
    const std::lock_guard lock(mutex_);
    abort_worker_ = worker(status.MPI_SOURCE);
    abort_reason_.assign(message.data(), strnlen(message.data(), kAbortBytes));
  }
  // Who aborts tells everyone, so this rank need not.
  told_.store(true);
  aborted_.store(true);
  return true;
}

std::string MpiGroup::where(const OpContext& context) const {
  return describe_op(options_.name, context);
}

Error MpiGroup::aborted(const OpContext& context) {
  const std::lock_guard lock(mutex_);
  return unavailable(fmt::format("rank {} aborted the group before {} was done: {}", abort_worker_,
                                 where(context), abort_reason_));
}

Error MpiGroup::fail(Error error) {
  broken_ = true;
  abort(error.message);
  tell_peers();
  return error;
}

Status MpiGroup::enter(const OpContext& context) {
  if (heard_abort()) return aborted(context);
  return {};
}

MpiGroup::Op MpiGroup::begin(const OpContext& context, uint64_t signature) const {
  return {context, definite_deadline(context, clock_.now_ns()), signature};
}

// ---- messages

void MpiGroup::stage(int peer, const std::byte* data, size_t bytes, const Op& op) {
  std::vector<std::byte>& buffer = staging_->out[static_cast<size_t>(peer)];
  buffer.resize(kSignatureBytes + bytes);
  std::memcpy(buffer.data(), &op.signature, sizeof(op.signature));
  if (bytes > 0) std::memcpy(buffer.data() + kSignatureBytes, data, bytes);
}

const std::byte* MpiGroup::received(int peer) const {
  return staging_->in[static_cast<size_t>(peer)].data() + kSignatureBytes;
}

void MpiGroup::post_recv(int peer, size_t bytes, int tag, Transfer& transfer) {
  std::vector<std::byte>& buffer = staging_->in[static_cast<size_t>(peer)];
  // Room for the largest piece: a peer that is out of step then shows in the signature and not in a
  // truncation.
  buffer.resize(kSignatureBytes + kPieceBytes);
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Irecv(buffer.data(), static_cast<int>(buffer.size()), MPI_BYTE, peer, tag, comm_, &request);
  transfer.requests.push_back(request);
  transfer.peers.push_back(peer);
  transfer.in_bytes.push_back(kSignatureBytes + bytes);
}

void MpiGroup::post_send(int peer, int tag, Transfer& transfer) {
  std::vector<std::byte>& buffer = staging_->out[static_cast<size_t>(peer)];
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Isend(buffer.data(), static_cast<int>(buffer.size()), MPI_BYTE, peer, tag, comm_, &request);
  transfer.requests.push_back(request);
  transfer.peers.push_back(peer);
  transfer.in_bytes.push_back(0);
}

Status MpiGroup::finish(Transfer& transfer, const Op& op) {
  const auto n = static_cast<int>(transfer.requests.size());
  std::vector<MPI_Status> statuses(transfer.requests.size());
  int code = MPI_SUCCESS;
  const auto done = [&] {
    int flag = 0;
    code = MPI_Testall(n, transfer.requests.data(), &flag, statuses.data());
    return flag != 0 || code != MPI_SUCCESS;
  };
  bool finished = spin_until(done, options_.spin_ns);
  for (int64_t nap_ns = kFirstNapNs; !finished; nap_ns = std::min(2 * nap_ns, kLongestNapNs)) {
    if (heard_abort()) {
      broken_ = true;
      return aborted(op.context);
    }
    if (clock_.now_ns() >= op.deadline_ns) {
      // The first peer whose message is missing is the one to name.
      int late = transfer.peers.front();
      for (size_t i = 0; i < transfer.requests.size(); ++i) {
        int flag = 0;
        if (transfer.requests[i] == MPI_REQUEST_NULL) continue;
        MPI_Request_get_status(transfer.requests[i], &flag, MPI_STATUS_IGNORE);
        if (flag != 0) continue;
        late = transfer.peers[i];
        break;
      }
      return fail(deadline_exceeded(fmt::format("rank {} did not come to {} before the deadline.",
                                                worker(late), where(op.context))));
    }
    std::this_thread::sleep_for(std::chrono::nanoseconds(nap_ns));
    finished = done();
  }
  if (code != MPI_SUCCESS) {
    return fail(unavailable(fmt::format("a message of {} was lost.", where(op.context))));
  }
  return check_received(transfer, statuses, op);
}

Status MpiGroup::check_received(const Transfer& transfer, const std::vector<MPI_Status>& statuses,
                                const Op& op) {
  for (size_t i = 0; i < transfer.peers.size(); ++i) {
    if (transfer.in_bytes[i] == 0) continue;
    int count = 0;
    MPI_Get_count(&statuses[i], MPI_BYTE, &count);
    uint64_t signature = 0;
    std::memcpy(&signature, staging_->in[static_cast<size_t>(transfer.peers[i])].data(),
                sizeof(signature));
    if (static_cast<size_t>(count) != transfer.in_bytes[i] || signature != op.signature) {
      return fail(internal_error(fmt::format(
          "rank {} is out of step in {}: it sent another operation, or its shapes differ.",
          worker(transfer.peers[i]), where(op.context))));
    }
  }
  return {};
}

Status MpiGroup::exchange(const std::vector<size_t>& bytes_from, const Op& op) {
  Transfer transfer;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank_)
      post_recv(peer, bytes_from[static_cast<size_t>(peer)], kTagCollective, transfer);
  }
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank_) post_send(peer, kTagCollective, transfer);
  }
  return finish(transfer, op);
}

// ---- operations

Status MpiGroup::barrier(const OpContext& context) {
  TRY(enter(context));
  if (size() == 1) return {};
  const Op op = begin(context, op_signature({.kind = OpKind::kBarrier}));
  for (int peer = 0; peer < size(); ++peer) stage(peer, nullptr, 0, op);
  return exchange(std::vector<size_t>(static_cast<size_t>(size()), 0), op);
}

Status MpiGroup::sum_received(DType dtype, const std::byte* own, std::byte* out, int64_t count) {
  std::vector<const std::byte*> terms;
  terms.reserve(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) terms.push_back(r == rank_ ? own : received(r));
  sum_in_rank_order(dtype, terms, out, count);
  return {};
}

Status MpiGroup::all_reduce_sum(const TensorView& x, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK(can_sum(x.dtype)) << "all_reduce of " << x.dtype;
  TRY(enter(context));
  if (size() == 1) return {};
  const Op op = begin(
      context, op_signature({.kind = OpKind::kAllReduce, .dtype = x.dtype, .bytes = x.bytes()}));
  const auto element = static_cast<int64_t>(size_of(x.dtype));
  const int64_t most = static_cast<int64_t>(kPieceBytes) / element;
  for (int64_t at = 0; at < x.numel(); at += most) {
    TRY(all_reduce_piece(x.dtype, bytes_of(x) + at * element, std::min(most, x.numel() - at), op));
  }
  return {};
}

Status MpiGroup::all_reduce_piece(DType dtype, std::byte* data, int64_t count, const Op& op) {
  const size_t element = size_of(dtype);
  const size_t bytes = static_cast<size_t>(count) * element;
  const auto n = static_cast<size_t>(size());
  if (size() == 2 || bytes <= kOneShotBytes) {
    for (int peer = 0; peer < size(); ++peer) stage(peer, data, bytes, op);
    TRY(exchange(std::vector<size_t>(n, bytes), op));
    return sum_received(dtype, data, data, count);
  }
  // Every rank sums one part, and all gather the parts.
  const int64_t part = (count + size() - 1) / size();
  const auto part_begin = [&](int r) { return std::min(count, r * part); };
  const auto part_bytes = [&](int r) {
    return static_cast<size_t>(part_begin(r + 1) - part_begin(r)) * element;
  };
  const auto part_data = [&](int r) { return data + static_cast<size_t>(part_begin(r)) * element; };
  for (int peer = 0; peer < size(); ++peer) stage(peer, part_data(peer), part_bytes(peer), op);
  TRY(exchange(std::vector<size_t>(n, part_bytes(rank_)), op));
  TRY(sum_received(dtype, part_data(rank_), part_data(rank_),
                   static_cast<int64_t>(part_bytes(rank_) / element)));
  std::vector<size_t> bytes_from;
  for (int peer = 0; peer < size(); ++peer) {
    stage(peer, part_data(rank_), part_bytes(rank_), op);
    bytes_from.push_back(part_bytes(peer));
  }
  TRY(exchange(bytes_from, op));
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank_) std::memcpy(part_data(peer), received(peer), part_bytes(peer));
  }
  return {};
}

Status MpiGroup::all_gather(const TensorView& x, const TensorView& out, const OpContext& context) {
  CHECK(x.contiguous() && out.contiguous());
  CHECK_EQ(x.dtype, out.dtype);
  CHECK_EQ(x.bytes() * static_cast<size_t>(size()), out.bytes());
  TRY(enter(context));
  const size_t bytes = x.bytes();
  const Op op =
      begin(context, op_signature({.kind = OpKind::kAllGather, .dtype = x.dtype, .bytes = bytes}));
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t n = std::min(kPieceBytes, bytes - at);
    for (int peer = 0; peer < size(); ++peer) stage(peer, bytes_of(x) + at, n, op);
    TRY(exchange(std::vector<size_t>(static_cast<size_t>(size()), n), op));
    for (int peer = 0; peer < size(); ++peer) {
      const std::byte* from = peer == rank_ ? bytes_of(x) + at : received(peer);
      // x may be this rank's part of out.
      std::memmove(bytes_of(out) + static_cast<size_t>(peer) * bytes + at, from, n);
    }
  }
  return {};
}

Status MpiGroup::reduce_scatter_sum(const TensorView& x, const TensorView& out,
                                    const OpContext& context) {
  CHECK(x.contiguous() && out.contiguous());
  CHECK(can_sum(x.dtype)) << "reduce_scatter of " << x.dtype;
  CHECK_EQ(x.dtype, out.dtype);
  CHECK_EQ(out.bytes() * static_cast<size_t>(size()), x.bytes());
  TRY(enter(context));
  const size_t bytes = out.bytes();
  const Op op = begin(
      context, op_signature({.kind = OpKind::kReduceScatter, .dtype = x.dtype, .bytes = bytes}));
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t n = std::min(kPieceBytes, bytes - at);
    const auto part = [&](int r) { return bytes_of(x) + static_cast<size_t>(r) * bytes + at; };
    for (int peer = 0; peer < size(); ++peer) stage(peer, part(peer), n, op);
    TRY(exchange(std::vector<size_t>(static_cast<size_t>(size()), n), op));
    TRY(sum_received(x.dtype, part(rank_), bytes_of(out) + at,
                     static_cast<int64_t>(n / size_of(x.dtype))));
  }
  return {};
}

Status MpiGroup::broadcast(const TensorView& x, int root, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK_LE(0, root);
  CHECK_LT(root, size());
  TRY(enter(context));
  if (size() == 1) return {};
  const size_t bytes = x.bytes();
  const Op op = begin(
      context,
      op_signature({.kind = OpKind::kBroadcast, .dtype = x.dtype, .bytes = bytes, .root = root}));
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t n = std::min(kPieceBytes, bytes - at);
    Transfer transfer;
    if (rank_ == root) {
      for (int peer = 0; peer < size(); ++peer) {
        if (peer == rank_) continue;
        stage(peer, bytes_of(x) + at, n, op);
        post_send(peer, kTagCollective, transfer);
      }
    } else {
      post_recv(root, n, kTagCollective, transfer);
    }
    TRY(finish(transfer, op));
    if (rank_ != root) std::memcpy(bytes_of(x) + at, received(root), n);
  }
  return {};
}

Status MpiGroup::send(const TensorView& x, int peer, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK(peer != rank_ && peer >= 0 && peer < size()) << "send to " << peer;
  TRY(enter(context));
  const Op op =
      begin(context, op_signature({.kind = OpKind::kSend, .dtype = x.dtype, .bytes = x.bytes()}));
  for (size_t at = 0; at < x.bytes(); at += kPieceBytes) {
    Transfer transfer;
    stage(peer, bytes_of(x) + at, std::min(kPieceBytes, x.bytes() - at), op);
    post_send(peer, kTagPointToPoint, transfer);
    // MPI moves a large message only while it is called, so this waits until MPI has no more need
    // of the sender.
    TRY(finish(transfer, op));
  }
  return {};
}

Status MpiGroup::recv(const TensorView& x, int peer, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK(peer != rank_ && peer >= 0 && peer < size()) << "recv from " << peer;
  TRY(enter(context));
  const Op op =
      begin(context, op_signature({.kind = OpKind::kSend, .dtype = x.dtype, .bytes = x.bytes()}));
  for (size_t at = 0; at < x.bytes(); at += kPieceBytes) {
    const size_t n = std::min(kPieceBytes, x.bytes() - at);
    Transfer transfer;
    post_recv(peer, n, kTagPointToPoint, transfer);
    TRY(finish(transfer, op));
    std::memcpy(bytes_of(x) + at, received(peer), n);
  }
  return {};
}

}  // namespace trireme::comm
