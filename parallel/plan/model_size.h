// How many weights a model's parts have, whole or as one rank holds them. Pure arithmetic.
//
// One set of formulas for parameter counts, memory and costs. The worker's declare pass counts the
// same from the family files; a test holds both equal for every family.
#pragma once

#include <cstdint>

#include "parallel/plan/model_spec.h"

namespace trireme::plan {

struct RankPlan;

// How much of each dimension that tensor parallelism cuts.
struct Share {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t intermediate = 0;
  int64_t experts = 0;
  int64_t expert_width = 0;
  int64_t shared_width = 0;

  static Share whole(const ModelSpec& spec);
  static Share of(const RankPlan& rank);
};

struct LayerSize {
  int64_t always = 0;  // weights that every token meets
  int64_t routed = 0;  // experts: a token meets top_k of n_experts of them
  // Those of them that do not stay low-bit where the others do: norms, biases, routers, what a
  // checkpoint of MXFP4 leaves plain, and matrices whose inputs are cut inside a group.
  int64_t always_plain = 0;
  int64_t routed_plain = 0;
  int64_t total() const { return always + routed; }
};

LayerSize layer_size(const ModelSpec& spec, const LayerSpec& layer, const Share& share);

// How weights are held in memory: as `dtype`, or, where the checkpoint has them so and a kernel
// takes them (plan::stays_low_bit), as codes with their scales. Parts of one matrix that disagree,
// and so are expanded, are not known here.
struct HeldWeights {
  DType dtype = DType::kBF16;
  bool keep_low_bit = false;
};
// Of one weight of a layer's matrix, an expert's or another, its share of scales and zero points
// included.
double matrix_weight_bytes(const ModelSpec& spec, const HeldWeights& held, bool routed);
struct LayerBytes {
  double always = 0;
  double routed = 0;
  double total() const { return always + routed; }
};
LayerBytes layer_bytes(const ModelSpec& spec, const LayerSize& size, const HeldWeights& held);
// Of the whole model.
int64_t held_weight_bytes(const ModelSpec& spec, const HeldWeights& held);

// Share of the routed weights that `n_tokens` tokens together touch, when they choose evenly.
double routed_share(const ModelSpec& spec, double n_tokens);

// Elements that a token leaves in one layer's cache.
int64_t kv_elements(const ModelSpec& spec, int64_t n_kv_heads);

// Weights of the final norm.
// Of the norm behind the layers; of an encoder, that of its embedding.
int64_t final_norm_size(const ModelSpec& spec);
// Rows of the tables beside the vocabulary's: positions and token types, whole on the first stage.
int64_t embedding_rows(const ModelSpec& spec);

}  // namespace trireme::plan
