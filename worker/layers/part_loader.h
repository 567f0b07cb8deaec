// PartLoader: what the parts of a model are made from: the spec, this rank's share, the loader of
// its weights, and the prefix under which names are looked up.
//
// The makers of WeightPart say how a stored tensor is cut; the names are the family's. Lives while
// a model is built; everything referred to outlives the model.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm/group.h"
#include "parallel/plan/model_spec.h"
#include "parallel/plan/parallel_plan.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

class PartLoader {
 public:
  PartLoader(const plan::ModelSpec& spec, const plan::RankPlan& rank, comm::Group& tp,
             ShardLoader& weights)
      : spec_(spec), rank_(rank), tp_(tp), weights_(weights) {}

  // The same for layer `index`, whose tensors are named under `prefix` ("model.layers.3.").
  PartLoader layer(int64_t index, std::string prefix) const {
    PartLoader loader(spec_, rank_, tp_, weights_);
    loader.index_ = index;
    loader.prefix_ = std::move(prefix);
    return loader;
  }

  const plan::ModelSpec& spec() const { return spec_; }
  const plan::RankPlan& rank() const { return rank_; }
  comm::Group& tp() const { return tp_; }
  ShardLoader& weights() const { return weights_; }
  // Of the model; `layer_spec` and `slot` are for a layer's loader alone.
  int64_t index() const { return index_; }
  const plan::LayerSpec& layer_spec() const { return spec_.layers.at(static_cast<size_t>(index_)); }
  // This layer among those of the rank, from 0: its place in the KV cache.
  int64_t slot() const { return index_ - rank_.layers.begin; }
  std::string name(const std::string& suffix) const { return prefix_ + suffix; }
  void ignore(const std::string& suffix) const { weights_.ignore(name(suffix)); }

  // Rows of a stored [n_out, n_in]: output features of this rank.
  WeightPart rows(const std::string& suffix, int64_t n_out, int64_t n_in, plan::Range part) const {
    return {.slice = {name(suffix), {n_out, n_in}, part, {0, n_in}}};
  }
  // Columns of a stored [n_out, n_in]: input features of this rank.
  WeightPart columns(const std::string& suffix, int64_t n_out, int64_t n_in,
                     plan::Range part) const {
    return {.slice = {name(suffix), {n_out, n_in}, {0, n_out}, part}};
  }
  // A stored [n].
  WeightPart vector(const std::string& suffix, int64_t n, plan::Range part) const {
    return {.slice = {name(suffix), {n}, part, {0, 1}}};
  }
  WeightPart vector(const std::string& suffix, int64_t n) const {
    return vector(suffix, n, {0, n});
  }

 private:
  const plan::ModelSpec& spec_;
  const plan::RankPlan& rank_;
  comm::Group& tp_;
  ShardLoader& weights_;
  int64_t index_ = -1;
  std::string prefix_;
};

// The channels of a range of heads.
inline plan::Range channels_of(plan::Range heads, int64_t head_dim) {
  return {heads.begin * head_dim, heads.end * head_dim};
}
// The same range behind `offset` other rows.
inline plan::Range shifted(plan::Range range, int64_t offset) {
  return {range.begin + offset, range.end + offset};
}

}  // namespace trireme::worker
