#include "worker/weights/kv_scales.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "worker/weights/checkpoint.h"
#include "worker/weights/expanded_tensor.h"

namespace trireme::worker {
namespace {

struct Ending {
  std::string_view text;
  bool of_keys;
  bool of_values;
};
constexpr std::array<Ending, 10> kEndings = {{{"k_scale", true, false},
                                              {"v_scale", false, true},
                                              {"kv_scale", true, true},
                                              {"attn.k_scale", true, false},
                                              {"attn.v_scale", false, true},
                                              {"attn.kv_scale", true, true},
                                              {"k_proj.k_scale", true, false},
                                              {"v_proj.v_scale", false, true},
                                              {"qkv_proj.k_scale", true, false},
                                              {"qkv_proj.v_scale", false, true}}};

Result<float> read_scale(const RawTensor& tensor) {
  int64_t n = 1;
  for (const int64_t extent : tensor.shape()) n *= extent;
  if (!is_float(tensor)) return wrong_type(tensor, "F32, F16 or BF16");
  if (n != 1) {
    return unimplemented(
        fmt::format("tensor {} has {} scales of a layer's cache; one for the whole layer is read",
                    in_quotes(tensor.name()), n));
  }
  ASSIGN_OR_RETURN(const uint8_t* bytes, tensor.data());
  const float scale = load_float(tensor, bytes, 0);
  // What is stored is multiplied by its inverse.
  if (!(scale > 0) || !std::isfinite(scale) || !std::isfinite(1 / scale)) {
    return invalid_argument(
        fmt::format("tensor {} is {}, which no scale is", in_quotes(tensor.name()), scale));
  }
  return scale;
}

// The tensors of one layer.
struct Found {
  const RawTensor* keys = nullptr;
  const RawTensor* values = nullptr;
};

Status put(const RawTensor& tensor, const RawTensor** place) {
  if (*place != nullptr) {
    return invalid_argument(fmt::format("both {} and {} scale the same layer's cache",
                                        in_quotes((*place)->name()), in_quotes(tensor.name())));
  }
  *place = &tensor;
  return {};
}

}  // namespace

std::optional<KvScaleName> find_kv_scale(std::string_view name) {
  constexpr std::string_view kLayers = "layers.";
  constexpr std::string_view kAttention = ".self_attn.";
  const size_t at = name.find(kLayers);
  if (at == name.npos || (at > 0 && name[at - 1] != '.')) return std::nullopt;
  const char* const end = name.data() + name.size();
  KvScaleName found;
  const auto [behind, error] = std::from_chars(name.data() + at + kLayers.size(), end, found.layer);
  if (error != std::errc() || found.layer < 0) return std::nullopt;
  const std::string_view rest(behind, static_cast<size_t>(end - behind));
  if (!rest.starts_with(kAttention)) return std::nullopt;
  for (const Ending& ending : kEndings) {
    if (rest.substr(kAttention.size()) != ending.text) continue;
    found.of_keys = ending.of_keys;
    found.of_values = ending.of_values;
    return found;
  }
  return std::nullopt;
}

Result<KvScalesByLayer> Checkpoint::kv_scales() const {
  std::map<int64_t, Found> layers;
  for (const auto& [name, tensor] : tensors_) {
    const auto scale = find_kv_scale(name);
    if (!scale.has_value()) continue;
    Found& found = layers[scale->layer];
    if (scale->of_keys) TRY(put(tensor, &found.keys));
    if (scale->of_values) TRY(put(tensor, &found.values));
  }
  KvScalesByLayer scales;
  for (const auto& [layer, found] : layers) {
    if (found.keys == nullptr || found.values == nullptr) {
      const RawTensor& alone = found.keys != nullptr ? *found.keys : *found.values;
      return invalid_argument(
          fmt::format("tensor {} has no counterpart: layer {} needs scales of keys and of values",
                      in_quotes(alone.name()), layer));
    }
    KvScales& both = scales[layer];
    ASSIGN_OR_RETURN(both.k, read_scale(*found.keys));
    ASSIGN_OR_RETURN(both.v, read_scale(*found.values));
  }
  return scales;
}

}  // namespace trireme::worker
