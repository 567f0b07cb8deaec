// WeightSource: where a rank's weights come from: a checkpoint folder, or invented numbers of the
// same shapes.
//
// Used by one thread. The shard loader asks for slices; a source knows nothing of plans or devices.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/dtype.h"
#include "kernels/low_bit.h"
#include "parallel/plan/parallel_plan.h"
#include "parallel/plan/quantization_spec.h"
#include "worker/weights/kv_scales.h"

namespace trireme::worker {

// What a source says it holds of one name.
struct SourceTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::optional<DType> dtype;  // absent: not a float type that a backend packs
  std::string stored_dtype;    // for messages
};

// A matrix [out, in] that is stored as codes with scales for groups of inputs, which may stay so
// (kernels/low_bit.h).
struct LowBitForm {
  kernels::LowBitCode code = kernels::LowBitCode::kE4M3;
  int64_t in_features = 0;
  int64_t group_size = 0;  // in_features: one group
  bool has_zeros = false;
  std::vector<int32_t> input_order;  // as LowBitMatrix::input_order; empty: as stored
  // The tensor is a stack [n, in, out] of such matrices' transposes: a slice's columns are outputs,
  // its rows inputs of one of them.
  bool transposed = false;
};

// Where a slice of it goes, densely: the parts of a LowBitMatrix, [outputs, ...] each.
struct LowBitRows {
  uint8_t* codes = nullptr;
  void* scales = nullptr;    // of the type that the code's scales have
  uint8_t* zeros = nullptr;  // of a form with zero points
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // Every tensor that the source holds, or nullopt for a source that can make any tensor it is
  // asked for.
  virtual std::optional<std::vector<SourceTensor>> inventory() const = 0;
  // The type in which `read` writes the tensor.
  virtual DType dtype(const std::string& name) const = 0;
  // What is done to the stored numbers on their way, for the log ("fp8, ...: 112 of 120 tensors are
  // expanded at load"); empty when nothing is.
  virtual std::string note() const { return {}; }
  // The scales that it names for a cache of e4m3, by layer of the model. invalid_argument names a
  // tensor that is no scale; unimplemented, one that has a scale per head.
  virtual Result<KvScalesByLayer> kv_scales() const { return KvScalesByLayer(); }
  // Writes the slice densely [rows, columns] to `out`. The slice's shape is the stored one (the
  // loader has checked it).
  virtual Status read(const plan::TensorSlice& slice, void* out) = 0;
  // How the codes of the slice's tensor may stay what they are, or null. Valid as long as the
  // source.
  virtual const LowBitForm* low_bit_form(const plan::TensorSlice&) const { return nullptr; }
  // Writes the slice of a tensor that has a form. Its inputs begin at a group and are all of them
  // where the form has an input order. unimplemented where what is stored leaves the range that a
  // LowBitMatrix has; then `read` takes it.
  virtual Status read_low_bit(const plan::TensorSlice& slice, const LowBitRows& out);
};

// What a model path holds: a GGUF file, a folder with one, or a folder with model.safetensors or
// the files that model.safetensors.index.json names. Quantised weights are presented as the plain
// ones that they stand for, in f32. All headers are read and checked here; not_found names a
// missing file, invalid_argument a tensor that the index, the files or the quantisation disagree
// on. Other serialisations (pickle above all) are never opened.
Result<std::unique_ptr<WeightSource>> open_checkpoint(
    const std::string& model_path, const plan::QuantizationSpec& quantization = {});

// Numbers instead of a checkpoint (`--random-weights`), as bf16: near-normal with standard
// deviation 0.02, norms near 1. Counter-based in (seed, tensor name, element index): every rank
// produces its slice of the same model.
// Matrices of layers that `quantization` stores as codes that may stay so are codes here too; the
// default has none.
std::unique_ptr<WeightSource> make_random_weights(uint64_t seed,
                                                  const plan::QuantizationSpec& quantization = {});

}  // namespace trireme::worker
