#include "worker/weights/shard_loader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

using kernels::Backend;
using plan::TensorSlice;

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// Buffers that published checkpoints carry and that no computation of ours reads, by name.
bool is_ignorable(const std::string& name, const plan::ModelSpec& spec) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  // Some tied checkpoints store the head again; the embedding is what counts.
  return spec.tied_embeddings && name == "lm_head.weight";
}

Status check_inventory(const std::vector<SourceTensor>& inventory, const plan::ModelSpec& spec,
                       const std::map<std::string, std::vector<int64_t>>& wanted) {
  std::unordered_map<std::string, const SourceTensor*> present;
  for (const SourceTensor& tensor : inventory) present.emplace(tensor.name, &tensor);
  for (const auto& [name, shape] : wanted) {
    const auto at = present.find(name);
    if (at == present.end()) {
      return invalid_argument(
          fmt::format("tensor {} is missing from the checkpoint", in_quotes(name)));
    }
    const SourceTensor& tensor = *at->second;
    if (tensor.shape != shape) {
      return invalid_argument(fmt::format("tensor {} has shape {}; config.json makes it {}",
                                          in_quotes(name), shape_text(tensor.shape),
                                          shape_text(shape)));
    }
    if (!tensor.dtype.has_value()) {
      return unimplemented(
          fmt::format("tensor {} has dtype {}; F32, F16 and BF16 weights are served",
                      in_quotes(name), tensor.stored_dtype));
    }
  }
  for (const SourceTensor& tensor : inventory) {
    if (!wanted.contains(tensor.name) && !is_ignorable(tensor.name, spec)) {
      return invalid_argument(
          fmt::format("tensor {} of the checkpoint has no place in a {} of this config.json",
                      in_quotes(tensor.name), spec.architecture));
    }
  }
  return {};
}

void convert_to_f32(const char* from, DType dtype, int64_t n, float* to) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::kF16: {
      const auto* values = reinterpret_cast<const f16*>(from);
      for (int64_t i = 0; i < n; ++i) to[i] = to_f32(values[i]);
      return;
    }
    case DType::kBF16: {
      const auto* values = reinterpret_cast<const bf16*>(from);
      for (int64_t i = 0; i < n; ++i) to[i] = to_f32(values[i]);
      return;
    }
    default:
      CHECK(false) << "not a weight type: " << dtype;
  }
}

}  // namespace

Result<DeviceTensor> allocate_tensor(Backend& backend, DType dtype,
                                     std::initializer_list<int64_t> shape) {
  DeviceTensor tensor;
  tensor.view = TensorView(nullptr, dtype, shape);
  // At least one byte: an empty slice still has an address, so that it counts as defined.
  ASSIGN_OR_RETURN(tensor.buffer, backend.allocate(std::max<size_t>(tensor.view.bytes(), 64)));
  tensor.view.data = tensor.buffer->data();
  return tensor;
}

Result<ShardLoader> ShardLoader::create(const plan::ModelSpec& spec, const plan::ParallelPlan& plan,
                                        int worker_rank, WeightSource& source, Backend& backend,
                                        LoadProgressFn progress) {
  // Every rank checks the whole checkpoint, its neighbours' tensors too: a broken one fails
  // everywhere alike.
  std::map<std::string, std::vector<int64_t>> wanted;
  for (const plan::RankPlan& rank : plan.ranks) {
    for (TensorSlice& slice : plan.tensor_slices(spec, rank.worker_rank)) {
      wanted.emplace(std::move(slice.name), std::move(slice.shape));
    }
  }
  if (const auto inventory = source.inventory(); inventory.has_value()) {
    TRY(check_inventory(*inventory, spec, wanted));
  }
  ShardLoader loader(source, backend, std::move(progress));
  for (TensorSlice& slice : plan.tensor_slices(spec, worker_rank)) {
    const auto element_bytes = static_cast<int64_t>(size_of(source.dtype(slice.name)));
    const std::string name = slice.name;
    const int64_t bytes = slice.rows.size() * slice.columns.size() * element_bytes;
    if (loader.slices_.emplace(name, std::move(slice)).second) loader.bytes_total_ += bytes;
  }
  return loader;
}

Status ShardLoader::read_one(const TensorSlice& slice, DType as, char* out) {
  const DType stored = source_->dtype(slice.name);
  const int64_t n = slice.rows.size() * slice.columns.size();
  if (stored == as) {
    TRY(source_->read(slice, out));
  } else {
    CHECK_EQ(as, DType::kF32);
    convert_.resize(static_cast<size_t>(n) * size_of(stored));
    TRY(source_->read(slice, convert_.data()));
    convert_to_f32(convert_.data(), stored, n, reinterpret_cast<float*>(out));
  }
  if (loaded_.insert(slice.name).second) {
    bytes_done_ += n * static_cast<int64_t>(size_of(stored));
    if (progress_) progress_(bytes_done_, bytes_total_);
  }
  return {};
}

Result<TensorView> ShardLoader::read_stacked(const std::vector<std::string>& names,
                                             int64_t min_rows, bool as_f32) {
  int64_t n_rows = 0;
  int64_t n_columns = -1;
  DType dtype = as_f32 ? DType::kF32 : source_->dtype(names.front());
  for (const std::string& name : names) {
    const auto at = slices_.find(name);
    CHECK(at != slices_.end()) << "the plan gives this rank no tensor " << name;
    const TensorSlice& slice = at->second;
    CHECK(n_columns == -1 || n_columns == slice.columns.size()) << name;
    n_columns = slice.columns.size();
    n_rows += slice.rows.size();
    if (source_->dtype(name) != dtype) dtype = DType::kF32;
  }
  const int64_t n_padded = std::max(n_rows, min_rows);
  const size_t row_bytes = static_cast<size_t>(n_columns) * size_of(dtype);
  // Grows, never shrinks: the largest stack is a layer's gate and up projection or the head.
  host_.resize(std::max(host_.size(), static_cast<size_t>(n_padded) * row_bytes));
  char* out = host_.data();
  for (const std::string& name : names) {
    const TensorSlice& slice = slices_.at(name);
    TRY(read_one(slice, dtype, out));
    out += static_cast<size_t>(slice.rows.size()) * row_bytes;
  }
  std::memset(out, 0, static_cast<size_t>(n_padded - n_rows) * row_bytes);
  return TensorView(host_.data(), dtype, {n_padded, n_columns});
}

Result<std::unique_ptr<kernels::PackedWeight>> ShardLoader::packed(
    const std::vector<std::string>& names, int64_t min_rows) {
  ASSIGN_OR_RETURN(const TensorView stacked, read_stacked(names, min_rows, false));
  auto weight = backend_->pack_weight(stacked);
  if (!weight.ok()) {
    return Error{weight.error().code,
                 fmt::format("tensor {}: {}", in_quotes(names.front()), weight.error().message)};
  }
  device_bytes_ += static_cast<int64_t>((*weight)->bytes());
  return weight;
}

Result<DeviceTensor> ShardLoader::table(const std::string& name, int64_t n_rows) {
  ASSIGN_OR_RETURN(const TensorView stacked, read_stacked({name}, n_rows, false));
  ASSIGN_OR_RETURN(DeviceTensor tensor,
                   allocate_tensor(*backend_, stacked.dtype, {stacked.dim(0), stacked.dim(1)}));
  backend_->copy_to_device(tensor.view.data, stacked.data, stacked.bytes(), {});
  backend_->synchronize({});
  device_bytes_ += static_cast<int64_t>(tensor.view.bytes());
  return tensor;
}

Result<DeviceTensor> ShardLoader::vector_f32(const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const TensorView stacked, read_stacked(names, 0, true));
  ASSIGN_OR_RETURN(DeviceTensor tensor, allocate_tensor(*backend_, DType::kF32, {stacked.dim(0)}));
  backend_->copy_to_device(tensor.view.data, stacked.data, stacked.bytes(), {});
  backend_->synchronize({});
  device_bytes_ += static_cast<int64_t>(tensor.view.bytes());
  return tensor;
}

Status ShardLoader::finish() const {
  for (const auto& [name, slice] : slices_) {
    if (!loaded_.contains(name)) {
      return internal_error(fmt::format(
          "the plan gives this rank tensor {}, which the model did not load", in_quotes(name)));
    }
  }
  return {};
}

}  // namespace trireme::worker
