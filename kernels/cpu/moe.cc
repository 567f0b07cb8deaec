#include "kernels/cpu/moe.h"

#include <algorithm>
#include <cmath>

namespace trireme::kernels::cpu {
namespace {

// Logits of a step from which on a second thread pays for being woken.
constexpr int64_t kLogitsWorthThreads = 8192;

// Without a bias and without sums of scores, logits order the experts as their scores do.
bool chooses_by_logits(const MoeRouteArgs& args) {
  return !args.choice_bias.defined() && args.group_score != GroupScore::kTopTwoSum;
}

}  // namespace

MoeRouter::MoeRouter(const IsaKernels& isa, ThreadPool* pool)
    : isa_(isa), pool_(pool), per_thread_(static_cast<size_t>(pool->n_threads())) {}

// `best` holds the best so far in falling order; candidates come by rising id, so that an equal
// one stays behind.
void MoeRouter::keep_best(std::vector<Candidate>* best, size_t n, Candidate candidate) {
  if (best->size() == n) {
    if (!(candidate.score > best->back().score)) return;
    best->pop_back();
  }
  size_t at = best->size();
  best->push_back(candidate);
  for (; at > 0 && candidate.score > (*best)[at - 1].score; --at) (*best)[at] = (*best)[at - 1];
  (*best)[at] = candidate;
}

// Fills the scores that weights or the choice ask for.
void MoeRouter::score(const MoeRouteArgs& args, const float* logits, Work* work) const {
  const int64_t n = args.logits.dim(1);
  work->scores.assign(logits, logits + n);
  if (args.scoring == ExpertScoring::kSigmoid) {
    isa_.sigmoid(logits, n, work->scores.data());
  } else if (args.scoring == ExpertScoring::kSoftmax) {
    float max = 0;
    float sum = 0;
    isa_.max_sum_exp(logits, n, &max, &sum);
    isa_.exp_minus(logits, max, n, work->scores.data());
    for (float& score : work->scores) score /= sum;
  }
  work->choice = work->scores;
  if (!args.choice_bias.defined()) return;
  const float* bias = args.choice_bias.as<float>();
  for (int64_t e = 0; e < n; ++e) work->choice[static_cast<size_t>(e)] += bias[e];
}

void MoeRouter::choose_groups(const MoeRouteArgs& args, const float* choice, Work* work) {
  const int64_t size = args.logits.dim(1) / args.n_groups;
  work->groups.clear();
  for (int32_t g = 0; g < args.n_groups; ++g) {
    const float* group = choice + g * size;
    float score = *std::max_element(group, group + size);
    if (args.group_score == GroupScore::kTopTwoSum) {
      float best = std::max(group[0], group[1]);
      float second = std::min(group[0], group[1]);
      for (int64_t e = 2; e < size; ++e) {
        second = std::max(second, std::min(best, group[e]));
        best = std::max(best, group[e]);
      }
      score = best + second;
    }
    keep_best(&work->groups, static_cast<size_t>(args.n_chosen_groups), {score, g});
  }
  // Experts are offered by rising id.
  std::sort(work->groups.begin(), work->groups.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
}

void MoeRouter::route(const MoeRouteArgs& args, int64_t token, Work* work) const {
  const float* logits = args.logits.row<float>(token);
  const auto n_experts = static_cast<int32_t>(args.logits.dim(1));
  const auto top_k = static_cast<size_t>(args.expert_ids.dim(1));
  score(args, logits, work);
  const float* choice = chooses_by_logits(args) ? logits : work->choice.data();
  work->experts.clear();
  const auto offer = [&](int32_t begin, int32_t end) {
    for (int32_t e = begin; e < end; ++e) keep_best(&work->experts, top_k, {choice[e], e});
  };
  if (args.group_score == GroupScore::kNone) {
    offer(0, n_experts);
  } else {
    choose_groups(args, choice, work);
    const int32_t size = n_experts / args.n_groups;
    for (const Candidate& group : work->groups) offer(group.id * size, (group.id + 1) * size);
  }
  int32_t* ids = args.expert_ids.row<int32_t>(token);
  float* weights = args.weights.row<float>(token);
  const float best_logit = logits[work->experts.front().id];
  float sum = 0;
  for (size_t c = 0; c < top_k; ++c) {
    ids[c] = work->experts[c].id;
    weights[c] = args.scoring == ExpertScoring::kSoftmaxOfChosen
                     ? std::exp(logits[ids[c]] - best_logit)
                     : work->scores[static_cast<size_t>(ids[c])];
    sum += weights[c];
  }
  const bool divides = args.renormalize || args.scoring == ExpertScoring::kSoftmaxOfChosen;
  // The small number keeps weights that are all zero from becoming NaN.
  const float divisor = divides ? sum + 1e-20f : 1.0f;
  for (size_t c = 0; c < top_k; ++c) weights[c] = weights[c] / divisor * args.weight_scale;
}

void MoeRouter::run(const MoeRouteArgs& args) {
  const int64_t n_tokens = args.logits.dim(0);
  pool_->split(n_tokens, args.logits.numel() > kLogitsWorthThreads,
               [&](int64_t begin, int64_t end, int thread) {
                 for (int64_t t = begin; t < end; ++t) {
                   route(args, t, &per_thread_[static_cast<size_t>(thread)]);
                 }
               });
}

// A counting sort: rows per expert, then their first rows, then everybody's place.
void moe_dispatch(const MoeDispatchArgs& args) {
  int32_t* start = args.expert_start.as<int32_t>();
  int32_t* token_of_row = args.token_of_row.as<int32_t>();
  const int64_t n_tokens = args.expert_ids.dim(0);
  const int64_t top_k = args.expert_ids.dim(1);
  const auto each_choice = [&](auto&& function) {
    for (int64_t t = 0; t < n_tokens; ++t) {
      const int32_t* ids = args.expert_ids.row<int32_t>(t);
      for (int64_t c = 0; c < top_k; ++c) {
        const int64_t expert = int64_t{ids[c]} - args.first_expert;
        function(t, c, expert >= 0 && expert < args.n_local_experts ? expert : -1);
      }
    }
  };
  // start[e + 1] counts the rows of expert e, then is the next free row of it, and so its end at
  // last.
  std::fill_n(start, args.n_local_experts + 1, 0);
  each_choice([&](int64_t, int64_t, int64_t expert) {
    if (expert >= 0) ++start[expert + 1];
  });
  int32_t next = 0;
  for (int64_t e = 0; e < args.n_local_experts; ++e) {
    const int32_t n_rows = start[e + 1];
    start[e + 1] = next;
    next += n_rows;
  }
  each_choice([&](int64_t t, int64_t c, int64_t expert) {
    int32_t row = -1;
    if (expert >= 0) {
      row = start[expert + 1]++;
      token_of_row[row] = static_cast<int32_t>(t);
    }
    args.row_of_choice.row<int32_t>(t)[c] = row;
  });
}

}  // namespace trireme::kernels::cpu
