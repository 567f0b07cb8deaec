// The keys that most mixtures of experts share.
#include <fmt/format.h>

#include "parallel/plan/config_keys.h"

namespace trireme::plan {
namespace {

constexpr int64_t kMaxExperts = 1 << 12;
// Columns of a layer's experts together: beyond every published model, and no size overflows.
constexpr int64_t kMaxColumns = int64_t{1} << 30;

}  // namespace

Result<MoeSpec> read_moe(const ConfigObject& config, const MoeKeys& keys) {
  MoeSpec moe;
  ASSIGN_OR_RETURN(const int64_t experts, config.integer(keys.experts, 1, kMaxExperts));
  ASSIGN_OR_RETURN(const int64_t top_k, config.integer(keys.top_k, 1, kMaxExperts));
  if (top_k > experts) {
    return invalid_argument(fmt::format("config.json: '{}' is {}, but there are {} experts.",
                                        keys.top_k, top_k, experts));
  }
  moe.n_experts = static_cast<int32_t>(experts);
  moe.top_k = static_cast<int32_t>(top_k);
  ASSIGN_OR_RETURN(moe.width, read_width(config, keys.width));
  if (experts * moe.width > kMaxColumns) {
    return invalid_argument(fmt::format("config.json: {} experts of '{}' {} are absurd.", experts,
                                        keys.width, moe.width));
  }
  return moe;
}

void use_experts(ModelSpec& spec, const MoeSpec& moe) {
  spec.moe = moe;
  spec.intermediate = 0;
  for (LayerSpec& layer : spec.layers) layer.moe = true;
}

}  // namespace trireme::plan
