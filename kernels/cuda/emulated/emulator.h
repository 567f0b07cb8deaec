// The emulator: runs a CUDA kernel on the host, thread by thread, so that tests on a machine
// without a GPU execute the very source that nvcc compiles.
//
// A block's threads are fibers of the calling thread; they switch at barriers and at exchanges
// inside a warp, and blocks run one after the other. What it shows: index arithmetic, barriers that
// all threads reach, fragment layouts, results; under the address sanitizer also every access
// outside an allocation; what it checks of asynchronous copies and products is in warpgroup.h. What
// it cannot show: races of plain accesses between barriers, memory ordering, speed. A barrier that
// some threads never reach stops the process. Ranks that are threads of one process run their grids
// side by side, as devices do: a kernel may wait for another rank's.
//
// This header stands in for the compiler's built-ins and is included by device.h alone.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/cuda/launch_shape.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __launch_bounds__(...)

namespace trireme::kernels::cuda {

struct Index3 {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};

// Of the fiber that runs; set at every switch. A rank's thread has its own.
inline constinit thread_local Index3 threadIdx{};
inline constinit thread_local Index3 blockIdx{};
inline constinit thread_local Index3 blockDim{};
inline constinit thread_local Index3 gridDim{};

struct uint4 {
  uint32_t x, y, z, w;
};
struct float4 {
  float x, y, z, w;
};

namespace emulator {

// Runs `body` once per thread of the grid.
void run_grid(const LaunchShape& shape, const std::function<void()>& body);

// Between the two, the calling thread's launches and copies are kept and not done, as in a graph's
// capture; `stop_recording` hands them out. What waits for work must not be called meanwhile.
void start_recording();
std::vector<std::function<void()>> stop_recording();
bool recording();
// Does the work, or keeps it while recording; or, on a device that is late, puts it behind what is
// to be done.
void enqueue(std::function<void()> work);

// Makes the calling thread's device late, or in time again when all is done: late, it does its work
// when the host waits, and a piece of it each time that the host asks. So a host that reads before
// it has waited, or writes over what a copy has yet to read, is seen to.
void be_late(bool late);
bool is_late();
// Does all that is to be done; the next piece, where there is one.
void catch_up();
bool catch_up_a_piece();

// Called by fibers.
void block_barrier();
void warp_barrier();
void warpgroup_barrier();  // of 128 neighbouring threads
unsigned char* dynamic_shared();
// Every lane of the warp hands in `words`; afterwards each may read all lanes' words, until its
// next exchange. At most 8 words a lane.
const uint32_t (*warp_exchange(const uint32_t* words, int n_words))[8];

}  // namespace emulator
}  // namespace trireme::kernels::cuda
