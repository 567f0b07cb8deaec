// The engine's benchmark: prefill and decode of one model through the production worker, beside the
// machine's limit.
//
// Ranks are threads of this process with inproc collectives, driven by step plans through links, as
// in a replica. Each figure is a median of rounds; each round measures the limit right before it,
// because on a shared machine the two move together. A rank shard loads one rank's slices with
// collectives that do nothing, and says so in its lines: it times the compute of a rank of a plan
// that this machine cannot hold.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "parallel/plan/model_spec.h"

namespace trireme::worker {

struct RankShard {
  int tp = 1;
  int rank = 0;
};

struct EngineBenchLine {
  std::string what;   // "prefill" or "decode"
  std::string shape;  // model, plan, batch, context
  double tokens_per_second = 0;
  double limit_tokens_per_second =
      0;  // what the measured memory rate or compute rate allows at best
  double percent_of_limit = 0;
  std::string bound;            // "memory" or "compute": which of the two is the limit
  double collective_share = 0;  // of rank 0's step time
  std::string device;
  std::string note;  // e.g. that collectives were stubbed; empty otherwise
};

struct EngineBenchOptions {
  std::string model_dir;  // unused with random weights
  plan::ModelSpec spec;
  bool random_weights = false;
  bool keep_low_bit = false;
  bool e4m3_kv = false;
  int tp = 1;
  int pp = 1;
  std::optional<RankShard> rank_shard;  // instead of tp and pp
  kernels::ComputeDType compute_dtype = kernels::ComputeDType::kBF16;
  bool on_cuda = false;          // one rank, on CUDA device 0
  bool batch_invariant = false;  // on CUDA; the line's device says so
  bool decode_graphs = true;     // on CUDA
  int n_threads = 0;             // per rank; 0: the cores divided among the ranks
  int prompt_tokens = 256;       // of the prefill
  int context_tokens = 8;        // of each stream before decode
  int output_tokens = 20;        // decode steps per batch size
  std::vector<int> batches = {1, 8, 32};
  int n_rounds = 5;
  std::function<void(const EngineBenchLine&)> on_line;  // each line as it is ready; may be empty
};

// invalid_argument for options out of range; the worker's errors otherwise.
Result<std::vector<EngineBenchLine>> run_engine_bench(const EngineBenchOptions& options);

}  // namespace trireme::worker
