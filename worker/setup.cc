#include "worker/setup.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/devices.h"
#include "parallel/comm/nccl/nccl_group.h"
#include "worker/gpu_choice.h"

namespace trireme::worker {

Result<WorkerOptions> worker_options(const ClusterConfig& config, int worker_rank) {
  WorkerOptions options;
  options.model_dir = config.model.path;
  ASSIGN_OR_RETURN(options.spec, plan::load_model_spec(config.model.path));
  ASSIGN_OR_RETURN(options.plan,
                   plan::make_parallel_plan(options.spec, plan::parallel_options(config.replicas)));
  options.worker_rank = worker_rank;
  options.block_size = config.scheduler.block_size;
  options.max_step_tokens = config.scheduler.max_step_tokens;
  // Every running sequence may sample in a step, and prompt log-probabilities want a row per
  // position.
  options.max_logits_rows =
      std::max(config.scheduler.max_step_tokens, config.scheduler.max_running);
  options.random_weights = config.model.random_weights;
  options.keep_low_bit = config.model.quantized_weights == "keep";
  options.e4m3_kv = config.model.kv_cache_dtype == "fp8_e4m3";
  options.memory_bytes = static_cast<int64_t>(config.replicas.memory_gib * 1024 * 1024 * 1024);
  options.utilisation = config.replicas.memory_utilisation;
  options.decode_graphs = config.replicas.decode_graphs;
  options.step_deadline_ns = config.scheduler.step_deadline_ns;
  return options;
}

Result<std::unique_ptr<kernels::Backend>> make_backend(const ClusterConfig& config,
                                                       const std::string& host, int n_taken,
                                                       comm::Mesh& mesh) {
  const auto compute = config.model.compute_dtype == "float32" ? kernels::ComputeDType::kF32
                                                               : kernels::ComputeDType::kBF16;
  if (config.replicas.backend == "cuda") {
    ASSIGN_OR_RETURN(const int device, choose_gpu(host, n_taken, kernels::cuda::list_gpus(), mesh));
    return kernels::make_cuda_backend({.device = device,
                                       .compute_dtype = compute,
                                       .tuning_file = config.state_dir + "/product_algorithms.txt",
                                       .batch_invariant = config.replicas.batch_invariant});
  }
  return kernels::make_cpu_backend(
      {.compute_dtype = compute, .n_threads = config.replicas.threads_per_rank});
}

Result<comm::Mesh> make_device_mesh(const ClusterConfig& config, const std::string& machine,
                                    kernels::Backend& backend, comm::Mesh host,
                                    const Clock& clock) {
  if (config.replicas.backend != "cuda" || config.replicas.tp * config.replicas.pp == 1) {
    return host;
  }
  return comm::make_nccl_mesh(std::move(host),
                              {.machine = machine,
                               .all_reduce = comm::one_shot_mode(config.replicas.all_reduce),
                               .rank_order_sums = config.replicas.batch_invariant},
                              backend, clock);
}

}  // namespace trireme::worker
