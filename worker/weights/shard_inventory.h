// Compares a whole checkpoint with what the ranks of a model declare, before a byte is read. Pure.
//
// Private to worker/weights.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/weights/shard_loader.h"

namespace trireme::worker {

// The files' names of the tensors that carry one of the family's optional prefixes, by the family's
// name. An error names the tensor that is missing, misshapen, of a type that is no weight's, stored
// under two names, or that nothing uses.
Result<std::map<std::string, std::string>> match_inventory(
    const std::string& architecture, const std::vector<WeightDeclaration>& declared,
    const std::vector<SourceTensor>& inventory);

}  // namespace trireme::worker
