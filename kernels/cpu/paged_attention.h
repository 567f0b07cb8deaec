// Attention over a paged cache, spread over a thread pool by (run of query tokens, key head, part
// of the query heads).
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
  void run(const LatentAttentionArgs& args);

 private:
  // Query rows [begin, end) of one sequence, for every key head.
  struct Chunk {
    int64_t seq = 0;
    int64_t begin = 0;
    int64_t end = 0;
  };
  // What the two ops have in common.
  struct Call {
    TensorView q;
    TensorView out;
    TensorView block_table;
    TensorView query_start;
    TensorView context_len;
    int64_t n_kv_heads = 1;
    int64_t group = 1;          // query heads of a key head
    int64_t n_group_parts = 1;  // into which a group is cut
    int64_t kv_head_bytes = 0;  // between key heads of a block
    AttentionItem common;       // what is the same in every item
  };

  void cut(Call* call);
  void cut_into_chunks(const Call& call);
  void run_item(const Call& call, const Chunk& chunk, int64_t part, int thread);
  void run(Call* call);

  const IsaKernels& isa_;
  ThreadPool* pool_;
  std::vector<Scratch> per_thread_;
  std::vector<Chunk> chunks_;
};

}  // namespace trireme::kernels::cpu
