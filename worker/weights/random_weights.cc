#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>

#include "kernels/quant/number_formats.h"
#include "worker/sample/counter_random.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {
namespace {

using kernels::LowBitCode;

// The sum of four random bytes is close enough to normal for timing and for tests, and has 1,021
// values: a table turns it into the rounded weight. Mean 510, standard deviation sqrt(4 * (256^2 -
// 1) / 12).
constexpr int kSums = 4 * 255 + 1;
constexpr double kMeanSum = 510;

std::array<bf16, kSums> make_table(double mean, double deviation) {
  const double sum_deviation = std::sqrt(4 * (256.0 * 256.0 - 1) / 12);
  std::array<bf16, kSums> table;
  for (int sum = 0; sum < kSums; ++sum) {
    table[static_cast<size_t>(sum)] =
        to_bf16(static_cast<float>(mean + deviation * (sum - kMeanSum) / sum_deviation));
  }
  return table;
}

uint64_t name_key(uint64_t seed, std::string_view name) {
  uint64_t key = mix64(seed ^ 0x74726972656d6557ull);
  for (const char c : name) key = mix64(key ^ static_cast<uint8_t>(c));
  return key;
}

// Element `index` takes half a word of the counter's output: the low half when it is even.
uint32_t byte_sum(uint32_t word) {
  const uint32_t pairs = (word & 0x00ff00ffu) + ((word >> 8) & 0x00ff00ffu);
  return (pairs + (pairs >> 16)) & 0xffffu;
}

void fill_row(uint64_t key, int64_t begin, int64_t end, const bf16* table, bf16* out) {
  int64_t i = begin;
  const auto word = [key](int64_t element) {
    return counter_hash(key, static_cast<uint64_t>(element >> 1));
  };
  if (i < end && (i & 1) != 0) {
    *out++ = table[byte_sum(static_cast<uint32_t>(word(i) >> 32))];
    ++i;
  }
  for (; i + 1 < end; i += 2) {
    const uint64_t both = word(i);
    *out++ = table[byte_sum(static_cast<uint32_t>(both))];
    *out++ = table[byte_sum(static_cast<uint32_t>(both >> 32))];
  }
  if (i < end) *out = table[byte_sum(static_cast<uint32_t>(word(i)))];
}

// Codes as a checkpoint of this quantisation has them. Scales are a power of two, so that every
// weight is exact in bf16; deviations are about those of plain weights.
class RandomCodes {
 public:
  explicit RandomCodes(plan::QuantizationSpec quantization)
      : quantization_(std::move(quantization)) {}

  const LowBitForm* form(const plan::TensorSlice& slice) const {
    if (!plan::stays_low_bit(quantization_) || !is_quantised(slice)) return nullptr;
    const auto at = forms_.find(slice.name);
    if (at != forms_.end()) return &at->second;
    LowBitForm form;
    form.in_features = slice.shape[1];
    form.code = plan::low_bit_code(quantization_);
    const int64_t group = plan::low_bit_group(quantization_);
    form.transposed = form.code == LowBitCode::kE2M1;
    const bool takes = group > 0 && group % kernels::low_bit_group_unit(form.code) == 0;
    form.group_size = takes ? std::min(group, form.in_features) : form.in_features;
    if (form.code == LowBitCode::kE2M1) form.group_size = kernels::kE2M1Group;
    form.has_zeros = plan::has_low_bit_zeros(quantization_);
    return &forms_.emplace(slice.name, std::move(form)).first->second;
  }

  // The codes of a tensor's elements; neighbours share a draw.
  class Codes {
   public:
    Codes(LowBitCode kind, uint64_t key) : kind_(kind), key_(key) {}
    uint8_t at(int64_t index) {
      const auto i = static_cast<uint64_t>(index);
      const bool nibbles = kernels::is_nibbles(kind_);
      const uint64_t draw = nibbles ? i / 16 : i / 8;
      if (draw != draw_) {
        draw_ = draw;
        bits_ = counter_hash(key_, draw);
      }
      if (nibbles) return static_cast<uint8_t>(bits_ >> (i % 16 * 4) & 0xf);
      const auto byte = static_cast<uint8_t>(bits_ >> (i % 8 * 8));
      return kind_ == LowBitCode::kE4M3 && (byte & 0x7f) == 0x7f ? 0 : byte;
    }

   private:
    LowBitCode kind_;
    uint64_t key_;
    uint64_t draw_ = UINT64_MAX;
    uint64_t bits_ = 0;
  };
  // 2^exponent is the scale of them all.
  static int exponent(LowBitCode kind) {
    switch (kind) {
      case LowBitCode::kE4M3:
        return -13;
      case LowBitCode::kInt8:
        return -12;
      default:
        return -8;
    }
  }
  static float value(LowBitCode kind, uint8_t code) {
    return unscaled(kind, code) * kernels::quant::power_of_two(exponent(kind));
  }
  static void fill_scales(LowBitCode kind, int64_t n, void* scales) {
    if (kind == LowBitCode::kE2M1) {
      const int scale = kernels::kExponentOfOne + exponent(kind);
      std::fill_n(static_cast<uint8_t*>(scales), n, static_cast<uint8_t>(scale));
    } else {
      std::fill_n(static_cast<float*>(scales), n, kernels::quant::power_of_two(exponent(kind)));
    }
  }

 private:
  static float unscaled(LowBitCode kind, uint8_t code) {
    switch (kind) {
      case LowBitCode::kE4M3:
        return kernels::quant::e4m3_to_f32(code);
      case LowBitCode::kInt8:
        return static_cast<int8_t>(code);
      case LowBitCode::kE2M1:
        return kernels::quant::e2m1_to_f32(code);
      case LowBitCode::kInt4:
        break;
    }
    return static_cast<float>(code - kernels::kInt4Middle);
  }

  // Routers, embeddings and heads are left alone by every published checkpoint; of MXFP4 all but
  // stacks of experts.
  bool is_quantised(const plan::TensorSlice& slice) const {
    constexpr std::string_view kSuffix = ".weight";
    const std::string& name = slice.name;
    if (plan::low_bit_code(quantization_) == LowBitCode::kE2M1) {
      return slice.shape.size() == 3 && slice.shape[1] % kernels::kE2M1Group == 0 &&
             name.find("experts.") != name.npos;
    }
    if (slice.shape.size() != 2 || !name.ends_with(kSuffix)) return false;
    if (name.find("layers.") == name.npos) return false;
    const std::string module = name.substr(0, name.size() - kSuffix.size());
    if (module.ends_with(".gate") || module.ends_with("router")) return false;
    return quantization_.left_alone(module) != plan::QuantizationSpec::LeftAlone::kYes;
  }

  plan::QuantizationSpec quantization_;
  mutable std::map<std::string, LowBitForm> forms_;
};

class RandomWeights final : public WeightSource {
 public:
  RandomWeights(uint64_t seed, const plan::QuantizationSpec& quantization)
      : seed_(seed), codes_(quantization) {}

  std::optional<std::vector<SourceTensor>> inventory() const override { return std::nullopt; }
  DType dtype(const std::string&) const override { return DType::kBF16; }

  const LowBitForm* low_bit_form(const plan::TensorSlice& slice) const override {
    return codes_.form(slice);
  }

  Status read_low_bit(const plan::TensorSlice& slice, const LowBitRows& out) override {
    const LowBitForm& form = *codes_.form(slice);
    RandomCodes::Codes random(form.code, name_key(seed_, slice.name));
    const plan::Range outputs = form.transposed ? slice.columns : slice.rows;
    const plan::Range inputs = form.transposed ? slice.rows : slice.columns;
    const int64_t n = inputs.size();
    const bool nibbles = kernels::is_nibbles(form.code);
    const int64_t n_words = kernels::low_bit_columns(form.code, n);
    auto* words = reinterpret_cast<uint32_t*>(out.codes);
    if (nibbles) std::fill_n(words, outputs.size() * n_words, 0u);
    const auto put = [&](int64_t output, int64_t k, uint8_t code) {
      const int64_t first = output * n_words;
      if (nibbles) {
        words[first + k / kernels::kNibblesPerWord] |= uint32_t{code} << kernels::nibble_shift(k);
      } else {
        out.codes[first + k] = code;
      }
    };
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      const int64_t first = row * slice.shape.back();
      for (int64_t column = slice.columns.begin; column < slice.columns.end; ++column) {
        const uint8_t code = random.at(first + column);
        const int64_t i = row - slice.rows.begin;
        const int64_t j = column - slice.columns.begin;
        form.transposed ? put(j, i, code) : put(i, j, code);
      }
    }
    const int64_t n_groups = (n + form.group_size - 1) / form.group_size;
    RandomCodes::fill_scales(form.code, outputs.size() * n_groups, out.scales);
    if (form.has_zeros) {
      std::fill_n(out.zeros, outputs.size() * n_groups, uint8_t{kernels::kInt4Middle});
    }
    return {};
  }

  Status read(const plan::TensorSlice& slice, void* out) override {
    if (const LowBitForm* form = codes_.form(slice); form != nullptr) {
      return read_codes(slice, *form, static_cast<bf16*>(out));
    }
    // "rms_norm_1.weight" too.
    const bool is_norm = slice.name.ends_with("norm.weight") ||
                         (slice.shape.size() == 1 && slice.name.find("norm") != std::string::npos);
    const bf16* table = is_norm ? norm_table_.data() : weight_table_.data();
    const int64_t width = slice.shape.size() > 1 ? slice.shape.back() : 1;
    const uint64_t key = name_key(seed_, slice.name);
    auto* to = static_cast<bf16*>(out);
    if (slice.columns.size() == width) {
      fill_row(key, slice.rows.begin * width, slice.rows.end * width, table, to);
      return {};
    }
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      fill_row(key, row * width + slice.columns.begin, row * width + slice.columns.end, table, to);
      to += slice.columns.size();
    }
    return {};
  }

 private:
  Status read_codes(const plan::TensorSlice& slice, const LowBitForm& form, bf16* out) const {
    RandomCodes::Codes random(form.code, name_key(seed_, slice.name));
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      for (int64_t k = slice.columns.begin; k < slice.columns.end; ++k) {
        const uint8_t code = random.at(row * slice.shape.back() + k);
        *out++ = to_bf16(RandomCodes::value(form.code, code));
      }
    }
    return {};
  }

  uint64_t seed_;
  RandomCodes codes_;
  const std::array<bf16, kSums> weight_table_ = make_table(0, 0.02);
  const std::array<bf16, kSums> norm_table_ = make_table(1, 0.02);
};

}  // namespace

std::unique_ptr<WeightSource> make_random_weights(uint64_t seed,
                                                  const plan::QuantizationSpec& quantization) {
  return std::make_unique<RandomWeights>(seed, quantization);
}

}  // namespace trireme::worker
