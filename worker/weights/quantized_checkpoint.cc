#include "worker/weights/quantized_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "worker/weights/expanded_tensor.h"

namespace trireme::worker {
namespace {

using plan::QuantizationSpec;
using plan::QuantLayout;
using LeftAlone = plan::QuantizationSpec::LeftAlone;

// Scales of what is not quantised here.
constexpr std::array<std::string_view, 8> kReadPast = {
    ".input_scale", ".input_zero_point", ".output_scale", ".activation_scale",
    ".k_scale",     ".v_scale",          ".kv_scale",     ".q_scale"};

// "model.layers.*.mlp.up_proj" of a name with numbers in it: modules of one kind are stored alike.
std::string kind_of(std::string_view module) {
  std::string kind;
  for (size_t at = 0; at <= module.size();) {
    const size_t dot = std::min(module.find('.', at), module.size());
    const std::string_view part = module.substr(at, dot - at);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    kind += number ? "*" : std::string(part);
    kind += '.';
    at = dot + 1;
  }
  return kind;
}

class QuantizedCheckpoint final : public WeightSource {
 public:
  QuantizedCheckpoint(std::unique_ptr<Checkpoint> checkpoint, QuantizationSpec spec)
      : checkpoint_(std::move(checkpoint)), spec_(std::move(spec)) {}

  Status build();

  std::optional<std::vector<SourceTensor>> inventory() const override {
    std::vector<SourceTensor> list;
    for (const auto& [name, raw] : checkpoint_->tensors()) {
      if (!used_.contains(name)) list.push_back({name, raw.shape(), raw.stored->dtype, raw.type()});
    }
    for (const auto& [name, tensor] : expanded_) {
      list.push_back({name, tensor->shape(), DType::kF32, spec_.name});
    }
    return list;
  }

  DType dtype(const std::string& name) const override {
    return expanded_.contains(name) ? DType::kF32 : checkpoint_->dtype(name);
  }

  std::string note() const override {
    return fmt::format(
        "the checkpoint is quantised ({}): {} tensors are expanded at load, {} are "
        "stored plain",
        spec_.name, expanded_.size(), checkpoint_->tensors().size() - used_.size());
  }

  Status read(const plan::TensorSlice& slice, void* out) override {
    const auto found = expanded_.find(slice.name);
    if (found == expanded_.end()) return checkpoint_->read(slice, out);
    return found->second->read(slice.rows, slice.columns, static_cast<float*>(out));
  }

  Result<KvScalesByLayer> kv_scales() const override { return checkpoint_->kv_scales(); }

  const LowBitForm* low_bit_form(const plan::TensorSlice& slice) const override {
    const auto found = expanded_.find(slice.name);
    return found == expanded_.end() ? nullptr : found->second->low_bit_form();
  }

  Status read_low_bit(const plan::TensorSlice& slice, const LowBitRows& out) override {
    const auto found = expanded_.find(slice.name);
    CHECK(found != expanded_.end()) << slice.name;
    return found->second->read_low_bit(slice.rows, slice.columns, out);
  }

 private:
  // A part of `module`, marked as used. Missing: an error, unless `optional` (then null).
  Result<const RawTensor*> part(const std::string& module, std::string_view suffix,
                                bool optional = false);
  Status expand(const RawTensor& weight);
  Result<ExpandedTensorPtr> make(const RawTensor& weight, const std::string& module);
  Status check_leftovers() const;
  bool is_quantised_weight(const RawTensor& tensor) const;

  // What the name of a quantised weight ends with, and what its module's parts do.
  std::string_view weight_suffix() const;
  std::vector<std::string_view> part_suffixes() const;

  std::unique_ptr<Checkpoint> checkpoint_;
  QuantizationSpec spec_;
  std::map<std::string, ExpandedTensorPtr, std::less<>> expanded_;  // by the name it is shown under
  std::set<std::string, std::less<>> used_;
  std::set<std::string> kinds_;  // of the expanded modules
};

std::string_view QuantizedCheckpoint::weight_suffix() const {
  switch (spec_.layout) {
    case QuantLayout::kMxfp4:
      return "_blocks";
    case QuantLayout::kAwq:
    case QuantLayout::kGptq:
      return ".qweight";
    case QuantLayout::kPackedInts:
      return ".weight_packed";
    default:
      return ".weight";
  }
}

std::vector<std::string_view> QuantizedCheckpoint::part_suffixes() const {
  switch (spec_.layout) {
    case QuantLayout::kMxfp4:
      return {"_scales"};
    case QuantLayout::kAwq:
      return {".qzeros", ".scales"};
    case QuantLayout::kGptq:
      return {".qzeros", ".scales", ".g_idx"};
    case QuantLayout::kPackedInts:
      return {".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"};
    default:
      return {".weight_scale", ".weight_scale_inv", ".weight_zero_point"};
  }
}

bool QuantizedCheckpoint::is_quantised_weight(const RawTensor& tensor) const {
  if (!tensor.name().ends_with(weight_suffix())) return false;
  if (spec_.layout != QuantLayout::kScaled) return true;
  return !is_float(tensor) && (tensor.type() == "F8_E4M3" || tensor.type() == "I8");
}

Result<const RawTensor*> QuantizedCheckpoint::part(const std::string& module,
                                                   std::string_view suffix, bool optional) {
  const std::string name = module + std::string(suffix);
  const RawTensor* tensor = checkpoint_->find(name);
  if (tensor != nullptr) {
    used_.insert(name);
  } else if (!optional) {
    return invalid_argument(fmt::format("tensor {} is missing: {}{} is quantised ({})",
                                        in_quotes(name), module, weight_suffix(), spec_.name));
  }
  return tensor;
}

Result<ExpandedTensorPtr> QuantizedCheckpoint::make(const RawTensor& weight,
                                                    const std::string& module) {
  if (spec_.layout == QuantLayout::kScaled) {
    const bool is_int8 = spec_.element == plan::QuantElement::kInt8;
    if (weight.type() != (is_int8 ? "I8" : "F8_E4M3")) {
      return wrong_type(weight, is_int8 ? "I8" : "F8_E4M3");
    }
    ASSIGN_OR_RETURN(const RawTensor* scale, part(module, "." + spec_.scale_suffix));
    return make_scaled_matrix(spec_, weight, *scale);
  }
  if (spec_.layout == QuantLayout::kMxfp4) {
    ASSIGN_OR_RETURN(const RawTensor* scales, part(module, "_scales"));
    return make_mxfp4_stack(weight, *scales);
  }
  PackedParts parts{.weight = &weight};
  if (spec_.layout == QuantLayout::kPackedInts) {
    ASSIGN_OR_RETURN(parts.scales, part(module, ".weight_scale"));
    ASSIGN_OR_RETURN(parts.shape, part(module, ".weight_shape"));
    if (!spec_.symmetric) {
      ASSIGN_OR_RETURN(parts.zeros, part(module, ".weight_zero_point"));
    }
    ASSIGN_OR_RETURN(parts.group_index, part(module, ".weight_g_idx", /*optional=*/true));
    return make_packed_ints(spec_, parts);
  }
  ASSIGN_OR_RETURN(parts.scales, part(module, ".scales"));
  ASSIGN_OR_RETURN(parts.zeros, part(module, ".qzeros"));
  if (spec_.layout == QuantLayout::kAwq) return make_awq(spec_, parts);
  ASSIGN_OR_RETURN(parts.group_index, part(module, ".g_idx", /*optional=*/true));
  return make_gptq(spec_, parts);
}

Status QuantizedCheckpoint::expand(const RawTensor& weight) {
  const std::string module = weight.name().substr(0, weight.name().size() - weight_suffix().size());
  const std::string shown = spec_.layout == QuantLayout::kMxfp4 ? module : module + ".weight";
  if (spec_.left_alone(module) == LeftAlone::kYes) {
    return invalid_argument(
        fmt::format("tensor {} is quantised, but config.json says that its module is left alone",
                    in_quotes(weight.name())));
  }
  if (shown != weight.name() && checkpoint_->find(shown) != nullptr) {
    return invalid_argument(fmt::format("the checkpoint holds both {} and {}",
                                        in_quotes(weight.name()), in_quotes(shown)));
  }
  used_.insert(weight.name());
  ASSIGN_OR_RETURN(ExpandedTensorPtr tensor, make(weight, module));
  expanded_.emplace(shown, std::move(tensor));
  kinds_.insert(kind_of(module));
  return {};
}

// Parts without their weight, and plain weights where all others of their kind are quantised.
Status QuantizedCheckpoint::check_leftovers() const {
  const auto suffixes = part_suffixes();
  for (const auto& [name, raw] : checkpoint_->tensors()) {
    if (used_.contains(name)) continue;
    for (const std::string_view suffix : suffixes) {
      if (name.ends_with(suffix)) {
        return invalid_argument(fmt::format("tensor {} belongs to no quantised weight ({})",
                                            in_quotes(name), spec_.name));
      }
    }
    if (!name.ends_with(".weight")) continue;
    const std::string module = name.substr(0, name.size() - std::string_view(".weight").size());
    if (kinds_.contains(kind_of(module)) && spec_.left_alone(module) == LeftAlone::kNo) {
      return invalid_argument(
          fmt::format("tensor {} is stored as {}, but config.json says that it is quantised ({})",
                      in_quotes(name), raw.type(), spec_.name));
    }
  }
  return {};
}

Status QuantizedCheckpoint::build() {
  for (const auto& [name, raw] : checkpoint_->tensors()) {
    if (is_quantised_weight(raw)) TRY(expand(raw));
    for (const std::string_view suffix : kReadPast) {
      if (name.ends_with(suffix)) used_.insert(name);
    }
  }
  if (expanded_.empty()) {
    return invalid_argument(fmt::format(
        "config.json says that the checkpoint is quantised ({}), but no tensor of it is",
        spec_.name));
  }
  return check_leftovers();
}

}  // namespace

Result<std::unique_ptr<WeightSource>> open_quantized_checkpoint(
    std::unique_ptr<Checkpoint> checkpoint, const QuantizationSpec& quantization) {
  CHECK(quantization.enabled());
  auto source = std::make_unique<QuantizedCheckpoint>(std::move(checkpoint), quantization);
  TRY(source->build());
  return std::unique_ptr<WeightSource>(std::move(source));
}

}  // namespace trireme::worker
