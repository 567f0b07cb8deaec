#include <array>
#include <cmath>
#include <string_view>

#include "worker/sample/counter_random.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {
namespace {

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

class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(uint64_t seed) : seed_(seed) {}

  std::optional<std::vector<SourceTensor>> inventory() const override { return std::nullopt; }
  DType dtype(const std::string&) const override { return DType::kBF16; }

  Status read(const plan::TensorSlice& slice, void* out) override {
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
  uint64_t seed_;
  const std::array<bf16, kSums> weight_table_ = make_table(0, 0.02);
  const std::array<bf16, kSums> norm_table_ = make_table(1, 0.02);
};

}  // namespace

std::unique_ptr<WeightSource> make_random_weights(uint64_t seed) {
  return std::make_unique<RandomWeights>(seed);
}

}  // namespace trireme::worker
