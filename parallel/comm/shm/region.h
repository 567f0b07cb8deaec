// Region: the memory that the ranks of one group share on one node. It knows its layout, and
// nothing of collectives.
//
//   header | one cell per rank | one ring cell per ordered pair | 2 slots per rank | ring bytes per
//   ordered pair
//
// Two ways to come by one: anonymous, for threads of a process and children that it forks later; or
// a memfd that another process opens through /proc. A memfd has no name, so nothing is left behind
// however the processes end, SIGKILL included; pages that nobody touched cost nothing. Zero bytes
// are the initial state of everything in it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "parallel/comm/shm/wait.h"

namespace trireme::comm {

// Text that one thread writes while others may read: torn text is possible, torn memory is not.
template <size_t kWords>
struct SharedText {
  std::array<std::atomic<uint64_t>, kWords> words;

  void store(std::string_view text);  // cut to 8 * kWords bytes
  std::string load() const;
};

// A rank's part of the barrier, and what it was last seen doing.
struct alignas(128) RankCell {
  SharedWord arrived;  // exchanges that the rank has entered
  std::array<std::atomic<uint64_t>, 2>
      signature;                           // of its last two exchanges: what it believes they are
  std::atomic<int32_t> pid;                // 0 until the rank has attached
  std::atomic<uint32_t> left;              // 1: the rank has gone in good order
  alignas(64) std::atomic<uint64_t> step;  // last operation entered, for errors
  SharedText<6> op;
};

// One direction of one pair of ranks: byte counters modulo 2^32.
struct RingCell {
  alignas(64) SharedWord written;  // the sender's
  alignas(64) SharedWord read;     // the receiver's
};

struct RegionHeader {
  std::atomic<uint64_t> nonce;        // what the opener was told: that it is the right memory
  std::atomic<uint32_t> abort_state;  // 0 no, 1 being written, 2 yes
  std::atomic<int32_t> abort_rank;
  SharedText<32> abort_reason;
};

struct RegionOptions {
  int n_ranks = 1;
  size_t slot_bytes = 256 << 10;  // largest piece of a message that is exchanged at once
  size_t ring_bytes = 256 << 10;  // a power of two: what send may run ahead of recv
};

class Region {
 public:
  static Result<std::shared_ptr<Region>> anonymous(const RegionOptions& options);
  // A memfd of this process, which stays open until the region goes.
  static Result<std::shared_ptr<Region>> create_shared(const RegionOptions& options,
                                                       uint64_t nonce);
  // The memfd `fd` of process `pid`, of the same user and on this node.
  static Result<std::shared_ptr<Region>> open_shared(const RegionOptions& options, int pid, int fd,
                                                     uint64_t nonce);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  const RegionOptions& options() const { return options_; }
  int fd() const { return fd_; }  // -1: anonymous

  RegionHeader& header();
  RankCell& cell(int rank);
  RingCell& ring_cell(int from, int to);
  std::byte* slot(int rank, uint32_t exchange);  // 64-byte aligned; alternates with the exchange
  std::byte* ring(int from, int to);

 private:
  Region(const RegionOptions& options, int fd) : options_(options), fd_(fd) {}
  Status map();
  size_t pair(int from, int to) const;

  RegionOptions options_;
  int fd_ = -1;
  std::byte* base_ = nullptr;
  size_t cells_at_ = 0;
  size_t ring_cells_at_ = 0;
  size_t slots_at_ = 0;
  size_t rings_at_ = 0;
  size_t bytes_ = 0;
};

template <size_t kWords>
void SharedText<kWords>::store(std::string_view text) {
  for (size_t i = 0; i < kWords; ++i) {
    uint64_t word = 0;
    if (i * 8 < text.size()) text.copy(reinterpret_cast<char*>(&word), 8, i * 8);
    words[i].store(word, std::memory_order_relaxed);
  }
}

template <size_t kWords>
std::string SharedText<kWords>::load() const {
  std::string text(8 * kWords, '\0');
  for (size_t i = 0; i < kWords; ++i) {
    const uint64_t word = words[i].load(std::memory_order_relaxed);
    text.replace(i * 8, 8, reinterpret_cast<const char*>(&word), 8);
  }
  return text.substr(0, text.find('\0'));
}

}  // namespace trireme::comm
