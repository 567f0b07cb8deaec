// Integer weights packed into 32-bit words: AWQ, GPTQ and compressed-tensors.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "kernels/quant/number_formats.h"
#include "worker/weights/expanded_tensor.h"

namespace trireme::worker {
namespace {

using kernels::quant::load_u32;
using plan::Range;

constexpr int64_t kWordBits = 32;
constexpr int64_t kWordBytes = 4;
// Inputs whose packed rows are walked together where words lie along the outputs: a tile of them
// stays in the first-level cache.
constexpr int64_t kTile = 64;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Which group of scales an input belongs to: by its number, or as the file's index says.
class InputGroups {
 public:
  // `group_size` 0: one group. Checks the index against the number of groups.
  static Result<InputGroups> make(int64_t n_in, int64_t group_size, const RawTensor* index) {
    InputGroups groups;
    groups.size_ = group_size == 0 ? n_in : group_size;
    groups.count_ = ceil_div(n_in, groups.size_);
    if (index == nullptr) return groups;
    if (index->type() != "I32") return wrong_type(*index, "I32");
    if (index->shape() != std::vector<int64_t>{n_in}) return wrong_shape(*index, {n_in});
    ASSIGN_OR_RETURN(const uint8_t* data, index->data());
    groups.index_.resize(static_cast<size_t>(n_in));
    for (int64_t i = 0; i < n_in; ++i) {
      const auto group = static_cast<int32_t>(load_u32(data + i * kWordBytes));
      if (group < 0 || group >= groups.count_) {
        return invalid_argument(fmt::format("tensor {}: input {} is in group {} of {}",
                                            in_quotes(index->name()), i, group, groups.count_));
      }
      groups.index_[static_cast<size_t>(i)] = group;
    }
    return groups;
  }
  int64_t count() const { return count_; }
  int64_t of(int64_t input) const {
    return index_.empty() ? input / size_ : index_[static_cast<size_t>(input)];
  }

 private:
  int64_t size_ = 1;
  int64_t count_ = 1;
  std::vector<int32_t> index_;
};

// Value k of a word.
int value_of(uint32_t word, int64_t k, int64_t bits) {
  return static_cast<int>(word >> (k * bits) & ((uint32_t{1} << bits) - 1));
}

Status check_matrix(const RawTensor& tensor, const char* type) {
  if (tensor.type() != type) return wrong_type(tensor, type);
  if (tensor.shape().size() != 2 || tensor.shape()[0] < 1 || tensor.shape()[1] < 1) {
    return unimplemented(fmt::format("tensor {} is quantised and no matrix (shape [{}])",
                                     in_quotes(tensor.name()), fmt::join(tensor.shape(), ", ")));
  }
  return {};
}

Status check_scales(const RawTensor& scales, const std::vector<int64_t>& wanted) {
  if (!is_float(scales)) return wrong_type(scales, "F32, F16 or BF16");
  if (scales.shape() != wanted) return wrong_shape(scales, wanted);
  return {};
}

Status check_zeros(const RawTensor& zeros, const std::vector<int64_t>& wanted) {
  if (zeros.type() != "I32") return wrong_type(zeros, "I32");
  if (zeros.shape() != wanted) return wrong_shape(zeros, wanted);
  return {};
}

// [out, in] over words, with the parts that all forms have.
class PackedInts : public ExpandedTensor {
 public:
  PackedInts(std::vector<int64_t> shape, int64_t bits, const PackedParts& parts, InputGroups groups)
      : ExpandedTensor(std::move(shape)),
        bits_(bits),
        weight_(*parts.weight),
        scales_(*parts.scales),
        zeros_(parts.zeros == nullptr ? RawTensor{} : *parts.zeros),
        groups_(std::move(groups)) {}

  Status read(Range rows, Range columns, float* out) const final {
    Bytes bytes;
    ASSIGN_OR_RETURN(bytes.weight, weight_.data());
    ASSIGN_OR_RETURN(bytes.scales, scales_.data());
    if (has_zeros()) {
      ASSIGN_OR_RETURN(bytes.zeros, zeros_.data());
    }
    // Tiles of inputs, and in them output by output.
    for (int64_t at = columns.begin; at < columns.end; at += kTile) {
      const Range tile{at, std::min(at + kTile, columns.end)};
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        read_run(bytes, row, tile,
                 out + (row - rows.begin) * columns.size() + (at - columns.begin));
      }
    }
    return {};
  }

 protected:
  struct Bytes {
    const uint8_t* weight = nullptr;
    const uint8_t* scales = nullptr;
    const uint8_t* zeros = nullptr;
  };
  // Inputs of one output, consecutively to `out`.
  virtual void read_run(const Bytes& bytes, int64_t output, Range inputs, float* out) const = 0;

  int64_t per_word() const { return kWordBits / bits_; }
  int64_t bits() const { return bits_; }
  int64_t n_out() const { return shape()[0]; }
  int64_t n_in() const { return shape()[1]; }
  bool has_zeros() const { return zeros_.stored != nullptr; }
  const RawTensor& scales() const { return scales_; }
  const InputGroups& groups() const { return groups_; }

 private:
  int64_t bits_;
  RawTensor weight_;
  RawTensor scales_;
  RawTensor zeros_;
  InputGroups groups_;
};

class Awq final : public PackedInts {
 public:
  using PackedInts::PackedInts;

 protected:
  void read_run(const Bytes& bytes, int64_t output, Range inputs, float* out) const override {
    // The place of output c within a word's eight: the inverse of 0, 2, 4, 6, 1, 3, 5, 7.
    constexpr std::array<int64_t, 8> kPlace = {0, 4, 1, 5, 2, 6, 3, 7};
    const int64_t words = n_out() / 8;
    const int64_t word = output / 8;
    const int64_t place = kPlace[static_cast<size_t>(output % 8)];
    int64_t group = -1;
    int zero = 0;
    float scale = 0;
    for (int64_t i = inputs.begin; i < inputs.end; ++i) {
      if (groups().of(i) != group) {
        group = groups().of(i);
        zero = value_of(load_u32(bytes.zeros + (group * words + word) * kWordBytes), place, 4);
        scale = load_float(scales(), bytes.scales, group * n_out() + output);
      }
      const int q = value_of(load_u32(bytes.weight + (i * words + word) * kWordBytes), place, 4);
      *out++ = static_cast<float>(q - zero) * scale;
    }
  }
};

class Gptq final : public PackedInts {
 public:
  Gptq(std::vector<int64_t> shape, int64_t bits, const PackedParts& parts, InputGroups groups,
       int zero_offset)
      : PackedInts(std::move(shape), bits, parts, std::move(groups)), zero_offset_(zero_offset) {}

 protected:
  void read_run(const Bytes& bytes, int64_t output, Range inputs, float* out) const override {
    const int64_t n = per_word();
    const int64_t zero_words = n_out() / n;
    int64_t group = -1;
    int zero = 0;
    float scale = 0;
    for (int64_t i = inputs.begin; i < inputs.end; ++i) {
      if (groups().of(i) != group) {
        group = groups().of(i);
        const int64_t at = group * zero_words + output / n;
        zero = value_of(load_u32(bytes.zeros + at * kWordBytes), output % n, bits()) + zero_offset_;
        scale = load_float(scales(), bytes.scales, group * n_out() + output);
      }
      const int64_t at = i / n * n_out() + output;
      const int q = value_of(load_u32(bytes.weight + at * kWordBytes), i % n, bits());
      *out++ = static_cast<float>(q - zero) * scale;
    }
  }

 private:
  int zero_offset_;
};

class CompressedInts final : public PackedInts {
 public:
  using PackedInts::PackedInts;

 protected:
  void read_run(const Bytes& bytes, int64_t output, Range inputs, float* out) const override {
    const int64_t n = per_word();
    const uint8_t* row = bytes.weight + output * ceil_div(n_in(), n) * kWordBytes;
    int64_t group = -1;
    int zero = 1 << (bits() - 1);
    float scale = 0;
    for (int64_t i = inputs.begin; i < inputs.end; ++i) {
      if (groups().of(i) != group) {
        group = groups().of(i);
        if (has_zeros()) {
          const int64_t at = output / n * groups().count() + group;
          zero = value_of(load_u32(bytes.zeros + at * kWordBytes), output % n, bits());
        }
        scale = load_float(scales(), bytes.scales, output * groups().count() + group);
      }
      const int q = value_of(load_u32(row + i / n * kWordBytes), i % n, bits());
      *out++ = static_cast<float>(q - zero) * scale;
    }
  }
};

// weight_shape: two whole numbers.
Result<std::vector<int64_t>> read_shape(const RawTensor& tensor) {
  const bool wide = tensor.type() == "I64";
  if (!wide && tensor.type() != "I32") return wrong_type(tensor, "I64");
  if (tensor.shape() != std::vector<int64_t>{2}) return wrong_shape(tensor, {2});
  ASSIGN_OR_RETURN(const uint8_t* data, tensor.data());
  std::vector<int64_t> shape;
  for (int64_t i = 0; i < 2; ++i) {
    const uint8_t* at = data + i * tensor.stored->element_bytes;
    const uint64_t low = load_u32(at);
    const uint64_t value = wide ? low | uint64_t{load_u32(at + 4)} << 32 : low;
    if (value < 1 || value > (uint64_t{1} << 31)) {
      return invalid_argument(
          fmt::format("tensor {} holds the size {}", in_quotes(tensor.name()), value));
    }
    shape.push_back(static_cast<int64_t>(value));
  }
  return shape;
}

}  // namespace

Result<ExpandedTensorPtr> make_awq(const plan::QuantizationSpec& spec, const PackedParts& parts) {
  TRY(check_matrix(*parts.weight, "I32"));
  const int64_t in = parts.weight->shape()[0];
  const int64_t words = parts.weight->shape()[1];
  ASSIGN_OR_RETURN(InputGroups groups, InputGroups::make(in, spec.group_size, nullptr));
  TRY(check_scales(*parts.scales, {groups.count(), words * 8}));
  TRY(check_zeros(*parts.zeros, {groups.count(), words}));
  return ExpandedTensorPtr(
      std::make_unique<Awq>(std::vector<int64_t>{words * 8, in}, 4, parts, std::move(groups)));
}

Result<ExpandedTensorPtr> make_gptq(const plan::QuantizationSpec& spec, const PackedParts& parts) {
  TRY(check_matrix(*parts.weight, "I32"));
  const int64_t n = kWordBits / spec.bits;
  const int64_t in = parts.weight->shape()[0] * n;
  const int64_t out = parts.weight->shape()[1];
  if (out % n != 0) {
    return invalid_argument(fmt::format("tensor {} has {} outputs, which is no multiple of {}",
                                        in_quotes(parts.weight->name()), out, n));
  }
  ASSIGN_OR_RETURN(InputGroups groups, InputGroups::make(in, spec.group_size, parts.group_index));
  TRY(check_scales(*parts.scales, {groups.count(), out}));
  TRY(check_zeros(*parts.zeros, {groups.count(), out / n}));
  return ExpandedTensorPtr(std::make_unique<Gptq>(std::vector<int64_t>{out, in}, spec.bits, parts,
                                                  std::move(groups), spec.zeros_minus_one ? 1 : 0));
}

Result<ExpandedTensorPtr> make_packed_ints(const plan::QuantizationSpec& spec,
                                           const PackedParts& parts) {
  TRY(check_matrix(*parts.weight, "I32"));
  ASSIGN_OR_RETURN(const std::vector<int64_t> shape, read_shape(*parts.shape));
  const int64_t n = kWordBits / spec.bits;
  const std::vector<int64_t> packed = {shape[0], ceil_div(shape[1], n)};
  if (parts.weight->shape() != packed) return wrong_shape(*parts.weight, packed);
  ASSIGN_OR_RETURN(InputGroups groups,
                   InputGroups::make(shape[1], spec.group_size, parts.group_index));
  TRY(check_scales(*parts.scales, {shape[0], groups.count()}));
  if (parts.zeros != nullptr) {
    TRY(check_zeros(*parts.zeros, {ceil_div(shape[0], n), groups.count()}));
  }
  return ExpandedTensorPtr(
      std::make_unique<CompressedInts>(shape, spec.bits, parts, std::move(groups)));
}

}  // namespace trireme::worker
