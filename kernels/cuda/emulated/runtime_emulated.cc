// The runtime of the emulator: device memory is host memory, and work has happened when a call
// returns.
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "kernels/cuda/emulated/emulator.h"
#include "kernels/cuda/large_gemm.h"
#include "kernels/cuda/runtime.h"
#include "kernels/host_memory.h"

namespace trireme::kernels::cuda {
namespace {

constexpr uintptr_t kAlignment = 256;  // as on a device

struct Event {
  std::chrono::steady_clock::time_point time;
};

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
void release_device(void* memory) { std::free(static_cast<void**>(memory)[-1]); }

Result<void*> allocate_pinned(size_t bytes) { return std::malloc(bytes); }
void release_pinned(void* memory) { std::free(memory); }
Result<size_t> free_device_bytes() { return available_host_memory_bytes(); }

void copy_to_device_async(void* device, const void* host, size_t bytes, void*) {
  copy_on_device_async(device, host, bytes, nullptr);
}
void copy_to_host_async(void* host, const void* device, size_t bytes, void*) {
  copy_on_device_async(host, device, bytes, nullptr);
}
void copy_on_device_async(void* to, const void* from, size_t bytes, void*) {
  if (bytes == 0) return;
  emulator::enqueue([=] { std::memcpy(to, from, bytes); });
}
void synchronize_stream(void*) { CHECK(!emulator::recording()) << "a wait is recorded"; }

Status begin_capture(void*) {
  emulator::start_recording();
  return {};
}
Result<void*> end_capture(void*) {
  return static_cast<void*>(new std::vector<std::function<void()>>(emulator::stop_recording()));
}
bool is_capturing(void*) { return emulator::recording(); }
void launch_graph(void* graph, void*) {
  for (const auto& work : *static_cast<std::vector<std::function<void()>>*>(graph)) work();
}
void release_graph(void* graph) { delete static_cast<std::vector<std::function<void()>>*>(graph); }
void* default_stream() { return nullptr; }
Result<void*> make_stream() { return static_cast<void*>(new char); }  // one is as good as another
void release_stream(void* stream) { delete static_cast<char*>(stream); }

void* make_event() { return new Event; }
void release_event(void* event) { delete static_cast<Event*>(event); }
void record_event(void* event, void*) {
  static_cast<Event*>(event)->time = std::chrono::steady_clock::now();
}
void wait_for_event(void*) {}
void enqueue_wait(void*, void*) {}
double seconds_between(void* begin, void* end) {
  return std::chrono::duration<double>(static_cast<Event*>(end)->time -
                                       static_cast<Event*>(begin)->time)
      .count();
}

Result<std::unique_ptr<LargeGemm>> make_large_gemm(const LargeGemmOptions&) { return std::unique_ptr<LargeGemm>(); }

}  // namespace trireme::kernels::cuda
