// The scales of cached keys and values that checkpoints with an FP8 cache bring along, and the
// names that they go by.
//
// A scale is of a whole layer: a cached code stands for e4m3(code) * scale (kernels/ops.h). They
// are read where the cache is e4m3 and passed over elsewhere. Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

namespace trireme::worker {

struct KvScales {
  float k = 1;
  float v = 1;
};
using KvScalesByLayer = std::map<int64_t, KvScales>;

// What a tensor of this name scales.
struct KvScaleName {
  int64_t layer = 0;
  bool of_keys = false;
  bool of_values = false;
};

// "<...>layers.<n>.self_attn.<end>" where the end is k_scale, v_scale or kv_scale (both), behind
// "attn.", or k_scale behind "k_proj.", v_scale behind "v_proj.", either behind "qkv_proj.". Source
// of the names: the checkpoints of compressed-tensors, ModelOpt and AutoFP8 as vLLM reads them.
std::optional<KvScaleName> find_kv_scale(std::string_view name);

}  // namespace trireme::worker
