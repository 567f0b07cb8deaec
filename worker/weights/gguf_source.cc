#include "worker/weights/gguf_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <map>

#include "kernels/quant/dequantize.h"
#include "worker/weights/gguf_names.h"
#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

// Absent: in blocks.
std::optional<DType> plain_type(const GgufTensor& tensor) {
  switch (tensor.type->type) {
    case GgufType::kF32:
      return DType::kF32;
    case GgufType::kF16:
      return DType::kF16;
    case GgufType::kBF16:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

DType shown_type(const GgufWeight& weight) {
  if (weight.change == GgufChange::kOneAdded) return DType::kF32;
  return plain_type(*weight.stored).value_or(DType::kF32);
}

// Where row `row` of the weight is among the rows that are stored.
int64_t stored_row(const GgufWeight& weight, int64_t row) {
  if (weight.change != GgufChange::kHeadRowsInterleaved) return weight.first_row + row;
  const int64_t head_dim = weight.shape[0] / weight.n_heads;
  const int64_t half = head_dim / 2;
  const int64_t i = row % head_dim;
  return row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

class GgufSource final : public WeightSource {
 public:
  static Result<std::unique_ptr<WeightSource>> make(std::shared_ptr<const Gguf> gguf) {
    auto source = std::make_unique<GgufSource>();
    source->gguf_ = std::move(gguf);
    ASSIGN_OR_RETURN(std::vector<GgufWeight> weights, name_gguf_weights(*source->gguf_));
    for (GgufWeight& weight : weights) {
      const std::string name = weight.name;
      const std::string stored = weight.stored->name;
      if (!source->weights_.emplace(name, std::move(weight)).second) {
        return invalid_argument(
            fmt::format("tensor {} occurs twice under another name", in_quotes(stored)));
      }
    }
    return std::unique_ptr<WeightSource>(std::move(source));
  }

  std::optional<std::vector<SourceTensor>> inventory() const override {
    std::vector<SourceTensor> list;
    for (const auto& [name, weight] : weights_) {
      list.push_back(
          {name, weight.shape, shown_type(weight), std::string(weight.stored->type->name)});
    }
    return list;
  }

  DType dtype(const std::string& name) const override { return shown_type(find(name)); }

  std::string note() const override {
    std::map<std::string_view, int64_t> count;
    for (const GgufTensor& tensor : gguf_->tensors()) {
      if (!plain_type(tensor).has_value()) ++count[tensor.type->name];
    }
    if (count.empty()) return {};
    std::string types;
    for (const auto& [type, n] : count) {
      types += fmt::format("{}{} of {}", types.empty() ? "" : ", ", n, type);
    }
    return fmt::format("the GGUF file is quantised and its tensors are expanded at load: {}",
                       types);
  }

  Status read(const plan::TensorSlice& slice, void* out) override {
    const GgufWeight& weight = find(slice.name);
    ASSIGN_OR_RETURN(const char* data, gguf_->data(*weight.stored));
    const auto* bytes = reinterpret_cast<const uint8_t*>(data);
    auto* to = static_cast<char*>(out);
    const bool is_vector = weight.shape.size() == 1;
    const auto row_bytes = static_cast<size_t>(slice.columns.size()) * size_of(shown_type(weight));
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      const int64_t stored = stored_row(weight, row);
      // A vector is stored as one row, of which "row" is an element.
      if (is_vector) {
        read_run(weight, bytes, {stored, stored + 1}, to);
      } else {
        read_run(weight, bytes + stored * weight.stored->row_bytes(), slice.columns, to);
      }
      to += row_bytes;
    }
    return {};
  }

 private:
  const GgufWeight& find(const std::string& name) const {
    const auto at = weights_.find(name);
    CHECK(at != weights_.end()) << name;
    return at->second;
  }

  // Elements of one stored row.
  static void read_run(const GgufWeight& weight, const uint8_t* row, plan::Range run, char* out) {
    const GgufType type = weight.stored->type->type;
    const auto plain = plain_type(*weight.stored);
    if (plain.has_value() && weight.change != GgufChange::kOneAdded) {
      const auto bytes = static_cast<int64_t>(size_of(*plain));
      std::memcpy(out, row + run.begin * bytes, static_cast<size_t>(run.size() * bytes));
      return;
    }
    auto* values = reinterpret_cast<float*>(out);
    kernels::quant::dequantize_row(type, row, run.begin, run.end, values);
    if (weight.change != GgufChange::kOneAdded) return;
    for (int64_t i = 0; i < run.size(); ++i) values[i] -= 1;
  }

  std::shared_ptr<const Gguf> gguf_;
  std::map<std::string, GgufWeight> weights_;
};

}  // namespace

Result<std::unique_ptr<WeightSource>> open_gguf_source(const std::string& path) {
  ASSIGN_OR_RETURN(auto gguf, Gguf::open(path));
  return GgufSource::make(std::move(gguf));
}

}  // namespace trireme::worker
