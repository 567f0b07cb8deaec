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
    const bool is_fp8 = quantization_.layout == plan::QuantLayout::kScaled;
    form.code = is_fp8 ? LowBitCode::kE4M3 : LowBitCode::kInt4;
    const bool blocks = quantization_.scale == plan::QuantScale::kBlock;
    const int64_t group =
        is_fp8 ? (blocks ? quantization_.block_columns : 0) : int64_t{quantization_.group_size};
    const bool takes = group > 0 && group % kernels::low_bit_group_unit(form.code) == 0;
    form.group_size = takes ? std::min(group, form.in_features) : form.in_features;
    form.has_zeros = !is_fp8 && (quantization_.layout != plan::QuantLayout::kPackedInts ||
                                 !quantization_.symmetric);
    return &forms_.emplace(slice.name, std::move(form)).first->second;
  }

  // The codes of a tensor's elements; neighbours share a draw.
  class Codes {
   public:
    Codes(LowBitCode kind, uint64_t key) : is_int4_(kind == LowBitCode::kInt4), key_(key) {}
    uint8_t at(int64_t index) {
      const auto i = static_cast<uint64_t>(index);
      const uint64_t draw = is_int4_ ? i / 16 : i / 8;
      if (draw != draw_) {
        draw_ = draw;
        bits_ = counter_hash(key_, draw);
      }
      if (is_int4_) return static_cast<uint8_t>(bits_ >> (i % 16 * 4) & 0xf);
      const auto byte = static_cast<uint8_t>(bits_ >> (i % 8 * 8));
      return (byte & 0x7f) == 0x7f ? 0 : byte;
    }

   private:
    bool is_int4_;
    uint64_t key_;
    uint64_t draw_ = UINT64_MAX;
    uint64_t bits_ = 0;
  };
  static float scale(LowBitCode kind) { return kind == LowBitCode::kE4M3 ? 0x1p-13f : 0x1p-8f; }
  static float value(LowBitCode kind, uint8_t code) {
    const float unscaled = kind == LowBitCode::kE4M3
                               ? kernels::quant::e4m3_to_f32(code)
                               : static_cast<float>(code - kernels::kInt4Middle);
    return unscaled * scale(kind);
  }

 private:
  // Routers, embeddings and heads are left alone by every published checkpoint.
  bool is_quantised(const plan::TensorSlice& slice) const {
    constexpr std::string_view kSuffix = ".weight";
    const std::string& name = slice.name;
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
    const int64_t n = slice.columns.size();
    const bool is_int4 = form.code == LowBitCode::kInt4;
    const int64_t n_words = (n + kernels::kInt4PerWord - 1) / kernels::kInt4PerWord;
    auto* words = reinterpret_cast<uint32_t*>(out.codes);
    if (is_int4) std::fill_n(words, slice.rows.size() * n_words, 0u);
    for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row) {
      const int64_t first = row * form.in_features + slice.columns.begin;
      const int64_t i = row - slice.rows.begin;
      for (int64_t k = 0; k < n; ++k) {
        const uint8_t code = random.at(first + k);
        if (is_int4) {
          words[i * n_words + k / kernels::kInt4PerWord] |= uint32_t{code}
                                                            << kernels::int4_shift(k);
        } else {
          out.codes[i * n + k] = code;
        }
      }
    }
    const int64_t n_groups = (n + form.group_size - 1) / form.group_size;
    std::fill_n(out.scales, slice.rows.size() * n_groups, RandomCodes::scale(form.code));
    if (form.has_zeros) {
      std::fill_n(out.zeros, slice.rows.size() * n_groups, uint8_t{kernels::kInt4Middle});
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
        const uint8_t code = random.at(row * form.in_features + k);
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
