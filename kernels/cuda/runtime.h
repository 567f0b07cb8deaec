// The few calls of the CUDA runtime that the backend makes, so that it also runs on the emulator.
//
// runtime.cc is the device's side, emulated/runtime_emulated.cc the host's. An error that a caller
// can expect is a Result; any other (a fault in a kernel, a lost device) stops the process with the
// driver's sentence: a device that has failed once answers nothing any more, and the replica's
// other processes learn of it by its end. The calling thread's current device is meant throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace trireme::kernels::cuda {

struct DeviceInfo {
  int index = 0;
  std::string name;
  int n_multiprocessors = 1;
  int major = 0;  // compute capability
  int minor = 0;
  size_t total_bytes = 0;
};

// Makes `device` the calling thread's. failed_precondition with the reason: no driver, one that is
// older than the toolkit, no such device, one that this build has no code for.
Result<DeviceInfo> open_device(int device);

// Zeroed device memory. resource_exhausted with both numbers.
Result<void*> allocate_device(size_t bytes);
void release_device(void* memory);
// Host memory that the device copies from without a detour.
Result<void*> allocate_pinned(size_t bytes);
void release_pinned(void* memory);
Result<size_t> free_device_bytes();

// Enqueued. Pageable host memory may be reused when the call returns; pinned memory after the copy.
void copy_to_device_async(void* device, const void* host, size_t bytes, void* stream);
void copy_to_host_async(void* host, const void* device, size_t bytes, void* stream);
void copy_on_device_async(void* to, const void* from, size_t bytes, void* stream);
void synchronize_stream(void* stream);

// The calling thread's own stream, for callers that name none: the backend and the collectives of a
// rank mean the same one by it.
void* default_stream();

// One that does not wait for the others of its device, nor they for it.
Result<void*> make_stream();
void release_stream(void* stream);  // what is on it is still done

// What is enqueued on the stream between the two calls is kept in a graph and not done. Another
// thread's work is not touched. The errors are the driver's.
Status begin_capture(void* stream);
Result<void*> end_capture(void* stream);
bool is_capturing(void* stream);
void launch_graph(void* graph, void* stream);
void release_graph(void* graph);

void* make_event();
void release_event(void* event);
void record_event(void* event, void* stream);
// True of one that was never recorded.
bool is_reached(void* event);
void wait_for_event(void* event);
// Enqueued: what comes behind it on the stream begins when the event has happened.
void enqueue_wait(void* event, void* stream);
// Between two recorded events that have happened.
double seconds_between(void* begin, void* end);

}  // namespace trireme::kernels::cuda
