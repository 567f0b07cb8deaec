#include "worker/weights/shard_inventory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_map>

#include "worker/weights/safetensors.h"

namespace trireme::worker {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Status check_tensor(const SourceTensor& tensor, const std::vector<int64_t>& shape) {
  if (tensor.shape != shape) {
    return invalid_argument(fmt::format("tensor {} has shape {}; config.json makes it {}",
                                        in_quotes(tensor.name), shape_text(tensor.shape),
                                        shape_text(shape)));
  }
  if (!tensor.dtype.has_value()) {
    return unimplemented(fmt::format("tensor {} has dtype {}; F32, F16 and BF16 weights are served",
                                     in_quotes(tensor.name), tensor.stored_dtype));
  }
  return {};
}

// All ranks' wishes as one.
class Wanted {
 public:
  explicit Wanted(const std::vector<WeightDeclaration>& declared) {
    for (const WeightDeclaration& rank : declared) {
      for (const DeclaredPart& want : rank.parts) {
        shapes_.emplace(want.part.slice.name, want.part.slice.shape);
      }
      ignored_.insert(rank.ignored.begin(), rank.ignored.end());
      ignored_prefixes_.insert(rank.ignored_prefixes.begin(), rank.ignored_prefixes.end());
      optional_prefixes_.insert(rank.optional_prefixes.begin(), rank.optional_prefixes.end());
    }
  }

  const std::map<std::string, std::vector<int64_t>>& shapes() const { return shapes_; }

  bool is_ignored(const std::string& name) const {
    return ignored_.contains(name) ||
           std::any_of(ignored_prefixes_.begin(), ignored_prefixes_.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); });
  }
  // The family's name of a tensor that a file calls `stored`.
  std::string family_name(const std::string& stored) const {
    for (const auto& [prefix, replaced] : optional_prefixes_) {
      if (stored.starts_with(prefix)) return replaced + stored.substr(prefix.size());
    }
    return stored;
  }

 private:
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::set<std::string> ignored_;
  std::set<std::string> ignored_prefixes_;
  std::map<std::string, std::string> optional_prefixes_;
};

}  // namespace

Result<std::map<std::string, std::string>> match_inventory(
    const std::string& architecture, const std::vector<WeightDeclaration>& declared,
    const std::vector<SourceTensor>& inventory) {
  const Wanted wanted(declared);
  std::map<std::string, std::string> renamed;
  std::unordered_map<std::string, const SourceTensor*> present;
  const SourceTensor* surplus = nullptr;
  for (const SourceTensor& tensor : inventory) {
    const std::string name = wanted.family_name(tensor.name);
    if (wanted.is_ignored(name) || wanted.is_ignored(tensor.name)) continue;
    if (!wanted.shapes().contains(name)) {
      if (surplus == nullptr) surplus = &tensor;
      continue;
    }
    const auto [at, is_new] = present.emplace(name, &tensor);
    if (!is_new) {
      return invalid_argument(fmt::format("tensor {} is also stored as {}",
                                          in_quotes(at->second->name), in_quotes(tensor.name)));
    }
    if (name != tensor.name) renamed.emplace(name, tensor.name);
  }
  for (const auto& [name, shape] : wanted.shapes()) {
    const auto at = present.find(name);
    if (at == present.end()) {
      return invalid_argument(
          fmt::format("tensor {} is missing from the checkpoint", in_quotes(name)));
    }
    TRY(check_tensor(*at->second, shape));
  }
  if (surplus != nullptr) {
    return invalid_argument(
        fmt::format("tensor {} of the checkpoint has no place in a {} of this config.json",
                    in_quotes(surplus->name), architecture));
  }
  return renamed;
}

}  // namespace trireme::worker
