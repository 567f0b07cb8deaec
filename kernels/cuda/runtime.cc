#include "kernels/cuda/runtime.h"

#include <cuda_runtime_api.h>

#include "base/check.h"
#include "kernels/cuda/device_limits.h"
#include "kernels/cuda/devices.h"

namespace trireme::kernels::cuda {
namespace {

void expect(cudaError_t error, const char* what) {
  CHECK(error == cudaSuccess) << "cuda: " << what << ": " << cudaGetErrorString(error) << " ("
                              << cudaGetErrorName(error) << ")";
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Error cannot_open(cudaError_t error, int device) {
  int driver = 0;
  int toolkit = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&toolkit);
  (void)cudaGetLastError();
  if (driver == 0) return failed_precondition("this machine has no NVIDIA driver");
  if (error == cudaErrorNoDevice) {
    return failed_precondition("this machine has an NVIDIA driver, but no GPU that it shows");
  }
  if (error == cudaErrorInsufficientDriver || (driver > 0 && driver / 1000 < toolkit / 1000)) {
    return failed_precondition("the NVIDIA driver supports CUDA " + version_text(driver) +
                               ", and this build needs CUDA " + version_text(toolkit) +
                               ": a newer driver, or a build with an older toolkit, will do");
  }
  return failed_precondition("CUDA device " + std::to_string(device) +
                             " cannot be used: " + cudaGetErrorString(error));
}

}  // namespace

void check_last_launch(const char* kernel);
void check_last_launch(const char* kernel) { expect(cudaGetLastError(), kernel); }

void allow_shared_bytes(const void* kernel, size_t bytes, const char* name);
void allow_shared_bytes(const void* kernel, size_t bytes, const char* name) {
  expect(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes)),
         name);
}

void load_kernel(const void* kernel);
void load_kernel(const void* kernel) {
  cudaFuncAttributes attributes{};
  expect(cudaFuncGetAttributes(&attributes, kernel), "loading a kernel");
}

// An empty kernel of this build: whether a device has code to run is asked before any work
// (probe.cu).
cudaError_t probe_kernel();

int device_count() {
  int n_devices = 0;
  if (cudaGetDeviceCount(&n_devices) == cudaSuccess) return n_devices;
  (void)cudaGetLastError();
  return 0;
}

Result<std::vector<GpuDescription>> list_gpus() {
  int n_devices = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&n_devices); error != cudaSuccess) {
    return cannot_open(error, 0);
  }
  if (n_devices == 0) return cannot_open(cudaErrorNoDevice, 0);
  std::vector<GpuDescription> gpus;
  for (int device = 0; device < n_devices; ++device) {
    cudaDeviceProp properties{};
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, device);
        error != cudaSuccess) {
      return cannot_open(error, device);
    }
    gpus.push_back(
        {.name = properties.name, .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return gpus;
}

Result<DeviceInfo> open_device(int device) {
  int n_devices = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&n_devices); error != cudaSuccess) {
    return cannot_open(error, device);
  }
  if (device < 0 || device >= n_devices) {
    return failed_precondition("there is no CUDA device " + std::to_string(device) +
                               ": this machine has " + std::to_string(n_devices));
  }
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) {
    return cannot_open(error, device);
  }
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device);
      error != cudaSuccess) {
    return cannot_open(error, device);
  }
  DeviceInfo info{.index = device,
                  .name = properties.name,
                  .n_multiprocessors = properties.multiProcessorCount,
                  .major = properties.major,
                  .minor = properties.minor,
                  .total_bytes = properties.totalGlobalMem};
  if (const cudaError_t error = probe_kernel(); error != cudaSuccess) {
    (void)cudaGetLastError();
    return failed_precondition("this build has no code for " + info.name + " (compute capability " +
                               std::to_string(info.major) + "." + std::to_string(info.minor) +
                               "): " + cudaGetErrorString(error));
  }
  return info;
}

Result<void*> allocate_device(size_t bytes) {
  void* memory = nullptr;
  const size_t wanted = bytes == 0 ? 1 : bytes;
  if (const cudaError_t error = cudaMalloc(&memory, wanted); error != cudaSuccess) {
    (void)cudaGetLastError();
    size_t free = 0;
    size_t total = 0;
    (void)cudaMemGetInfo(&free, &total);
    return resource_exhausted("cannot allocate " + std::to_string(bytes) +
                              " bytes: " + std::to_string(free) +
                              " bytes of device memory are free of " + std::to_string(total));
  }
  expect(cudaMemsetAsync(memory, 0, wanted, cudaStreamPerThread), "clearing memory");
  expect(cudaStreamSynchronize(cudaStreamPerThread), "clearing memory");
  return memory;
}

void release_device(void* memory) {
  // At the end of a process the driver may be gone already, and the memory with it.
  (void)cudaFree(memory);
}

Result<void*> allocate_pinned(size_t bytes) {
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, bytes, cudaHostAllocDefault) != cudaSuccess) {
    (void)cudaGetLastError();
    return resource_exhausted("cannot pin " + std::to_string(bytes) + " bytes of host memory");
  }
  return memory;
}

void release_pinned(void* memory) { (void)cudaFreeHost(memory); }

Result<size_t> free_device_bytes() {
  size_t free = 0;
  size_t total = 0;
  if (const cudaError_t error = cudaMemGetInfo(&free, &total); error != cudaSuccess) {
    return unavailable(std::string("the device does not say how much memory is free: ") +
                       cudaGetErrorString(error));
  }
  return free;
}

void copy_to_device_async(void* device, const void* host, size_t bytes, void* stream) {
  if (bytes == 0) return;
  expect(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice,
                         static_cast<cudaStream_t>(stream)),
         "copy to the device");
}

void copy_to_host_async(void* host, const void* device, size_t bytes, void* stream) {
  if (bytes == 0) return;
  expect(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost,
                         static_cast<cudaStream_t>(stream)),
         "copy to the host");
}

void copy_on_device_async(void* to, const void* from, size_t bytes, void* stream) {
  if (bytes == 0) return;
  expect(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream)),
      "copy on the device");
}

void synchronize_stream(void* stream) {
  expect(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "waiting for the device");
}

void* default_stream() { return cudaStreamPerThread; }

Result<void*> make_stream() {
  cudaStream_t stream = nullptr;
  if (const cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
      error != cudaSuccess) {
    return resource_exhausted(std::string("no stream: ") + cudaGetErrorString(error));
  }
  return static_cast<void*>(stream);
}
void release_stream(void* stream) { (void)cudaStreamDestroy(static_cast<cudaStream_t>(stream)); }

Status begin_capture(void* stream) {
  if (const cudaError_t error = cudaStreamBeginCapture(static_cast<cudaStream_t>(stream),
                                                       cudaStreamCaptureModeThreadLocal);
      error != cudaSuccess) {
    (void)cudaGetLastError();
    return unavailable(std::string("work cannot be captured: ") + cudaGetErrorString(error));
  }
  return {};
}

Result<void*> end_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaError_t error = cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph);
  if (error == cudaSuccess) error = cudaGraphInstantiate(&executable, graph, 0);
  if (graph != nullptr) (void)cudaGraphDestroy(graph);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    return unavailable(std::string("work was not captured: ") + cudaGetErrorString(error));
  }
  return static_cast<void*>(executable);
}

bool is_capturing(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  expect(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status), "asking a stream");
  return status != cudaStreamCaptureStatusNone;
}

void launch_graph(void* graph, void* stream) {
  expect(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)),
         "starting a graph");
}

void release_graph(void* graph) { (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

void* make_event() {
  cudaEvent_t event = nullptr;
  expect(cudaEventCreate(&event), "making an event");
  return event;
}
void release_event(void* event) { (void)cudaEventDestroy(static_cast<cudaEvent_t>(event)); }
void record_event(void* event, void* stream) {
  expect(cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)),
         "recording an event");
}
void enqueue_wait(void* event, void* stream) {
  expect(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(event), 0),
         "ordering streams");
}
bool is_reached(void* event) {
  const cudaError_t state = cudaEventQuery(static_cast<cudaEvent_t>(event));
  if (state == cudaErrorNotReady) return false;
  expect(state, "asking for an event");
  return true;
}
void wait_for_event(void* event) {
  expect(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "waiting for an event");
}
double seconds_between(void* begin, void* end) {
  float milliseconds = 0;
  expect(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(begin),
                              static_cast<cudaEvent_t>(end)),
         "timing");
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace trireme::kernels::cuda
