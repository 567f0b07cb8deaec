// ShardLoader: turns a rank's slices of a checkpoint into device memory, strictly.
//
// `create` compares the whole checkpoint with what the model's plan needs before a byte is read: a
// tensor that is missing, misshapen, of a type that cannot be a weight, or that nothing uses is an
// error that names it. After that the model asks for its own tensors by name, and `finish` proves
// that it asked for all of them. Used by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

// Bytes of this rank's slices read so far, and in all.
using LoadProgressFn = std::function<void(int64_t bytes_done, int64_t bytes_total)>;

// Device memory and its shape.
struct DeviceTensor {
  std::unique_ptr<kernels::Buffer> buffer;
  TensorView view;
  bool defined() const { return buffer != nullptr; }
};

// Zeroed. resource_exhausted with the numbers.
Result<DeviceTensor> allocate_tensor(kernels::Backend& backend, DType dtype,
                                     std::initializer_list<int64_t> shape);

class ShardLoader {
 public:
  // Source and backend outlive the loader.
  static Result<ShardLoader> create(const plan::ModelSpec& spec, const plan::ParallelPlan& plan,
                                    int worker_rank, WeightSource& source,
                                    kernels::Backend& backend, LoadProgressFn progress);

  // The named matrices' slices, one under the other, packed; zero rows are added up to `min_rows`.
  Result<std::unique_ptr<kernels::PackedWeight>> packed(const std::vector<std::string>& names,
                                                        int64_t min_rows = 0);
  // A matrix in the type of its source, zero rows added up to `n_rows`.
  Result<DeviceTensor> table(const std::string& name, int64_t n_rows);
  // The named vectors' slices, one behind the other, as f32.
  Result<DeviceTensor> vector_f32(const std::vector<std::string>& names);

  // internal naming the first slice of the plan that the model did not ask for.
  Status finish() const;
  int64_t device_bytes() const { return device_bytes_; }
  kernels::Backend& backend() const { return *backend_; }

 private:
  ShardLoader(WeightSource& source, kernels::Backend& backend, LoadProgressFn progress)
      : source_(&source), backend_(&backend), progress_(std::move(progress)) {}

  // Reads the slices into host_ in their own type, or as f32 where they differ: [rows, columns].
  Result<TensorView> read_stacked(const std::vector<std::string>& names, int64_t min_rows,
                                  bool as_f32);
  Status read_one(const plan::TensorSlice& slice, DType as, char* out);

  WeightSource* source_;
  kernels::Backend* backend_;
  LoadProgressFn progress_;
  std::map<std::string, plan::TensorSlice> slices_;  // of this rank
  std::set<std::string> loaded_;
  std::vector<char> host_;     // the slices of one call
  std::vector<char> convert_;  // a slice before its conversion
  int64_t bytes_done_ = 0;
  int64_t bytes_total_ = 0;
  int64_t device_bytes_ = 0;
};

}  // namespace trireme::worker
