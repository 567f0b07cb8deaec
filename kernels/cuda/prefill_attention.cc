#include "kernels/cuda/prefill_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "base/log.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/packed_weight.h"

namespace trireme::kernels::cuda {
namespace {

// Makes few keys count for each query, so that outputs are as large as values are.
constexpr float kSharpness = 4;

// On the emulator time says nothing, and a small shape has every layout.
#if defined(TRIREME_CUDA_EMULATED)
constexpr int kRounds = 0;
constexpr PrefillTrialShape kTrialShape{
    .n_queries = 40, .n_keys = 150, .n_heads = 4, .n_kv_heads = 1};
#else
constexpr int kRounds = 5;
constexpr PrefillTrialShape kTrialShape{
    .n_queries = 1003, .n_keys = 2029, .n_heads = 32, .n_kv_heads = 8};
#endif

// The operands of a trial, on the device.
class Trial {
 public:
  static Result<std::unique_ptr<Trial>> make(const PrefillTrialShape& shape, DType cache,
                                             const Launcher& launcher) {
    auto trial = std::unique_ptr<Trial>(new Trial(shape, cache, launcher));
    TRY(trial->fill());
    return trial;
  }

  // However few the tiles are.
  bool takes() const { return wgmma_attention_takes(params_, info_, cache_, 1); }
  void run_wgmma() { wgmma_attention(params_to(0), info_, cache_, launcher_); }
  void run_present(const AttentionWorkspace& workspace) {
    if (mma_attention_takes(info_, cache_)) {
      mma_attention(params_to(1), info_, cache_, workspace, launcher_);
    } else {
      plain_attention(params_to(1), info_, cache_, workspace, launcher_);
    }
  }

  void compare(PrefillTrial* result) const {
    std::vector<float> outs[2];
    for (size_t i = 0; i < 2; ++i) {
      outs[i].resize(out_floats());
      copy_to_host_async(outs[i].data(), outs_[i]->data(), outs[i].size() * sizeof(float),
                         launcher_.stream);
    }
    synchronize_stream(launcher_.stream);
    for (size_t i = 0; i < outs[0].size(); ++i) {
      const float difference = std::abs(outs[0][i] - outs[1][i]);
      // std::max would pass over what is no number.
      if (!(difference <= result->difference)) result->difference = difference;
      if (std::isnan(difference)) return;
      result->size = std::max(result->size, std::abs(outs[1][i]));
    }
  }

  // The best of some rounds.
  template <typename Work>
  double seconds_of(int rounds, Work&& work) const {
    constexpr int kRuns = 4;
    void* begin = make_event();
    void* end = make_event();
    double best = std::numeric_limits<double>::infinity();
    for (int round = 0; round < rounds; ++round) {
      record_event(begin, launcher_.stream);
      for (int i = 0; i < kRuns; ++i) work();
      record_event(end, launcher_.stream);
      wait_for_event(end);
      best = std::min(best, seconds_between(begin, end) / kRuns);
    }
    release_event(begin);
    release_event(end);
    return best;
  }

 private:
  Trial(const PrefillTrialShape& shape, DType cache, const Launcher& launcher)
      : shape_(shape), cache_(cache), launcher_(launcher) {}

  size_t out_floats() const {
    return static_cast<size_t>(shape_.n_queries * shape_.n_heads * shape_.head_dim);
  }
  AttentionParams params_to(size_t which) const {
    AttentionParams params = params_;
    params.out = outs_[which]->data();
    return params;
  }

  template <typename T>
  Result<std::unique_ptr<DeviceBuffer>> upload(const std::vector<T>& host) const {
    ASSIGN_OR_RETURN(auto buffer, DeviceBuffer::allocate(host.size() * sizeof(T)));
    copy_to_device_async(buffer->data(), host.data(), host.size() * sizeof(T), launcher_.stream);
    synchronize_stream(launcher_.stream);
    return buffer;
  }

  Status fill() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const int64_t n_blocks = ceil_div(shape_.n_keys, shape_.block_size);
    const int64_t block_stride = shape_.n_kv_heads * shape_.block_size * shape_.head_dim;
    std::vector<float> q(out_floats());
    for (float& value : q) value = kSharpness * normal(random);
    ASSIGN_OR_RETURN(q_, upload(q));
    for (auto& buffer : caches_) {
      std::vector<uint16_t> values(static_cast<size_t>(n_blocks * block_stride));
      for (uint16_t& value : values) {
        const float number = normal(random);
        value = cache_ == DType::kBF16 ? to_bf16(number).bits : to_f16(number).bits;
      }
      ASSIGN_OR_RETURN(buffer, upload(values));
    }
    std::vector<int32_t> table(static_cast<size_t>(n_blocks));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), random);
    ASSIGN_OR_RETURN(table_, upload(table));
    const auto n_queries = static_cast<int32_t>(shape_.n_queries);
    const auto n_keys = static_cast<int32_t>(shape_.n_keys);
    ASSIGN_OR_RETURN(lengths_, upload(std::vector<int32_t>{0, n_queries, n_keys}));
    for (auto& buffer : outs_) {
      ASSIGN_OR_RETURN(buffer, DeviceBuffer::allocate(out_floats() * sizeof(float)));
    }
    describe(block_stride, n_blocks);
    return {};
  }

  void describe(int64_t block_stride, int64_t n_blocks) {
    info_ = {.n_tokens = shape_.n_queries,
             .n_seqs = 1,
             .n_heads = shape_.n_heads,
             .n_kv_heads = shape_.n_kv_heads,
             .key_dim = shape_.head_dim,
             .value_dim = shape_.head_dim,
             .max_keys = n_blocks * shape_.block_size};
    const auto* lengths = static_cast<const int32_t*>(lengths_->data());
    const int64_t row = shape_.n_heads * shape_.head_dim;
    params_ = {.q = static_cast<const float*>(q_->data()),
               .q_stride = row,
               .k_cache = caches_[0]->data(),
               .v_cache = caches_[1]->data(),
               .block_stride = block_stride,
               .block_table = static_cast<const int32_t*>(table_->data()),
               .table_stride = n_blocks,
               .query_start = lengths,
               .context_len = lengths + 2,
               .n_tokens = info_.n_tokens,
               .n_seqs = 1,
               .n_heads = shape_.n_heads,
               .n_kv_heads = shape_.n_kv_heads,
               .key_dim = shape_.head_dim,
               .value_dim = shape_.head_dim,
               .block_size = shape_.block_size,
               .scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim)),
               .window = 0,
               .chunk = 0,
               .softcap = 0,
               .sinks = nullptr,
               .out = outs_[0]->data(),
               .out_stride = row,
               .out_is_bf16 = false,
               .plan = {},
               .partial_sums = nullptr,
               .partial_max = nullptr};
  }

  const PrefillTrialShape shape_;
  const DType cache_;
  const Launcher launcher_;
  AttentionShapeInfo info_;
  AttentionParams params_{};
  std::unique_ptr<DeviceBuffer> q_;
  std::array<std::unique_ptr<DeviceBuffer>, 2> caches_;
  std::unique_ptr<DeviceBuffer> table_;
  std::unique_ptr<DeviceBuffer> lengths_;  // query_start, context_len
  std::array<std::unique_ptr<DeviceBuffer>, 2> outs_;
};

}  // namespace

Result<PrefillTrial> try_prefill_attention(const PrefillTrialShape& shape, DType cache, int rounds,
                                           const AttentionWorkspace& workspace,
                                           const Launcher& launcher) {
  ASSIGN_OR_RETURN(const auto trial, Trial::make(shape, cache, launcher));
  if (!trial->takes()) return failed_precondition("a shape that the wgmma kernel does not take");
  PrefillTrial result;
  trial->run_wgmma();
  trial->run_present(workspace);
  trial->compare(&result);
  if (rounds > 0) {
    result.wgmma_seconds = trial->seconds_of(rounds, [&] { trial->run_wgmma(); });
    result.present_seconds = trial->seconds_of(rounds, [&] { trial->run_present(workspace); });
  }
  return result;
}

Result<PrefillTrial> bench_prefill_attention(const PrefillTrialShape& shape, int device) {
  ASSIGN_OR_RETURN(const DeviceInfo info, open_device(device));
  if (info.major != 9) return failed_precondition("the wgmma kernel runs on Hopper alone");
  return try_prefill_attention(
      shape, DType::kBF16, kRounds, {},
      {.stream = default_stream(), .n_multiprocessors = info.n_multiprocessors});
}

PrefillAttention::PrefillAttention(const DeviceInfo& device, bool one_order)
    : possible_(device.major == 9 && !one_order) {}

bool PrefillAttention::takes(const AttentionParams& params, const AttentionShapeInfo& info,
                             DType cache, const AttentionWorkspace& workspace,
                             const Launcher& launcher) {
  if (!possible_ || !wgmma_attention_takes(params, info, cache, launcher.n_multiprocessors)) {
    return false;
  }
  const size_t which = (info.key_dim == 128 ? 2u : 0u) + (cache == DType::kF16 ? 1u : 0u);
  State& state = states_[which];
  if (state == State::kUntried && !is_capturing(launcher.stream)) {
    state = try_out(info.key_dim, cache, workspace, launcher);
  }
  return state == State::kUsed;
}

PrefillAttention::State PrefillAttention::try_out(int64_t head_dim, DType cache,
                                                  const AttentionWorkspace& workspace,
                                                  const Launcher& launcher) {
  PrefillTrialShape shape = kTrialShape;
  shape.head_dim = head_dim;
  const auto trial = try_prefill_attention(shape, cache, kRounds, workspace, launcher);
  const std::string what = "prefill attention over " + std::string(to_string(cache)) +
                           ", heads of " + std::to_string(head_dim) + " channels: ";
  if (!trial.ok()) {
    log::warn("{}the wgmma kernel could not be tried and is not used: {}", what,
              trial.error().message);
    return State::kUnused;
  }
  switch (judge(*trial)) {
    case PrefillVerdict::kUse:
      log::info("{}wgmma, {:.3f} ms where mma takes {:.3f}", what, trial->wgmma_seconds * 1e3,
                trial->present_seconds * 1e3);
      return State::kUsed;
    case PrefillVerdict::kSlow:
      log::info("{}mma, {:.3f} ms where wgmma takes {:.3f}", what, trial->present_seconds * 1e3,
                trial->wgmma_seconds * 1e3);
      return State::kUnused;
    case PrefillVerdict::kWrong:
      break;
  }
  log::warn("{}the wgmma kernel is not used: its results differ by {} from the mma kernel's", what,
            trial->difference);
  return State::kUnused;
}

}  // namespace trireme::kernels::cuda
