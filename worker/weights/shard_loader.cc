#include "worker/weights/shard_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "worker/weights/safetensors.h"
#include "worker/weights/shard_inventory.h"

namespace trireme::worker {
namespace {

using kernels::Backend;

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

// The slice [slice rows, slice columns] of T as the part [n_rows, n_columns].
template <typename T>
void turn(const WeightPart& part, const char* from, char* to) {
  const auto* source = reinterpret_cast<const T*>(from);
  auto* target = reinterpret_cast<T*>(to);
  const int64_t n_rows = part.n_rows();
  const int64_t n_columns = part.n_columns();
  const auto row_of = [&](int64_t i) {
    return part.interleaved ? deinterleaved_row(i, n_rows) : i;
  };
  if (!part.transposed) {
    for (int64_t i = 0; i < n_rows; ++i) {
      std::copy_n(source + i * n_columns, n_columns, target + row_of(i) * n_columns);
    }
    return;
  }
  // A band of rows at a time: short runs are read, and as many rows are written side by side.
  constexpr int64_t kBand = 32;
  for (int64_t first = 0; first < n_rows; first += kBand) {
    const int64_t end = std::min(first + kBand, n_rows);
    for (int64_t j = 0; j < n_columns; ++j) {
      for (int64_t i = first; i < end; ++i) {
        target[row_of(i) * n_columns + j] = source[j * n_rows + i];
      }
    }
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

Result<ShardLoader> ShardLoader::create(const std::string& architecture,
                                        const std::vector<WeightDeclaration>& declared,
                                        int worker_rank, WeightSource& source, Backend& backend,
                                        LoadProgressFn progress, QuantizedWeights quantized) {
  ShardLoader loader;
  loader.quantized_ = quantized;
  loader.source_ = &source;
  loader.backend_ = &backend;
  loader.progress_ = std::move(progress);
  // Every rank checks the whole checkpoint, its neighbours' tensors too: a broken one fails
  // everywhere alike.
  if (const auto inventory = source.inventory(); inventory.has_value()) {
    ASSIGN_OR_RETURN(loader.stored_names_, match_inventory(architecture, declared, *inventory));
  }
  CHECK_LT(static_cast<size_t>(worker_rank), declared.size());
  for (const DeclaredPart& want : declared[static_cast<size_t>(worker_rank)].parts) {
    loader.bytes_total_ += loader.part_bytes(want.part);
  }
  return loader;
}

const std::string& ShardLoader::stored_name(const std::string& name) const {
  const auto at = stored_names_.find(name);
  return at == stored_names_.end() ? name : at->second;
}

DType ShardLoader::dtype(const WeightPart& part) const {
  return source_->dtype(stored_name(part.slice.name));
}

// Whether there is nothing to read.
bool ShardLoader::declare(const std::vector<WeightPart>& parts, WeightUse use) {
  for (const WeightPart& part : parts) declaration_.parts.push_back({part, use});
  return source_ == nullptr || !status_.ok();
}

Status ShardLoader::read_one(const WeightPart& part, DType as, char* out) {
  const DType stored = dtype(part);
  const int64_t n = part.n_rows() * part.n_columns();
  const size_t bytes = static_cast<size_t>(n) * size_of(stored);
  plan::TensorSlice slice = part.slice;
  slice.name = stored_name(slice.name);
  const bool turns = part.transposed || part.interleaved;
  char* turned = out;
  if (stored != as) {
    CHECK_EQ(as, DType::kF32);
    convert_.resize(std::max(convert_.size(), bytes));
    turned = convert_.data();
  }
  char* read_to = turned;
  if (turns) {
    turn_.resize(std::max(turn_.size(), bytes));
    read_to = turn_.data();
  }
  TRY(source_->read(slice, read_to));
  if (turns) {
    size_of(stored) == 2 ? turn<uint16_t>(part, read_to, turned)
                         : turn<uint32_t>(part, read_to, turned);
  }
  if (stored != as) convert_to_f32(turned, stored, n, reinterpret_cast<float*>(out));
  progress(part_bytes(part));
  return {};
}

int64_t ShardLoader::part_bytes(const WeightPart& part) const {
  return part.n_rows() * part.n_columns() * static_cast<int64_t>(size_of(dtype(part)));
}

void ShardLoader::progress(int64_t bytes) {
  bytes_done_ += bytes;
  if (progress_) progress_(bytes_done_, bytes_total_);
}

Result<TensorView> ShardLoader::read_stacked(const std::vector<WeightPart>& parts, int64_t min_rows,
                                             bool as_f32) {
  CHECK(!parts.empty());
  int64_t n_rows = 0;
  const int64_t n_columns = parts.front().n_columns();
  DType common = as_f32 ? DType::kF32 : dtype(parts.front());
  for (const WeightPart& part : parts) {
    CHECK_EQ(n_columns, part.n_columns()) << part.slice.name;
    n_rows += part.n_rows();
    if (dtype(part) != common) common = DType::kF32;
  }
  const int64_t n_padded = std::max(n_rows, min_rows);
  const size_t row_bytes = static_cast<size_t>(n_columns) * size_of(common);
  // Grows, never shrinks: the largest stack is a layer's gate and up projection or the head.
  host_.resize(std::max(host_.size(), static_cast<size_t>(n_padded) * row_bytes));
  char* out = host_.data();
  for (const WeightPart& part : parts) {
    TRY(read_one(part, common, out));
    out += static_cast<size_t>(part.n_rows()) * row_bytes;
  }
  std::memset(out, 0, static_cast<size_t>(n_padded - n_rows) * row_bytes);
  return TensorView(host_.data(), common, {n_padded, n_columns});
}

Result<std::unique_ptr<kernels::PackedWeight>> ShardLoader::named_by(
    const WeightPart& part, Result<std::unique_ptr<kernels::PackedWeight>> weight) {
  if (weight.ok()) return weight;
  return Error{weight.error().code,
               fmt::format("tensor {}: {}", in_quotes(part.slice.name), weight.error().message)};
}

std::unique_ptr<kernels::PackedWeight> ShardLoader::packed(const std::vector<WeightPart>& parts,
                                                           int64_t min_rows) {
  if (declare(parts, WeightUse::kLinear)) return nullptr;
  auto weight =
      stays_low_bit(parts) ? pack_low_bit_or_expand(parts, min_rows) : pack(parts, min_rows);
  if (weight.ok()) device_bytes_ += static_cast<int64_t>((*weight)->bytes());
  return keep(std::move(weight));
}

Result<std::unique_ptr<kernels::PackedWeight>> ShardLoader::pack(
    const std::vector<WeightPart>& parts, int64_t min_rows) {
  ASSIGN_OR_RETURN(const TensorView stacked, read_stacked(parts, min_rows, false));
  return named_by(parts.front(), backend_->pack_weight(stacked));
}

Result<DeviceTensor> ShardLoader::upload(const TensorView& host) {
  ASSIGN_OR_RETURN(DeviceTensor tensor,
                   allocate_tensor(*backend_, host.dtype, {host.dim(0), host.dim(1)}));
  backend_->copy_to_device(tensor.view.data, host.data, host.bytes(), {});
  backend_->synchronize({});
  device_bytes_ += static_cast<int64_t>(tensor.view.bytes());
  return tensor;
}

DeviceTensor ShardLoader::table(const WeightPart& part, int64_t n_rows) {
  if (declare({part}, WeightUse::kTable)) return {};
  const Result<TensorView> stacked = read_stacked({part}, n_rows, false);
  return keep(stacked.ok() ? upload(*stacked) : Result<DeviceTensor>(stacked.error()));
}

DeviceTensor ShardLoader::vector_f32(const std::vector<WeightPart>& parts, float plus) {
  if (declare(parts, WeightUse::kVector)) return {};
  const Result<TensorView> stacked = read_stacked(parts, 0, true);
  if (!stacked.ok()) return keep<DeviceTensor>(stacked.error());
  auto* values = stacked->as<float>();
  for (int64_t i = 0; plus != 0 && i < stacked->numel(); ++i) values[i] += plus;
  DeviceTensor tensor = keep(upload(*stacked));
  if (tensor.defined() && tensor.view.dim(1) == 1) {
    tensor.view = TensorView(tensor.view.data, DType::kF32, {tensor.view.dim(0)});
  }
  return tensor;
}

}  // namespace trireme::worker
