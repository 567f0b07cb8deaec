// Integer weights packed into 32-bit words: AWQ, GPTQ and compressed-tensors.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>

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
  int64_t size() const { return size_; }
  // The inputs, those of the first group before those of the second: empty where they stand so,
  // nullopt where groups are not of `size` inputs each.
  std::optional<std::vector<int32_t>> order(int64_t n_in) const {
    std::vector<int32_t> inputs;
    if (index_.empty()) return inputs;
    inputs.resize(index_.size());
    std::iota(inputs.begin(), inputs.end(), 0);
    std::stable_sort(inputs.begin(), inputs.end(),
                     [&](int32_t a, int32_t b) { return of(a) < of(b); });
    for (int64_t j = 0; j < n_in; ++j) {
      if (of(inputs[static_cast<size_t>(j)]) != j / size_) return std::nullopt;
    }
    if (std::is_sorted(inputs.begin(), inputs.end())) inputs.clear();
    return inputs;
  }
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

struct Bytes {
  const uint8_t* weight = nullptr;
  const uint8_t* scales = nullptr;
  const uint8_t* zeros = nullptr;
};

// [out, in] over words, with the parts that all forms have. A Form says where things are: code and,
// by group, zero and scale of an output.
template <class Form>
class PackedInts : public ExpandedTensor {
 public:
  PackedInts(std::vector<int64_t> shape, int64_t bits, const PackedParts& parts, InputGroups groups)
      : ExpandedTensor(std::move(shape)),
        bits_(bits),
        weight_(*parts.weight),
        scales_(*parts.scales),
        zeros_(parts.zeros == nullptr ? RawTensor{} : *parts.zeros),
        groups_(std::move(groups)) {
    // Of eight bits, the middle of the codes becomes the zero of kInt8.
    const bool fits = bits == 4 || (bits == 8 && !has_zeros());
    if (!fits) return;
    std::optional<std::vector<int32_t>> order = groups_.order(n_in());
    if (!order.has_value()) return;
    offer_low_bit({.code = bits == 4 ? kernels::LowBitCode::kInt4 : kernels::LowBitCode::kInt8,
                   .in_features = n_in(),
                   .group_size = std::min(groups_.size(), n_in()),
                   .has_zeros = has_zeros(),
                   .input_order = std::move(*order)});
  }

  Status read(Range rows, Range columns, float* out) const final {
    ASSIGN_OR_RETURN(const Bytes bytes, data());
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

  Status read_low_bit(Range rows, Range columns, const LowBitRows& out) const final {
    ASSIGN_OR_RETURN(const Bytes bytes, data());
    const LowBitForm& form = *low_bit_form();
    const bool nibbles = kernels::is_nibbles(form.code);
    const int64_t n_words = kernels::low_bit_columns(form.code, columns.size());
    auto* words = reinterpret_cast<uint32_t*>(out.codes);
    if (nibbles) std::fill_n(words, rows.size() * n_words, 0u);
    for (int64_t at = columns.begin; at < columns.end; at += kTile) {
      const int64_t end = std::min(at + kTile, columns.end);
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const int64_t first = (row - rows.begin) * n_words;
        for (int64_t j = at; j < end; ++j) {
          const int64_t input =
              form.input_order.empty() ? j : form.input_order[static_cast<size_t>(j)];
          const auto code = static_cast<uint32_t>(self().code(bytes, row, input));
          const int64_t k = j - columns.begin;
          if (nibbles) {
            words[first + k / kernels::kNibblesPerWord] |= code << kernels::nibble_shift(k);
          } else {
            out.codes[first + k] = static_cast<uint8_t>(code ^ 0x80u);  // less 128
          }
        }
      }
    }
    const int64_t first_group = columns.begin / form.group_size;
    const int64_t end_group = ceil_div(columns.end, form.group_size);
    auto* scales = static_cast<float*>(out.scales);
    int64_t i = 0;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t group = first_group; group < end_group; ++group, ++i) {
        scales[i] = self().scale(bytes, row, group);
        if (form.has_zeros) out.zeros[i] = static_cast<uint8_t>(self().zero(bytes, row, group));
      }
    }
    return {};
  }

 protected:
  int64_t per_word() const { return kWordBits / bits_; }
  int64_t bits() const { return bits_; }
  int64_t n_out() const { return shape()[0]; }
  int64_t n_in() const { return shape()[1]; }
  bool has_zeros() const { return zeros_.stored != nullptr; }
  const RawTensor& scales() const { return scales_; }
  const InputGroups& groups() const { return groups_; }

 private:
  const Form& self() const { return static_cast<const Form&>(*this); }

  Result<Bytes> data() const {
    Bytes bytes;
    ASSIGN_OR_RETURN(bytes.weight, weight_.data());
    ASSIGN_OR_RETURN(bytes.scales, scales_.data());
    if (has_zeros()) {
      ASSIGN_OR_RETURN(bytes.zeros, zeros_.data());
    }
    return bytes;
  }

  // Inputs of one output, consecutively to `out`.
  void read_run(const Bytes& bytes, int64_t output, Range inputs, float* out) const {
    int64_t group = -1;
    int zero = 0;
    float scale = 0;
    for (int64_t i = inputs.begin; i < inputs.end; ++i) {
      if (groups().of(i) != group) {
        group = groups().of(i);
        zero = self().zero(bytes, output, group);
        scale = self().scale(bytes, output, group);
      }
      *out++ = static_cast<float>(self().code(bytes, output, i) - zero) * scale;
    }
  }

  int64_t bits_;
  RawTensor weight_;
  RawTensor scales_;
  RawTensor zeros_;
  InputGroups groups_;
};

class Awq final : public PackedInts<Awq> {
 public:
  using PackedInts::PackedInts;

  int code(const Bytes& bytes, int64_t output, int64_t input) const {
    return value_of(load_u32(bytes.weight + (input * words() + output / 8) * kWordBytes),
                    place(output), 4);
  }
  int zero(const Bytes& bytes, int64_t output, int64_t group) const {
    return value_of(load_u32(bytes.zeros + (group * words() + output / 8) * kWordBytes),
                    place(output), 4);
  }
  float scale(const Bytes& bytes, int64_t output, int64_t group) const {
    return load_float(scales(), bytes.scales, group * n_out() + output);
  }

 private:
  int64_t words() const { return n_out() / 8; }
  // Of output c within a word's eight: the inverse of 0, 2, 4, 6, 1, 3, 5, 7.
  static int64_t place(int64_t output) {
    constexpr std::array<int64_t, 8> kPlace = {0, 4, 1, 5, 2, 6, 3, 7};
    return kPlace[static_cast<size_t>(output % 8)];
  }
};

class Gptq final : public PackedInts<Gptq> {
 public:
  Gptq(std::vector<int64_t> shape, int64_t bits, const PackedParts& parts, InputGroups groups,
       int zero_offset)
      : PackedInts(std::move(shape), bits, parts, std::move(groups)), zero_offset_(zero_offset) {}

  int code(const Bytes& bytes, int64_t output, int64_t input) const {
    const int64_t at = input / per_word() * n_out() + output;
    return value_of(load_u32(bytes.weight + at * kWordBytes), input % per_word(), bits());
  }
  int zero(const Bytes& bytes, int64_t output, int64_t group) const {
    const int64_t at = group * (n_out() / per_word()) + output / per_word();
    return value_of(load_u32(bytes.zeros + at * kWordBytes), output % per_word(), bits()) +
           zero_offset_;
  }
  float scale(const Bytes& bytes, int64_t output, int64_t group) const {
    return load_float(scales(), bytes.scales, group * n_out() + output);
  }

 private:
  int zero_offset_;
};

class CompressedInts final : public PackedInts<CompressedInts> {
 public:
  using PackedInts::PackedInts;

  int code(const Bytes& bytes, int64_t output, int64_t input) const {
    const uint8_t* row = bytes.weight + output * ceil_div(n_in(), per_word()) * kWordBytes;
    return value_of(load_u32(row + input / per_word() * kWordBytes), input % per_word(), bits());
  }
  int zero(const Bytes& bytes, int64_t output, int64_t group) const {
    if (!has_zeros()) return 1 << (bits() - 1);
    const int64_t at = output / per_word() * groups().count() + group;
    return value_of(load_u32(bytes.zeros + at * kWordBytes), output % per_word(), bits());
  }
  float scale(const Bytes& bytes, int64_t output, int64_t group) const {
    return load_float(scales(), bytes.scales, output * groups().count() + group);
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
