// What a block does asynchronously, on the emulator: copies into shared memory and products of
// warpgroups, by the documented semantics alone (PTX ISA, "Asynchronous warpgroup level matrix
// instructions" and "cp.async"). It decodes descriptors and swizzles addresses itself and shares no
// helper with the kernels, so that a layout that the hardware would not read stops or changes a
// test.
//
// Work is done as late as the kernel allows: a copy when its thread waits for it, a product when
// its warpgroup does; until then shared memory and sums hold garbage. What stops the process:
//  - a product that reads bytes whose writers have not passed the proxy fence and a barrier since,
//    or that nobody wrote;
//  - a copy into bytes that a product under way reads, or that another copy is under way to;
//  - a product without wgmma.fence since the last wait, sums or words of A that change under way;
//  - threads of a warpgroup that ask for different products, or leave with work under way.
// What it does not see: plain loads and stores of shared memory.
//
// Called by fibers of the running block.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme::kernels::cuda::emulator {

// In the window of shared memory: the dynamic part begins at a multiple of 16, no more.
uint32_t shared_address(const void* shared);

// A group of copies is what the thread copied since its last commit.
void copy_async(uint32_t to, const void* from, bool zeros);
void copy_async_commit();
void copy_async_wait(int n_pending);
void proxy_fence();

// One thread's part of a product [64, n] = [64, 16] [16, n].
struct WarpgroupProduct {
  float* d = nullptr;           // n / 2 sums
  int n = 0;                    // a multiple of 8, at most 256
  const uint32_t* a = nullptr;  // 4 words
  uint64_t b = 0;               // descriptor
  bool transposed = false;
  bool add = false;
  float (*to_f32)(uint16_t) = nullptr;
};
void wgmma_fence();
void wgmma(const WarpgroupProduct& product);
void wgmma_commit();
void wgmma_wait(int n_pending);

// Called by the emulator itself.
void begin_async_block(unsigned char* shared, size_t shared_bytes, size_t n_threads);
void async_block_barrier();
void end_async_block();

}  // namespace trireme::kernels::cuda::emulator
