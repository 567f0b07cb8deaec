// Routing of mixture-of-experts layers on the CPU: who goes where. The experts' products are in
// linear.h.
#pragma once

#include <vector>

#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace trireme::kernels::cpu {

// Shapes were checked by the caller.
class MoeRouter {
 public:
  MoeRouter(const IsaKernels& isa, ThreadPool* pool);

  void run(const MoeRouteArgs& args);

 private:
  struct Candidate {
    float score = 0;
    int32_t id = 0;
  };
  // A thread's memory.
  struct Work {
    std::vector<float> scores;  // [n_experts], weights of the chosen come from here
    std::vector<float> choice;  // [n_experts], what experts are chosen by
    std::vector<Candidate> groups;
    std::vector<Candidate> experts;
  };

  static void keep_best(std::vector<Candidate>* best, size_t n, Candidate candidate);
  void score(const MoeRouteArgs& args, const float* logits, Work* work) const;
  static void choose_groups(const MoeRouteArgs& args, const float* choice, Work* work);
  void route(const MoeRouteArgs& args, int64_t token, Work* work) const;

  const IsaKernels& isa_;
  ThreadPool* pool_;
  std::vector<Work> per_thread_;
};

// On the calling thread: some thousand integers.
void moe_dispatch(const MoeDispatchArgs& args);

}  // namespace trireme::kernels::cpu
