#include "parallel/comm/shm/shm_group.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "parallel/comm/op_signature.h"
#include "parallel/comm/rank_order_sum.h"

namespace trireme::comm {
namespace {

// A sleeping rank looks up this often: at its deadline, for an abort, for a peer that died without
// a word.
constexpr int64_t kLookNs = 20'000'000;
// Up to here, and between two ranks always, reading everything costs less than a second wait.
constexpr size_t kOneShotBytes = 32 << 10;

std::byte* bytes_of(const TensorView& x) { return static_cast<std::byte*>(x.data); }

bool process_is_gone(int32_t pid) { return pid != 0 && kill(pid, 0) != 0 && errno == ESRCH; }

}  // namespace

ShmGroup::ShmGroup(std::shared_ptr<Region> region, ShmGroupOptions options, const Clock& clock)
    : region_(std::move(region)), options_(std::move(options)), clock_(clock) {
  CHECK_EQ(region_->options().n_ranks, size());
  CHECK_LE(0, rank());
  CHECK_LT(rank(), size());
  region_->cell(rank()).pid.store(getpid());
}

ShmGroup::~ShmGroup() {
  RankCell& cell = region_->cell(rank());
  cell.left.store(1);
  // Who waits for this rank now learns at once that it will not come.
  cell.arrived.wake();
  for (int peer = 0; peer < size(); ++peer) {
    region_->ring_cell(rank(), peer).written.wake();
    region_->ring_cell(peer, rank()).read.wake();
  }
}

void ShmGroup::abort(std::string_view reason) {
  RegionHeader& header = region_->header();
  uint32_t none = 0;
  // The first reason stays: it is the cause, later ones are consequences.
  if (!header.abort_state.compare_exchange_strong(none, 1)) return;
  header.abort_rank.store(options_.worker_ranks[static_cast<size_t>(rank())]);
  header.abort_reason.store(reason);
  header.abort_state.store(2);
  for (int i = 0; i < size(); ++i) {
    region_->cell(i).arrived.wake();
    for (int j = 0; j < size(); ++j) {
      region_->ring_cell(i, j).written.wake();
      region_->ring_cell(i, j).read.wake();
    }
  }
}

Status ShmGroup::enter(const OpContext& context) {
  if (region_->header().abort_state.load(std::memory_order_relaxed) != 0) return aborted(context);
  RankCell& cell = region_->cell(rank());
  cell.step.store(context.step.value(), std::memory_order_relaxed);
  cell.op.store(context.op);
  return {};
}

ShmGroup::Op ShmGroup::begin(const OpContext& context, uint64_t signature) const {
  return {context, definite_deadline(context, clock_.now_ns()), signature};
}

std::byte* ShmGroup::next_slot() { return region_->slot(rank(), exchanges_ + 1); }
const std::byte* ShmGroup::piece(int rank) { return region_->slot(rank, exchanges_); }

Status ShmGroup::exchange(const Op& op) {
  const uint32_t k = ++exchanges_;
  RankCell& own = region_->cell(rank());
  own.signature[k % 2].store(op.signature, std::memory_order_relaxed);
  own.arrived.store_and_wake(k);
  for (int i = 1; i < size(); ++i) {
    // Each rank begins with its right neighbour, so that not all look at rank 0 first.
    const int peer = (rank() + i) % size();
    RankCell& cell = region_->cell(peer);
    const auto has_arrived = [k](uint32_t value) { return static_cast<int32_t>(value - k) >= 0; };
    TRY(wait_for(cell.arrived, has_arrived, peer, op));
    if (cell.signature[k % 2].load(std::memory_order_relaxed) != op.signature) {
      return out_of_step(peer, op);
    }
  }
  return {};
}

template <typename Ready>
Status ShmGroup::wait_for(SharedWord& word, const Ready& ready, int peer, const Op& op) {
  if (spin_until([&] { return ready(word.load()); }, options_.spin_ns)) return {};
  RegionHeader& header = region_->header();
  RankCell& cell = region_->cell(peer);
  while (true) {
    // Read in this order: what a peer did before it left or aborted still counts.
    const bool has_left = cell.left.load() != 0;
    const bool is_aborted = header.abort_state.load() != 0;
    const uint32_t seen = word.load();
    if (ready(seen)) return {};
    if (is_aborted) return aborted(op.context);
    if (has_left || process_is_gone(cell.pid.load())) return gone(peer, op);
    const int64_t left_ns = op.deadline_ns - clock_.now_ns();
    if (left_ns <= 0) return late(peer, op);
    word.sleep(seen, std::min(left_ns, kLookNs));
  }
}

Status ShmGroup::barrier(const OpContext& context) {
  TRY(enter(context));
  return exchange(begin(context, op_signature({.kind = OpKind::kBarrier})));
}

Status ShmGroup::all_reduce_sum(const TensorView& x, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK(can_sum(x.dtype)) << "all_reduce of " << x.dtype;
  TRY(enter(context));
  if (size() == 1) return {};
  const int64_t total = x.numel();
  const Op op = begin(
      context, op_signature({.kind = OpKind::kAllReduce, .dtype = x.dtype, .bytes = x.bytes()}));
  const auto element = static_cast<int64_t>(size_of(x.dtype));
  const int64_t most = static_cast<int64_t>(region_->options().slot_bytes) / element;
  for (int64_t at = 0; at < total; at += most) {
    TRY(all_reduce_piece(x.dtype, bytes_of(x) + at * element, std::min(most, total - at), op));
  }
  return {};
}

Status ShmGroup::all_reduce_piece(DType dtype, std::byte* data, int64_t count, const Op& op) {
  const size_t element = size_of(dtype);
  const size_t bytes = static_cast<size_t>(count) * element;
  std::memcpy(next_slot(), data, bytes);
  TRY(exchange(op));
  std::vector<const std::byte*> terms(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) terms[static_cast<size_t>(r)] = piece(r);
  if (size() == 2 || bytes <= kOneShotBytes) {
    sum_in_rank_order(dtype, terms, data, count);
    return {};
  }
  // Second shot: every rank sums one part and all gather the parts.
  const int64_t part = (count + size() - 1) / size();
  const auto part_begin = [&](int r) { return std::min(count, r * part); };
  const auto part_count = [&](int r) { return part_begin(r + 1) - part_begin(r); };
  for (const std::byte*& term : terms) {
    term += static_cast<size_t>(part_begin(rank())) * element;
  }
  sum_in_rank_order(dtype, terms, next_slot(), part_count(rank()));
  TRY(exchange(op));
  for (int r = 0; r < size(); ++r) {
    std::memcpy(data + static_cast<size_t>(part_begin(r)) * element, piece(r),
                static_cast<size_t>(part_count(r)) * element);
  }
  return {};
}

Status ShmGroup::all_gather(const TensorView& x, const TensorView& out, const OpContext& context) {
  CHECK(x.contiguous() && out.contiguous());
  CHECK_EQ(x.dtype, out.dtype);
  CHECK_EQ(x.bytes() * static_cast<size_t>(size()), out.bytes());
  TRY(enter(context));
  const size_t bytes = x.bytes();
  const Op op =
      begin(context, op_signature({.kind = OpKind::kAllGather, .dtype = x.dtype, .bytes = bytes}));
  const size_t most = region_->options().slot_bytes;
  for (size_t at = 0; at < bytes; at += most) {
    const size_t n = std::min(most, bytes - at);
    std::memcpy(next_slot(), bytes_of(x) + at, n);
    TRY(exchange(op));
    for (int r = 0; r < size(); ++r) {
      std::memcpy(bytes_of(out) + static_cast<size_t>(r) * bytes + at, piece(r), n);
    }
  }
  return {};
}

Status ShmGroup::reduce_scatter_sum(const TensorView& x, const TensorView& out,
                                    const OpContext& context) {
  CHECK(x.contiguous() && out.contiguous());
  CHECK(can_sum(x.dtype)) << "reduce_scatter of " << x.dtype;
  CHECK_EQ(x.dtype, out.dtype);
  CHECK_EQ(out.bytes() * static_cast<size_t>(size()), x.bytes());
  TRY(enter(context));
  const size_t element = size_of(x.dtype);
  const size_t bytes = out.bytes();
  const Op op = begin(
      context, op_signature({.kind = OpKind::kReduceScatter, .dtype = x.dtype, .bytes = bytes}));
  // A slot holds a piece for every rank; whole cache lines keep the pieces aligned.
  const size_t most = region_->options().slot_bytes / static_cast<size_t>(size()) / 64 * 64;
  CHECK_GT(most, size_t{0});
  for (size_t at = 0; at < bytes; at += most) {
    const size_t n = std::min(most, bytes - at);
    std::byte* slot = next_slot();
    for (int r = 0; r < size(); ++r) {
      const auto i = static_cast<size_t>(r);
      std::memcpy(slot + i * most, bytes_of(x) + i * bytes + at, n);
    }
    TRY(exchange(op));
    std::vector<const std::byte*> terms;
    terms.reserve(static_cast<size_t>(size()));
    for (int r = 0; r < size(); ++r) terms.push_back(piece(r) + static_cast<size_t>(rank()) * most);
    sum_in_rank_order(x.dtype, terms, bytes_of(out) + at, static_cast<int64_t>(n / element));
  }
  return {};
}

Status ShmGroup::broadcast(const TensorView& x, int root, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK_LE(0, root);
  CHECK_LT(root, size());
  TRY(enter(context));
  const size_t bytes = x.bytes();
  const Op op = begin(
      context,
      op_signature({.kind = OpKind::kBroadcast, .dtype = x.dtype, .bytes = bytes, .root = root}));
  const size_t most = region_->options().slot_bytes;
  for (size_t at = 0; at < bytes; at += most) {
    const size_t n = std::min(most, bytes - at);
    if (rank() == root) std::memcpy(next_slot(), bytes_of(x) + at, n);
    TRY(exchange(op));
    if (rank() != root) std::memcpy(bytes_of(x) + at, piece(root), n);
  }
  return {};
}

Status ShmGroup::send(const TensorView& x, int peer, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK(peer != rank() && peer >= 0 && peer < size()) << "send to " << peer;
  TRY(enter(context));
  const Op op =
      begin(context, op_signature({.kind = OpKind::kSend, .dtype = x.dtype, .bytes = x.bytes()}));
  TRY(ring_write(reinterpret_cast<const std::byte*>(&op.signature), sizeof(op.signature), peer,
                 op));
  return ring_write(bytes_of(x), x.bytes(), peer, op);
}

Status ShmGroup::recv(const TensorView& x, int peer, const OpContext& context) {
  CHECK(x.contiguous());
  CHECK(peer != rank() && peer >= 0 && peer < size()) << "recv from " << peer;
  TRY(enter(context));
  const Op op =
      begin(context, op_signature({.kind = OpKind::kSend, .dtype = x.dtype, .bytes = x.bytes()}));
  uint64_t sent = 0;
  TRY(ring_read(reinterpret_cast<std::byte*>(&sent), sizeof(sent), peer, op));
  if (sent != op.signature) return out_of_step(peer, op);
  return ring_read(bytes_of(x), x.bytes(), peer, op);
}

Status ShmGroup::ring_write(const std::byte* data, size_t bytes, int peer, const Op& op) {
  RingCell& cell = region_->ring_cell(rank(), peer);
  std::byte* ring = region_->ring(rank(), peer);
  const auto capacity = static_cast<uint32_t>(region_->options().ring_bytes);
  while (bytes > 0) {
    const uint32_t written = cell.written.value.load(std::memory_order_relaxed);
    // A quarter of the ring at a time keeps sender and receiver from waking each other for a few
    // bytes.
    const auto wanted = static_cast<uint32_t>(std::min<size_t>(bytes, capacity / 4));
    TRY(wait_for(
        cell.read, [&](uint32_t read) { return capacity - (written - read) >= wanted; }, peer, op));
    const uint32_t room = capacity - (written - cell.read.load());
    const uint32_t at = written % capacity;
    const size_t n = std::min<size_t>({bytes, room, capacity - at});
    std::memcpy(ring + at, data, n);
    cell.written.store_and_wake(written + static_cast<uint32_t>(n));
    data += n;
    bytes -= n;
  }
  return {};
}

Status ShmGroup::ring_read(std::byte* data, size_t bytes, int peer, const Op& op) {
  RingCell& cell = region_->ring_cell(peer, rank());
  const std::byte* ring = region_->ring(peer, rank());
  const auto capacity = static_cast<uint32_t>(region_->options().ring_bytes);
  while (bytes > 0) {
    const uint32_t read = cell.read.value.load(std::memory_order_relaxed);
    TRY(wait_for(
        cell.written, [&](uint32_t written) { return written != read; }, peer, op));
    const uint32_t there = cell.written.load() - read;
    const uint32_t at = read % capacity;
    const size_t n = std::min<size_t>({bytes, there, capacity - at});
    std::memcpy(data, ring + at, n);
    cell.read.store_and_wake(read + static_cast<uint32_t>(n));
    data += n;
    bytes -= n;
  }
  return {};
}

std::string ShmGroup::where(const OpContext& context) const {
  return describe_op(options_.name, context);
}

Error ShmGroup::fail(Error error) {
  abort(error.message);
  return error;
}

Error ShmGroup::late(int peer, const Op& op) {
  RankCell& cell = region_->cell(peer);
  const std::string seen = cell.pid.load() == 0 ? "and never joined the group"
                                                : fmt::format("and was last in step {}, '{}'",
                                                              cell.step.load(), cell.op.load());
  return fail(deadline_exceeded(fmt::format("rank {} did not come to {} before the deadline, {}.",
                                            options_.worker_ranks[static_cast<size_t>(peer)],
                                            where(op.context), seen)));
}

Error ShmGroup::gone(int peer, const Op& op) {
  return fail(unavailable(fmt::format("rank {} is gone in {}.",
                                      options_.worker_ranks[static_cast<size_t>(peer)],
                                      where(op.context))));
}

Error ShmGroup::out_of_step(int peer, const Op& op) {
  RankCell& cell = region_->cell(peer);
  return fail(internal_error(fmt::format(
      "rank {} is out of step in {}: it was last in step {}, '{}', or its shapes differ.",
      options_.worker_ranks[static_cast<size_t>(peer)], where(op.context), cell.step.load(),
      cell.op.load())));
}

Error ShmGroup::aborted(const OpContext& context) {
  RegionHeader& header = region_->header();
  // The reason is being written for a few nanoseconds at most.
  spin_until([&] { return header.abort_state.load() == 2; }, 1000);
  return unavailable(fmt::format("rank {} aborted the group before {} was done: {}",
                                 header.abort_rank.load(), where(context),
                                 header.abort_reason.load()));
}

}  // namespace trireme::comm
