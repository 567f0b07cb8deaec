// ShardLoader: turns the parts of a checkpoint that a rank asks for into device memory, strictly.
//
// Weights are named once, in the family's file, which asks a loader for the parts that its rank
// holds. A loader has two modes. *Declaring*, it records what is asked for: nothing is read, no
// device is needed, and every part comes back empty. *Loading*, it reads. What all ranks declare
// (worker/models/declare.h) is the inventory: before a byte is read, the whole checkpoint is
// compared with it, and a tensor that is missing, misshapen, of a type that cannot be a weight, or
// that nothing uses is an error that names it.
//
// Matrices that the source holds as codes may stay codes (`low_bit`): then a stack of parts is
// packed as a low-bit weight where all of its parts agree and are cut between groups of inputs, and
// is expanded otherwise. `low_bit_note` says what became of them.
//
// Errors stick: after the first one parts come back empty, and `status` says what happened. So a
// model is built by plain constructors, and its maker asks once. Used by one thread.
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

// A part of a stored tensor, and how it is turned before it is used.
struct WeightPart {
  plan::TensorSlice slice;
  bool transposed = false;   // stored [in, out]: the part is the slice's transpose
  bool interleaved = false;  // of the part's rows, the even ones come first, then the odd ones
  bool routed = false;       // of an expert that only some tokens meet

  int64_t n_rows() const { return transposed ? slice.columns.size() : slice.rows.size(); }
  int64_t n_columns() const { return transposed ? slice.rows.size() : slice.columns.size(); }
};

// Where row `i` of `n` goes when the even rows come first.
constexpr int64_t deinterleaved_row(int64_t i, int64_t n) {
  return i % 2 == 0 ? i / 2 : (n + 1) / 2 + i / 2;
}

enum class WeightUse : uint8_t { kLinear, kTable, kVector };

struct DeclaredPart {
  WeightPart part;
  WeightUse use = WeightUse::kLinear;
};

// What one rank's model asks for, in load order, and what it knows and does not want.
struct WeightDeclaration {
  std::vector<DeclaredPart> parts;
  std::set<std::string> ignored;
  std::set<std::string> ignored_prefixes;
  std::map<std::string, std::string> optional_prefixes;  // and what stands in their place
};

// What becomes of weights that are stored quantised.
enum class QuantizedWeights : uint8_t { kExpand, kKeep };

class ShardLoader {
 public:
  ShardLoader() = default;  // declares
  // Loads for `worker_rank` of the ranks that `declared` lists. Source and backend outlive the
  // loader.
  static Result<ShardLoader> create(const std::string& architecture,
                                    const std::vector<WeightDeclaration>& declared, int worker_rank,
                                    WeightSource& source, kernels::Backend& backend,
                                    LoadProgressFn progress,
                                    QuantizedWeights quantized = QuantizedWeights::kExpand);

  // The parts, one under the other, packed; zero rows are added up to `min_rows`.
  std::unique_ptr<kernels::PackedWeight> packed(const std::vector<WeightPart>& parts,
                                                int64_t min_rows = 0);
  // A matrix in the type of its source, zero rows added up to `n_rows`.
  DeviceTensor table(const WeightPart& part, int64_t n_rows);
  // The parts, one under the other, as f32, `plus` added to each element: [n], or a matrix where
  // they have several columns.
  DeviceTensor vector_f32(const std::vector<WeightPart>& parts, float plus = 0);

  // Buffers and layers that published checkpoints of the family carry and that it does not compute:
  // not missed where they are absent, not surplus where they are there.
  void ignore(const std::string& name) { declaration_.ignored.insert(name); }
  void ignore_prefix(const std::string& prefix) { declaration_.ignored_prefixes.insert(prefix); }
  // Some checkpoints of the family put this in front of every name, or in the place of another.
  void optional_prefix(const std::string& prefix, const std::string& replaces = "") {
    declaration_.optional_prefixes.emplace(prefix, replaces);
  }

  Status status() const { return status_; }
  const WeightDeclaration& declaration() const { return declaration_; }
  int64_t device_bytes() const { return device_bytes_; }
  // "28 matrices stay low-bit, 2 are expanded: tensor '...': why"; empty where none could stay.
  std::string low_bit_note() const;

 private:
  bool declare(const std::vector<WeightPart>& parts, WeightUse use);
  // Reads the parts into host_ in their own type, or as f32 where they differ: [rows, columns].
  Result<TensorView> read_stacked(const std::vector<WeightPart>& parts, int64_t min_rows,
                                  bool as_f32);
  Status read_one(const WeightPart& part, DType as, char* out);
  const LowBitForm* low_bit_form(const WeightPart& part) const;
  // Whether the parts stay codes; where they could and do not, the reason is noted.
  bool stays_low_bit(const std::vector<WeightPart>& parts);
  Result<std::unique_ptr<kernels::PackedWeight>> pack_low_bit(const std::vector<WeightPart>& parts,
                                                              int64_t min_rows);
  Result<std::unique_ptr<kernels::PackedWeight>> pack_low_bit_or_expand(
      const std::vector<WeightPart>& parts, int64_t min_rows);
  void note_expanded(const WeightPart& part, const std::string& why);
  Result<std::unique_ptr<kernels::PackedWeight>> pack(const std::vector<WeightPart>& parts,
                                                      int64_t min_rows);
  // The same; an error with the tensor's name.
  static Result<std::unique_ptr<kernels::PackedWeight>> named_by(
      const WeightPart& part, Result<std::unique_ptr<kernels::PackedWeight>> weight);
  void progress(int64_t bytes);
  // Bytes that reading the part counts.
  int64_t part_bytes(const WeightPart& part) const;
  Result<DeviceTensor> upload(const TensorView& host);
  const std::string& stored_name(const std::string& name) const;
  DType dtype(const WeightPart& part) const;
  // The value, or an empty one and the error remembered.
  template <typename T>
  T keep(Result<T> result) {
    if (result.ok()) return std::move(*result);
    if (status_.ok()) status_ = result.error();
    return T();
  }

  WeightDeclaration declaration_;
  Status status_;
  // Loading only.
  WeightSource* source_ = nullptr;
  kernels::Backend* backend_ = nullptr;
  LoadProgressFn progress_;
  std::map<std::string, std::string> stored_names_;  // of tensors that the files name otherwise
  std::vector<char> host_;                           // the parts of one call
  std::vector<char> convert_;                        // a part before its conversion
  std::vector<char> turn_;                           // a part before its rows and columns change
  int64_t bytes_done_ = 0;
  int64_t bytes_total_ = 0;
  int64_t device_bytes_ = 0;
  QuantizedWeights quantized_ = QuantizedWeights::kExpand;
  int64_t n_low_bit_ = 0;
  int64_t n_expanded_ = 0;    // that had codes to keep
  std::string why_expanded_;  // the first of them
};

}  // namespace trireme::worker
