// The runtime of the emulator: device memory is host memory, and work has happened when a call
// returns, but on a device that is late.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/cuda/emulated/emulated_backend.h"
#include "kernels/cuda/emulated/emulator.h"
#include "kernels/cuda/large_gemm.h"
#include "kernels/cuda/runtime.h"
#include "kernels/host_memory.h"

namespace trireme::kernels::cuda {
namespace {

constexpr uintptr_t kAlignment = 256;  // as on a device

struct Event {
  std::chrono::steady_clock::time_point time;
  int n_recorded = 0;
  int n_happened = 0;
  bool has_happened() const { return n_happened == n_recorded; }
};

using Graph = std::shared_ptr<const std::vector<std::function<void()>>>;

// Which host memory is pinned: copies to and from it are done in their turn.
class PinnedMemory {
 public:
  void add(void* memory, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_[static_cast<char*>(memory)] = static_cast<char*>(memory) + bytes;
  }
  void remove(void* memory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_.erase(static_cast<char*>(memory));
  }
  bool holds(const void* memory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto at = ends_.upper_bound(static_cast<const char*>(memory));
    return at != ends_.begin() && static_cast<const char*>(memory) < (--at)->second;
  }

 private:
  std::mutex mutex_;
  std::map<const char*, const char*> ends_;  // by where they begin
};

PinnedMemory& pinned_memory() {
  static PinnedMemory memory;
  return memory;
}

}  // namespace

Result<DeviceInfo> open_device(int device) {
  return DeviceInfo{.index = device, .name = "emulator", .n_multiprocessors = 4, .major = 9};
}

Result<void*> allocate_device(size_t bytes) {
  CHECK(!emulator::recording()) << "memory is made while work is recorded";
  ASSIGN_OR_RETURN(const size_t available, free_device_bytes());
  if (bytes > available) {
    return resource_exhausted("cannot allocate " + std::to_string(bytes) +
                              " bytes: " + std::to_string(available) + " bytes are available");
  }
  // calloc: large memory arrives zeroed without being touched. What it returned stands before the
  // data.
  void* memory = std::calloc(1, bytes + 2 * kAlignment);
  CHECK(memory != nullptr);
  const auto data = round_up(reinterpret_cast<uintptr_t>(memory) + sizeof(void*), kAlignment);
  reinterpret_cast<void**>(data)[-1] = memory;
  return reinterpret_cast<void*>(data);
}
void release_device(void* memory) {
  emulator::catch_up();
  std::free(static_cast<void**>(memory)[-1]);
}

Result<void*> allocate_pinned(size_t bytes) {
  void* const memory = std::malloc(bytes);
  CHECK(memory != nullptr);
  pinned_memory().add(memory, bytes);
  return memory;
}
void release_pinned(void* memory) {
  emulator::catch_up();
  pinned_memory().remove(memory);
  std::free(memory);
}
Result<size_t> free_device_bytes() { return available_host_memory_bytes(); }

void copy_to_device_async(void* device, const void* host, size_t bytes, void*) {
  if (bytes == 0) return;
  if (!emulator::is_late() || pinned_memory().holds(host)) {
    copy_on_device_async(device, host, bytes, nullptr);
    return;
  }
  const auto* from = static_cast<const std::byte*>(host);
  emulator::enqueue([device, staged = std::vector<std::byte>(from, from + bytes)] {
    std::memcpy(device, staged.data(), staged.size());
  });
}
void copy_to_host_async(void* host, const void* device, size_t bytes, void*) {
  copy_on_device_async(host, device, bytes, nullptr);
  if (!pinned_memory().holds(host)) emulator::catch_up();
}
void copy_on_device_async(void* to, const void* from, size_t bytes, void*) {
  if (bytes == 0) return;
  emulator::enqueue([=] { std::memcpy(to, from, bytes); });
}
void synchronize_stream(void*) {
  CHECK(!emulator::recording()) << "a wait is recorded";
  emulator::catch_up();
}

Status begin_capture(void*) {
  emulator::start_recording();
  return {};
}
Result<void*> end_capture(void*) {
  return static_cast<void*>(new Graph(
      std::make_shared<const std::vector<std::function<void()>>>(emulator::stop_recording())));
}
bool is_capturing(void*) { return emulator::recording(); }
void launch_graph(void* graph, void*) {
  emulator::enqueue([all = *static_cast<Graph*>(graph)] {
    for (const auto& work : *all) work();
  });
}
void release_graph(void* graph) { delete static_cast<Graph*>(graph); }
void* default_stream() { return nullptr; }
Result<void*> make_stream() { return static_cast<void*>(new char); }  // one is as good as another
void release_stream(void* stream) { delete static_cast<char*>(stream); }

void* make_event() { return new Event; }
void release_event(void* event) {
  emulator::catch_up();
  delete static_cast<Event*>(event);
}
void record_event(void* event, void*) {
  auto* const recorded = static_cast<Event*>(event);
  const int number = ++recorded->n_recorded;
  emulator::enqueue([recorded, number] {
    recorded->time = std::chrono::steady_clock::now();
    recorded->n_happened = number;
  });
}
bool is_reached(void* event) {
  if (!static_cast<Event*>(event)->has_happened()) (void)emulator::catch_up_a_piece();
  return static_cast<Event*>(event)->has_happened();
}
void wait_for_event(void* event) {
  while (!static_cast<Event*>(event)->has_happened()) CHECK(emulator::catch_up_a_piece());
}
void enqueue_wait(void*, void*) {}
double seconds_between(void* begin, void* end) {
  return std::chrono::duration<double>(static_cast<Event*>(end)->time -
                                       static_cast<Event*>(begin)->time)
      .count();
}

Result<std::unique_ptr<LargeGemm>> make_large_gemm(const LargeGemmOptions&) {
  return std::unique_ptr<LargeGemm>();
}

}  // namespace trireme::kernels::cuda

namespace trireme::kernels {

void make_emulated_device_late() { cuda::emulator::be_late(true); }

}  // namespace trireme::kernels
