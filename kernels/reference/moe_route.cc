#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/reference/reference_ops.h"

namespace trireme::kernels::reference {

namespace {

// The n best of `scores`, best first, the lower index first among equals.
std::vector<int64_t> best_of(const std::vector<float>& scores, int64_t n) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(n));
  return order;
}

std::vector<float> softmax(const std::vector<float>& logits) {
  const float max = *std::max_element(logits.begin(), logits.end());
  std::vector<float> result;
  float sum = 0;
  for (const float logit : logits) {
    result.push_back(std::exp(logit - max));
    sum += result.back();
  }
  for (float& value : result) value /= sum;
  return result;
}

std::vector<float> scores_of(ExpertScoring scoring, const std::vector<float>& logits) {
  if (scoring == ExpertScoring::kSoftmax) return softmax(logits);
  if (scoring == ExpertScoring::kSoftmaxOfChosen) return logits;
  std::vector<float> result;
  result.reserve(logits.size());
  for (const float logit : logits) result.push_back(1.0f / (1.0f + std::exp(-logit)));
  return result;
}

// What experts are chosen by: -inf where their group is not chosen.
std::vector<float> choice_scores(const MoeRouteArgs& args, const std::vector<float>& logits,
                                 const std::vector<float>& scores) {
  const bool plain = !args.choice_bias.defined() && args.group_score != GroupScore::kTopTwoSum;
  std::vector<float> choice = plain ? logits : scores;
  for (size_t e = 0; e < choice.size() && args.choice_bias.defined(); ++e) {
    choice[e] += args.choice_bias.as<float>()[e];
  }
  if (args.group_score == GroupScore::kNone) return choice;
  const int64_t size = static_cast<int64_t>(choice.size()) / args.n_groups;
  std::vector<float> group_scores;
  for (int64_t g = 0; g < args.n_groups; ++g) {
    std::vector<float> group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::sort(group.begin(), group.end(), std::greater<>());
    group_scores.push_back(args.group_score == GroupScore::kMax ? group[0] : group[0] + group[1]);
  }
  std::vector<float> allowed(choice.size(), -std::numeric_limits<float>::infinity());
  for (const int64_t g : best_of(group_scores, args.n_chosen_groups)) {
    std::copy(choice.begin() + g * size, choice.begin() + (g + 1) * size,
              allowed.begin() + g * size);
  }
  return allowed;
}

}  // namespace

void moe_route(const MoeRouteArgs& args) {
  const int64_t top_k = args.expert_ids.dim(1);
  for (int64_t t = 0; t < args.logits.dim(0); ++t) {
    const float* row = args.logits.row<float>(t);
    const std::vector<float> logits(row, row + args.logits.dim(1));
    const std::vector<float> scores = scores_of(args.scoring, logits);
    std::vector<float> weights;
    for (const int64_t expert : best_of(choice_scores(args, logits, scores), top_k)) {
      args.expert_ids.row<int32_t>(t)[weights.size()] = static_cast<int32_t>(expert);
      weights.push_back(scores[static_cast<size_t>(expert)]);
    }
    if (args.scoring == ExpertScoring::kSoftmaxOfChosen) weights = softmax(weights);
    // The small number keeps weights that are all zero from becoming NaN.
    const float sum = std::accumulate(weights.begin(), weights.end(), 0.0f) + 1e-20f;
    for (size_t c = 0; c < weights.size(); ++c) {
      const float weight = args.renormalize ? weights[c] / sum : weights[c];
      args.weights.row<float>(t)[c] = weight * args.weight_scale;
    }
  }
}

}  // namespace trireme::kernels::reference
