// Paged attention spread over a thread pool by (sequence, key head, run of query tokens).
#pragma once

#include <vector>

#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace trireme::kernels::cpu {

class PagedAttention {
 public:
  PagedAttention(const IsaKernels& isa, ThreadPool* pool);

  // Shapes and contents were checked by the caller.
  void run(const PagedAttentionArgs& args);

 private:
  // Query rows [begin, end) of one sequence, for every key head.
  struct Chunk {
    int64_t seq = 0;
    int64_t begin = 0;
    int64_t end = 0;
  };

  void cut_into_chunks(const PagedAttentionArgs& args);
  void run_item(const PagedAttentionArgs& args, const Chunk& chunk, int64_t kv_head, int thread);

  const IsaKernels& isa_;
  ThreadPool* pool_;
  std::vector<Scratch> per_thread_;
  std::vector<Chunk> chunks_;
};

}  // namespace trireme::kernels::cpu
