// RopeSpec: how a model turns positions into rotations of query and key channels. Pure data and
// arithmetic.
//
// Channel pair i of a head turns by position * inv_freq[i]; cos and sin are multiplied by
// cos_sin_scale(). Source: Su et al., arXiv:2104.09864; the scalings: linear (Chen et al.,
// arXiv:2306.15595), llama3 (Grattafiori et al., arXiv:2407.21783), YaRN (Peng et al.,
// arXiv:2309.00071), longrope (Ding et al., arXiv:2402.13753).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/ops.h"

namespace trireme::plan {

enum class RopeScaling : uint8_t { kNone, kLinear, kDynamic, kLlama3, kYarn, kLongRope };
using kernels::RopeLayout;

struct RopeSpec {
  double theta = 10000;
  int32_t rotary_dim = 0;  // channels rotated per head, <= head_dim
  RopeLayout layout = RopeLayout::kHalfSplit;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  int64_t original_context = 0;  // of training before the extension, in tokens

  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3

  double beta_fast = 32;                   // yarn: rotations kept whole at and above
  double beta_slow = 1;                    // yarn: rotations interpolated at and below
  bool truncate = true;                    // yarn: the ramp's ends are whole channels
  std::optional<double> mscale;            // yarn
  std::optional<double> mscale_all_dim;    // yarn: also multiplies scores, see score_scale()
  std::optional<double> attention_factor;  // yarn, longrope: cos_sin_scale() as the config has it
  std::vector<double> short_factors;       // longrope, [rotary_dim / 2]: up to original_context
  std::vector<double> long_factors;        // longrope, [rotary_dim / 2]: beyond it

  // [rotary_dim / 2] radians per token, scaling applied; longrope's set of short sequences.
  std::vector<float> inv_freq() const { return inv_freq_at(1); }
  // The same for a sequence of `length` tokens: only longrope and dynamic look at it.
  std::vector<float> inv_freq_at(int64_t length) const;
  // The sets that a backend keeps: one, or longrope's for short and for long sequences, or one for
  // each length from the original context to reach() (dynamic).
  std::vector<std::vector<float>> inv_freq_sets() const;
  // Tokens that a dynamic base is made for: factor times the original context.
  int64_t reach() const;
  // Multiplies cos and sin.
  float cos_sin_scale() const;
  // Multiplies q.k where the family says so: DeepSeek's share of YaRN, (0.1 mscale_all_dim ln
  // factor + 1)^2.
  float score_scale() const;
};

}  // namespace trireme::plan
