#include "kernels/cuda/emulated/warpgroup.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/emulated/emulator.h"

namespace trireme::kernels::cuda::emulator {
namespace {

constexpr size_t kGroupThreads = 128;
constexpr int kRows = 64;
constexpr int kDepth = 16;
constexpr uint32_t kPiece = 16;  // bytes whose state is kept together
// Where the dynamic shared memory begins in the window: no kernel may count on more than 16.
constexpr uint32_t kWindowStart = 1024 + 16;
// What sums hold while a product is under way.
constexpr uint32_t kUnderWay = 0x7fc0dead;

// Of 16 bytes of shared memory, on their way from a copy to the products that read them.
enum class Bytes : uint8_t { kNeverWritten, kCopyUnderWay, kWritten, kFenced, kReadable };

struct Copy {
  uint32_t piece;
  const void* from;
  bool zeros;
};

// Sums of one thread that products under way will have changed.
struct Sums {
  float* d;
  std::vector<float> value;
  int n_products;
};

struct Thread {
  std::vector<Copy> copies;  // of the group that is not committed
  std::deque<std::vector<Copy>> copy_groups;
  std::vector<uint32_t> written;  // pieces that wait for this thread's proxy fence
  std::vector<Sums> sums;
  uint64_t n_products = 0;
  std::vector<uint64_t> commits;  // n_products at each commit
  bool fenced = false;
};

struct Operand {
  float* d;
  const uint32_t* a;
  uint32_t words[4];
};

// A product of a warpgroup; its threads ask for it one after the other.
struct Product {
  WarpgroupProduct common;
  std::vector<uint32_t> reads;  // pieces
  Operand operands[kGroupThreads] = {};
  size_t n_threads = 0;
};

struct Warpgroup {
  std::deque<Product> under_way;
  uint64_t n_done = 0;
};

class AsyncBlock {
 public:
  void begin(unsigned char* shared, size_t bytes, size_t n_threads) {
    shared_ = shared;
    bytes_ = bytes;
    n_threads_ = n_threads;
    used_ = false;  // most kernels never do: they are not slowed down
  }

  void end() {
    if (!used_) return;
    for (const Thread& thread : threads_) {
      CHECK(thread.copies.empty() && thread.copy_groups.empty()) << "a copy is left under way";
      CHECK(thread.sums.empty()) << "a product is left under way";
    }
  }

  void barrier() {
    if (!used_) return;
    for (const uint32_t piece : fenced_) {
      if (state_[piece] == Bytes::kFenced) state_[piece] = Bytes::kReadable;
    }
    fenced_.clear();
  }

  uint32_t address_of(const void* shared) const {
    const auto offset = static_cast<const unsigned char*>(shared) - shared_;
    return kWindowStart + static_cast<uint32_t>(offset);
  }

  void copy(uint32_t to, const void* from, bool zeros) {
    Thread& thread = me();
    CHECK_EQ(to % kPiece, 0u);
    CHECK_EQ(reinterpret_cast<uintptr_t>(from) % kPiece, 0u);
    const uint32_t piece = piece_at(to);
    CHECK_EQ(n_readers_[piece], 0) << "a copy into what a product reads";
    CHECK(state_[piece] != Bytes::kCopyUnderWay) << "two copies to one place";
    state_[piece] = Bytes::kCopyUnderWay;
    thread.copies.push_back({piece, from, zeros});
  }

  void commit_copies() {
    me().copy_groups.push_back(std::move(me().copies));
    me().copies.clear();
  }

  void wait_for_copies(int n_pending) {
    Thread& thread = me();
    while (thread.copy_groups.size() > static_cast<size_t>(n_pending)) {
      for (const Copy& copy : thread.copy_groups.front()) {
        unsigned char* to = shared_ + size_t{copy.piece} * kPiece;
        if (copy.zeros) {
          std::memset(to, 0, kPiece);
        } else {
          std::memcpy(to, copy.from, kPiece);
        }
        state_[copy.piece] = Bytes::kWritten;
        thread.written.push_back(copy.piece);
      }
      thread.copy_groups.pop_front();
    }
  }

  void proxy_fence() {
    for (const uint32_t piece : me().written) {
      if (state_[piece] != Bytes::kWritten) continue;
      state_[piece] = Bytes::kFenced;
      fenced_.push_back(piece);
    }
    me().written.clear();
  }

  void wgmma_fence() { me().fenced = true; }

  void multiply(const WarpgroupProduct& asked) {
    Thread& thread = me();
    Warpgroup& group = my_group();
    CHECK(thread.fenced) << "no wgmma.fence before a product";
    const uint64_t index = thread.n_products++ - group.n_done;
    if (index == group.under_way.size()) group.under_way.push_back(begin_product(asked));
    Product& product = group.under_way[index];
    CHECK(product.common.n == asked.n && product.common.b == asked.b &&
          product.common.transposed == asked.transposed && product.common.add == asked.add &&
          product.common.to_f32 == asked.to_f32)
        << "threads of a warpgroup ask for different products";
    Operand& operand = product.operands[threadIdx.x % kGroupThreads];
    operand.d = asked.d;
    operand.a = asked.a;
    std::copy(asked.a, asked.a + 4, operand.words);
    ++product.n_threads;
    hold_sums(thread, asked);
  }

  void commit_products() { me().commits.push_back(me().n_products); }

  // The caller's warpgroup has met at a barrier.
  void wait_for_products(int n_pending) {
    Thread& thread = me();
    Warpgroup& group = my_group();
    const size_t n_commits = thread.commits.size();
    const auto pending = static_cast<size_t>(n_pending);
    const uint64_t wanted = n_commits > pending ? thread.commits[n_commits - pending - 1] : 0;
    while (group.n_done < wanted) {
      finish(group.under_way.front(), threadIdx.x / kGroupThreads * kGroupThreads);
      group.under_way.pop_front();
      ++group.n_done;
    }
    thread.fenced = false;
  }

 private:
  Thread& me() {
    if (!used_) start_use();
    return threads_[threadIdx.x];
  }
  void start_use() {
    state_.assign(bytes_ / kPiece, Bytes::kNeverWritten);
    n_readers_.assign(bytes_ / kPiece, 0);
    fenced_.clear();
    threads_.clear();
    threads_.resize(n_threads_);
    groups_.clear();
    groups_.resize((n_threads_ + kGroupThreads - 1) / kGroupThreads);
    used_ = true;
  }
  Warpgroup& my_group() { return groups_[threadIdx.x / kGroupThreads]; }

  uint32_t piece_at(uint32_t address) const {
    CHECK_GE(address, kWindowStart);
    const uint32_t piece = (address - kWindowStart) / kPiece;
    CHECK_LT(piece, state_.size()) << "outside of shared memory";
    return piece;
  }

  // Bit fields, strides and swizzle of B's element (k, n), as the documentation has them.
  static uint32_t place_in_b(const WarpgroupProduct& product, int k, int n) {
    const auto field = [&](int first_bit) {
      return static_cast<uint32_t>(product.b >> first_bit & 0x3fff) << 4;
    };
    const uint32_t start = field(0);
    const uint32_t leading = field(16);
    const uint32_t stride = field(32);
    CHECK_EQ(product.b >> 62, 1u) << "a swizzle that the emulator does not know";
    CHECK_EQ(product.b >> 49 & 7, 0u) << "a base offset that the emulator does not know";
    CHECK_EQ(start >> 7 & 7, 0u) << "a start that is not in the pattern's first row";
    const auto uk = static_cast<uint32_t>(k);
    const auto un = static_cast<uint32_t>(n);
    // Rows of 128 bytes are 64 elements of two bytes; a pattern has eight rows.
    const uint32_t logical = product.transposed ? start + un / 64 * leading + uk / 8 * stride +
                                                      uk % 8 * 128 + un % 64 * 2
                                                : start + un / 8 * stride + un % 8 * 128 + uk * 2;
    return logical ^ (logical >> 7 & 7) << 4;
  }

  // Calls visit(k, n, piece) for the first elements of B's 16-byte pieces: eight along a row, which
  // the swizzle keeps together.
  template <typename Visit>
  void for_each_piece(const WarpgroupProduct& product, Visit&& visit) const {
    for (int k = 0; k < kDepth; k += product.transposed ? 1 : 8) {
      for (int n = 0; n < product.n; n += product.transposed ? 8 : 1) {
        const uint32_t address = place_in_b(product, k, n);
        CHECK_EQ(address % kPiece, 0u) << "a row that does not begin at a multiple of 16";
        visit(k, n, piece_at(address));
      }
    }
  }

  Product begin_product(const WarpgroupProduct& asked) {
    CHECK(asked.n > 0 && asked.n <= 256 && asked.n % 8 == 0);
    Product product{.common = asked, .reads = {}};
    for_each_piece(asked, [&](int, int, uint32_t piece) { product.reads.push_back(piece); });
    for (const uint32_t piece : product.reads) {
      CHECK(state_[piece] != Bytes::kNeverWritten) << "a product reads what nobody wrote";
      CHECK(state_[piece] != Bytes::kCopyUnderWay) << "a product reads what a copy writes";
      CHECK(state_[piece] != Bytes::kWritten) << "no proxy fence between a copy and a product";
      CHECK(state_[piece] != Bytes::kFenced) << "no barrier between a proxy fence and a product";
      ++n_readers_[piece];
    }
    return product;
  }

  static void hold_sums(Thread& thread, const WarpgroupProduct& asked) {
    const auto n = static_cast<size_t>(asked.n) / 2;
    auto at = std::find_if(thread.sums.begin(), thread.sums.end(),
                           [&](const Sums& sums) { return sums.d == asked.d; });
    if (at == thread.sums.end()) {
      thread.sums.push_back({asked.d, std::vector<float>(asked.d, asked.d + n), 0});
      at = thread.sums.end() - 1;
      for (size_t i = 0; i < n; ++i) std::memcpy(asked.d + i, &kUnderWay, sizeof(kUnderWay));
    }
    CHECK_EQ(at->value.size(), n) << "products of two shapes on the same sums";
    ++at->n_products;
  }

  void finish(Product& product, size_t first_thread) {
    CHECK_EQ(product.n_threads, kGroupThreads) << "not all of a warpgroup asked for its product";
    const int n = product.common.n;
    std::vector<float> b(static_cast<size_t>(kDepth * n));
    for_each_piece(product.common, [&](int k, int column, uint32_t piece) {
      uint16_t bits[kPiece / 2];
      std::memcpy(bits, shared_ + size_t{piece} * kPiece, sizeof(bits));
      for (const uint16_t value : bits) {
        b[static_cast<size_t>(k * n + column)] = product.common.to_f32(value);
        product.common.transposed ? ++column : ++k;
      }
    });
    float a[kRows][kDepth];
    for (size_t t = 0; t < kGroupThreads; ++t) {
      const Operand& operand = product.operands[t];
      CHECK_EQ(std::memcmp(operand.a, operand.words, sizeof(operand.words)), 0)
          << "words of A change under a product";
      const int lane = static_cast<int>(t % kWarpSize);
      for (int r = 0; r < 4; ++r) {
        const size_t row = t / kWarpSize * 16 + static_cast<size_t>(lane / 4 + r % 2 * 8);
        const int k = lane % 4 * 2 + r / 2 * 8;
        a[row][k] = product.common.to_f32(static_cast<uint16_t>(operand.words[r]));
        a[row][k + 1] = product.common.to_f32(static_cast<uint16_t>(operand.words[r] >> 16));
      }
    }
    std::vector<float> d(static_cast<size_t>(kRows * n), 0);
    for (int row = 0; row < kRows; ++row) {
      float* sums = d.data() + row * n;
      for (int k = 0; k < kDepth; ++k) {
        const float* factors = b.data() + k * n;
        for (int column = 0; column < n; ++column) sums[column] += a[row][k] * factors[column];
      }
    }
    for (size_t t = 0; t < kGroupThreads; ++t) add_to_sums(product, d, first_thread, t);
    for (const uint32_t piece : product.reads) --n_readers_[piece];
  }

  void add_to_sums(const Product& product, const std::vector<float>& d, size_t first_thread,
                   size_t t) {
    Thread& thread = threads_[first_thread + t];
    const auto at = std::find_if(thread.sums.begin(), thread.sums.end(),
                                 [&](const Sums& sums) { return sums.d == product.operands[t].d; });
    CHECK(at != thread.sums.end());
    const size_t lane = t % kWarpSize;
    for (size_t i = 0; i < at->value.size(); ++i) {
      const size_t row = t / kWarpSize * 16 + lane / 4 + i % 4 / 2 * 8;
      const size_t column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      const float sum = d[row * static_cast<size_t>(product.common.n) + column];
      at->value[i] = product.common.add ? at->value[i] + sum : sum;
    }
    if (--at->n_products > 0) return;
    for (size_t i = 0; i < at->value.size(); ++i) {
      CHECK_EQ(std::memcmp(at->d + i, &kUnderWay, sizeof(kUnderWay)), 0)
          << "sums change under a product";
      at->d[i] = at->value[i];
    }
    thread.sums.erase(at);
  }

  unsigned char* shared_ = nullptr;
  size_t bytes_ = 0;
  size_t n_threads_ = 0;
  bool used_ = false;
  std::vector<Bytes> state_;
  std::vector<int> n_readers_;    // products under way
  std::vector<uint32_t> fenced_;  // pieces that wait for a barrier
  std::vector<Thread> threads_;
  std::vector<Warpgroup> groups_;
};

AsyncBlock& async_block() {
  thread_local AsyncBlock one;
  return one;
}

}  // namespace

uint32_t shared_address(const void* shared) { return async_block().address_of(shared); }
void copy_async(uint32_t to, const void* from, bool zeros) { async_block().copy(to, from, zeros); }
void copy_async_commit() { async_block().commit_copies(); }
void copy_async_wait(int n_pending) { async_block().wait_for_copies(n_pending); }
void proxy_fence() { async_block().proxy_fence(); }
void wgmma_fence() { async_block().wgmma_fence(); }
void wgmma(const WarpgroupProduct& product) { async_block().multiply(product); }
void wgmma_commit() { async_block().commit_products(); }
void wgmma_wait(int n_pending) {
  warpgroup_barrier();
  async_block().wait_for_products(n_pending);
}

void begin_async_block(unsigned char* shared, size_t shared_bytes, size_t n_threads) {
  async_block().begin(shared, shared_bytes, n_threads);
}
void async_block_barrier() { async_block().barrier(); }
void end_async_block() { async_block().end(); }

}  // namespace trireme::kernels::cuda::emulator
