// Norms of queries and keys before they are rotated, one class per kind. Immutable after loading.
#pragma once

#include <string>

#include "worker/layers/attention.h"

namespace trireme::worker {

// RMS of each head on its own, one [head_dim] weight for all heads.
class HeadRmsNorm final : public QkNorm {
 public:
  // `plus` is added to the stored weights.
  HeadRmsNorm(PartLoader& in, const std::string& q, const std::string& k, float plus = 0);
  HeadNormWeights head_weights() const override { return {q_weight_.view, k_weight_.view, eps_}; }
  Status forward(const TensorView& q, const TensorView& k, Pass& pass) const override;

 private:
  DeviceTensor q_weight_;
  DeviceTensor k_weight_;
  float eps_ = 0;
};

// LayerNorm without bias of each head on its own, weights [n_heads, head_dim] and [n_kv_heads,
// head_dim].
class EveryHeadLayerNorm final : public QkNorm {
 public:
  EveryHeadLayerNorm(PartLoader& in, const std::string& q, const std::string& k);
  Status forward(const TensorView& q, const TensorView& k, Pass& pass) const override;

 private:
  DeviceTensor q_weight_;
  DeviceTensor k_weight_;
  float eps_ = 0;
};

// RMS over the whole projection, all heads together. Where the heads are cut over the group, their
// sums of squares are added over it.
class ProjectionRmsNorm final : public QkNorm {
 public:
  ProjectionRmsNorm(PartLoader& in, const std::string& q, const std::string& k);
  Status forward(const TensorView& q, const TensorView& k, Pass& pass) const override;

 private:
  DeviceTensor q_weight_;  // [n_heads * head_dim] of this rank
  DeviceTensor k_weight_;
  int64_t q_width_ =
      0;  // summed over the group; a key head that several ranks hold counts for each
  int64_t k_width_ = 0;
  float eps_ = 0;
  comm::Group* tp_ = nullptr;
  std::string op_name_;
};

// RMS of each head on its own, without weights.
class UnweightedHeadNorm final : public QkNorm {
 public:
  explicit UnweightedHeadNorm(PartLoader& in) : eps_(in.spec().norm_eps) {}
  Status forward(const TensorView& q, const TensorView& k, Pass& pass) const override;

 private:
  float eps_ = 0;
};

// Not a norm: queries times 1 + scale * log(1 + floor((position + 1) / floor_scale)), so that
// scores of layers without rotation stay sharp in long contexts. Nothing where the spec has no
// floor_scale.
class QueryTemperature final : public QkNorm {
 public:
  explicit QueryTemperature(PartLoader& in)
      : floor_scale_(in.spec().floor_scale), scale_(in.spec().temperature_scale) {}
  Status forward(const TensorView& q, const TensorView& k, Pass& pass) const override;

 private:
  float floor_scale_ = 0;
  float scale_ = 0;
};

}  // namespace trireme::worker
