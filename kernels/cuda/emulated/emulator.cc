#include "kernels/cuda/emulated/emulator.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/emulated/warpgroup.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__x86_64__)
// Saves what a call must keep on the current stack, stores the stack's pointer at *from, and goes
// on where `to` was left. glibc's swapcontext does the same with two system calls, which took half
// of the tests' time.
extern "C" void trireme_switch_stack(void** from, void* to);
asm(R"(
.text
.type trireme_switch_stack, @function
trireme_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size trireme_switch_stack, .-trireme_switch_stack
)");
#endif

namespace trireme::kernels::cuda::emulator {
namespace {

#if defined(__x86_64__)
class Context {
 public:
  void start(char* stack, size_t bytes, void (*entry)()) {
    auto top = reinterpret_cast<uintptr_t>(stack + bytes) / 16 * 16;
    auto* slots = reinterpret_cast<void**>(top);
    *--slots = nullptr;  // where `entry` would return to: it never does
    *--slots = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--slots = nullptr;
    pointer_ = slots;
  }
  static void switch_from_to(Context& from, Context& to) {
    trireme_switch_stack(&from.pointer_, to.pointer_);
  }

 private:
  void* pointer_ = nullptr;
};
#else
class Context {
 public:
  void start(char* stack, size_t bytes, void (*entry)()) {
    CHECK_EQ(getcontext(&context_), 0);
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
  }
  static void switch_from_to(Context& from, Context& to) {
    CHECK_EQ(swapcontext(&from.context_, &to.context_), 0);
  }

 private:
  ucontext_t context_;
};
#endif

constexpr size_t kStackBytes = size_t{256} << 10;

enum class State { kReady, kAtWarpBarrier, kAtWarpgroupBarrier, kAtBlockBarrier, kDone };

constexpr size_t kWarpgroupThreads = 128;

struct Fiber {
  Context context;
  std::unique_ptr<char[]> stack;
  State state = State::kDone;
  unsigned index = 0;
  unsigned n_exchanges = 0;
  void* fake_stack = nullptr;  // the address sanitizer's
};

// Tells the address sanitizer which stack is current.
void start_switch(void** save, const void* stack, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(save, stack, bytes);
#else
  (void)save, (void)stack, (void)bytes;
#endif
}
void finish_switch(void* saved, const void** from, size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(saved, from, bytes);
#else
  (void)saved, (void)from, (void)bytes;
#endif
}

class Block {
 public:
  Block() = default;
  // At the end of its thread. A fiber that leaves for good gives its shadow of a stack back.
  ~Block() {
    is_ending_ = true;
    for (const std::unique_ptr<Fiber>& fiber : fibers_) resume(*fiber);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void run(const LaunchShape& shape, const std::function<void()>& body) {
    body_ = &body;
    const auto n = static_cast<size_t>(shape.block);
    while (fibers_.size() < n) add_fiber();
    shared_.assign(shape.shared_bytes + 16, 0xcd);  // shared memory arrives with anything in it
    for (size_t i = 0; i < n; ++i) {
      fibers_[i]->state = State::kReady;
      fibers_[i]->n_exchanges = 0;
    }
    n_ = n;
    begin_async_block(shared(), shape.shared_bytes, n);
    for (;;) {
      size_t n_waiting = 0;
      size_t n_done = 0;
      for (size_t warp = 0; warp < n; warp += kWarpSize) run_warp(warp);
      if (release_warpgroups()) continue;
      for (size_t i = 0; i < n; ++i) {
        n_waiting += fibers_[i]->state == State::kAtBlockBarrier ? 1 : 0;
        n_done += fibers_[i]->state == State::kDone ? 1 : 0;
      }
      if (n_done == n) break;
      CHECK_EQ(n_waiting + n_done, n) << "threads of a warp part ways before a barrier";
      for (size_t i = 0; i < n; ++i) {
        if (fibers_[i]->state == State::kAtBlockBarrier) fibers_[i]->state = State::kReady;
      }
      async_block_barrier();
    }
    end_async_block();
  }

  bool is_ending() const { return is_ending_; }
  [[noreturn]] void leave() {
    start_switch(nullptr, main_stack_, main_stack_bytes_);
    Context::switch_from_to(current_->context, main_);
    CHECK(false) << "a fiber that has left is resumed";
    __builtin_unreachable();
  }

  // Gives the processor back to the scheduler until `state` is over.
  void wait(State state) {
    Fiber& fiber = *current_;
    fiber.state = state;
    start_switch(&fiber.fake_stack, main_stack_, main_stack_bytes_);
    Context::switch_from_to(fiber.context, main_);
    finish_switch(fiber.fake_stack, &main_stack_, &main_stack_bytes_);
  }

  const uint32_t (*exchange(const uint32_t* words, int n_words))[8] {
    CHECK_LE(n_words, 8);
    const unsigned index = current_->index;
    // Two buffers in turn: a fast lane's next words do not overwrite those that a slow one still
    // reads.
    const unsigned turn = current_->n_exchanges++ % 2;
    auto& lanes = exchanged_[index / kWarpSize][turn];
    std::copy(words, words + n_words, lanes[index % kWarpSize]);
    wait(State::kAtWarpBarrier);
    return exchanged_[index / kWarpSize][turn];
  }

  unsigned char* shared() {
    const auto address = reinterpret_cast<uintptr_t>(shared_.data());
    return shared_.data() + (16 - address % 16) % 16;
  }

 private:
  // Until every lane is done or waits for the other warps.
  void run_warp(size_t first) {
    const size_t end = std::min(first + kWarpSize, n_);
    for (;;) {
      for (size_t i = first; i < end; ++i) {
        if (fibers_[i]->state == State::kReady) resume(*fibers_[i]);
      }
      bool any_at_warp_barrier = false;
      bool all_there = true;
      for (size_t i = first; i < end; ++i) {
        const State state = fibers_[i]->state;
        any_at_warp_barrier |= state == State::kAtWarpBarrier;
        all_there &= state == State::kAtWarpBarrier || state == State::kDone;
      }
      if (!any_at_warp_barrier) return;
      CHECK(all_there) << "some lanes wait for their warp, others for the block";
      for (size_t i = first; i < end; ++i) {
        if (fibers_[i]->state == State::kAtWarpBarrier) fibers_[i]->state = State::kReady;
      }
    }
  }

  // Lets those go on whose threads are all at their barrier.
  bool release_warpgroups() {
    bool any = false;
    for (size_t first = 0; first + kWarpgroupThreads <= n_; first += kWarpgroupThreads) {
      const auto begin = fibers_.begin() + static_cast<std::ptrdiff_t>(first);
      const auto end = begin + static_cast<std::ptrdiff_t>(kWarpgroupThreads);
      if (!std::all_of(begin, end, [](const auto& fiber) {
            return fiber->state == State::kAtWarpgroupBarrier;
          })) {
        continue;
      }
      std::for_each(begin, end, [](const auto& fiber) { fiber->state = State::kReady; });
      any = true;
    }
    return any;
  }

  void resume(Fiber& fiber) {
    current_ = &fiber;
    threadIdx = {fiber.index, 0, 0};
    start_switch(&main_fake_stack_, fiber.stack.get(), kStackBytes);
    Context::switch_from_to(main_, fiber.context);
    finish_switch(main_fake_stack_, nullptr, nullptr);
  }

  void add_fiber() {
    auto fiber = std::make_unique<Fiber>();
    fiber->index = static_cast<unsigned>(fibers_.size());
    fiber->stack.reset(new char[kStackBytes]);
    fiber->context.start(fiber->stack.get(), kStackBytes, &Block::fiber_main);
    fibers_.push_back(std::move(fiber));
    exchanged_.resize(fibers_.size() / kWarpSize + 1);
  }

  // A fiber outlives its kernel: it waits for the next one.
  static void fiber_main();

  std::vector<std::unique_ptr<Fiber>> fibers_;
  struct Exchange {
    uint32_t turns[2][kWarpSize][8];
    uint32_t (&operator[](unsigned turn))[kWarpSize][8] { return turns[turn]; }
  };
  std::vector<Exchange> exchanged_;
  std::vector<unsigned char> shared_;
  size_t n_ = 0;
  const std::function<void()>* body_ = nullptr;
  bool is_ending_ = false;
  Fiber* current_ = nullptr;
  Context main_;
  void* main_fake_stack_ = nullptr;
  const void* main_stack_ = nullptr;
  size_t main_stack_bytes_ = 0;
};

Block& block() {
  thread_local Block one;
  return one;
}

void Block::fiber_main() {
  Block& self = block();
  finish_switch(nullptr, &self.main_stack_, &self.main_stack_bytes_);
  while (!self.is_ending()) {
    (*self.body_)();
    self.wait(State::kDone);
  }
  self.leave();
}

}  // namespace

void run_grid(const LaunchShape& shape, const std::function<void()>& body) {
  blockDim = {static_cast<unsigned>(shape.block), 1, 1};
  gridDim = {static_cast<unsigned>(shape.grid_x), static_cast<unsigned>(shape.grid_y),
             static_cast<unsigned>(shape.grid_z)};
  for (unsigned z = 0; z < gridDim.z; ++z) {
    for (unsigned y = 0; y < gridDim.y; ++y) {
      for (unsigned x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        block().run(shape, body);
      }
    }
  }
}

void block_barrier() { block().wait(State::kAtBlockBarrier); }
void warpgroup_barrier() { block().wait(State::kAtWarpgroupBarrier); }
void warp_barrier() { block().wait(State::kAtWarpBarrier); }
unsigned char* dynamic_shared() { return block().shared(); }
const uint32_t (*warp_exchange(const uint32_t* words, int n_words))[8] {
  return block().exchange(words, n_words);
}

namespace {
thread_local bool is_recording = false;
thread_local std::vector<std::function<void()>> recorded;
thread_local bool late = false;
thread_local std::deque<std::function<void()>> to_do;
}  // namespace

void start_recording() {
  CHECK(!is_recording);
  is_recording = true;
  recorded.clear();
}

std::vector<std::function<void()>> stop_recording() {
  CHECK(is_recording);
  is_recording = false;
  return std::move(recorded);
}

bool recording() { return is_recording; }

void enqueue(std::function<void()> work) {
  if (is_recording) {
    recorded.push_back(std::move(work));
  } else if (late) {
    to_do.push_back(std::move(work));
  } else {
    work();
  }
}

void be_late(bool is) {
  catch_up();
  late = is;
}

bool is_late() { return late; }

void catch_up() {
  while (catch_up_a_piece()) {
  }
}

bool catch_up_a_piece() {
  if (to_do.empty()) return false;
  const std::function<void()> work = std::move(to_do.front());
  to_do.pop_front();
  work();
  return true;
}

}  // namespace trireme::kernels::cuda::emulator
