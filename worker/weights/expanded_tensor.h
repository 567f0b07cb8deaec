// ExpandedTensor: a weight that is stored quantised, seen as the plain f32 matrix it stands for,
// or, where its form allows, as the codes that a low-bit kernel reads.
//
// One class per storage form; each checks the shapes of its parts when it is made and reads only
// the packed rows and columns that a slice needs. Values are exactly q times scale (and so on, as
// each form says) in f32. Used by one thread; valid as long as the checkpoint.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "parallel/plan/parallel_plan.h"
#include "parallel/plan/quantization_spec.h"
#include "worker/weights/checkpoint.h"

namespace trireme::worker {

class ExpandedTensor {
 public:
  virtual ~ExpandedTensor() = default;
  // As an unquantised checkpoint would store it.
  const std::vector<int64_t>& shape() const { return shape_; }
  // Rows x columns of the shape, more than two dimensions seen as rows of the last, to `out`.
  virtual Status read(plan::Range rows, plan::Range columns, float* out) const = 0;
  // WeightSource's, of this tensor.
  const LowBitForm* low_bit_form() const { return form_ ? &*form_ : nullptr; }
  virtual Status read_low_bit(plan::Range rows, plan::Range columns, const LowBitRows& out) const;

 protected:
  explicit ExpandedTensor(std::vector<int64_t> shape) : shape_(std::move(shape)) {}
  // Of a matrix [out, in], or a stack of transposed ones: remembered where a kernel takes groups of
  // this size.
  void offer_low_bit(LowBitForm form);

 private:
  std::vector<int64_t> shape_;
  std::optional<LowBitForm> form_;
};

using ExpandedTensorPtr = std::unique_ptr<ExpandedTensor>;

// One byte per weight, times a scale per block, output channel or tensor:
// weight [out, in] F8_E4M3 | I8, scale [ceil(out / block), ceil(in / block)] | [out, 1] | [1].
Result<ExpandedTensorPtr> make_scaled_matrix(const plan::QuantizationSpec& spec,
                                             const RawTensor& weight, const RawTensor& scale);

// The parts of an integer weight; absent ones are null.
struct PackedParts {
  const RawTensor* weight = nullptr;
  const RawTensor* scales = nullptr;
  const RawTensor* zeros = nullptr;
  const RawTensor* group_index = nullptr;
  const RawTensor* shape = nullptr;
};

// AWQ: qweight I32 [in, out / 8], qzeros I32 [groups, out / 8], scales [groups, out]. Nibble k of a
// word is output 8 word + (0, 2, 4, 6, 1, 3, 5, 7)[k]; w = (q - z) * s.
Result<ExpandedTensorPtr> make_awq(const plan::QuantizationSpec& spec, const PackedParts& parts);
// GPTQ: qweight I32 [in / n, out], value k of row r is input n r + k (n = 32 / bits); qzeros I32
// [groups, out / n], less one; scales [groups, out]; g_idx I32 [in] or none. w = (q - z) * s.
Result<ExpandedTensorPtr> make_gptq(const plan::QuantizationSpec& spec, const PackedParts& parts);
// compressed-tensors "pack-quantized": weight_packed I32 [out, ceil(in / n)], value k of word c is
// input n c + k; weight_scale [out, groups]; weight_zero_point I32 [ceil(out / n), groups] unless
// symmetric; weight_g_idx I32 [in] or none; weight_shape holds out and in. Values and zero points
// are stored plus 2^(bits - 1).
Result<ExpandedTensorPtr> make_packed_ints(const plan::QuantizationSpec& spec,
                                           const PackedParts& parts);

// MXFP4: blocks U8 [experts, out, in / 32, 16], scales U8 [experts, out, in / 32]; the low nibble
// of byte j is element 2j. Seen as [experts, in, out], as the unquantised checkpoint stores it.
Result<ExpandedTensorPtr> make_mxfp4_stack(const RawTensor& blocks, const RawTensor& scales);

// Helpers of the forms.
// F32, F16 or BF16.
bool is_float(const RawTensor& tensor);
float load_float(const RawTensor& tensor, const uint8_t* data, int64_t index);
Error wrong_shape(const RawTensor& tensor, const std::vector<int64_t>& wanted);
Error wrong_type(const RawTensor& tensor, std::string_view wanted);

}  // namespace trireme::worker
