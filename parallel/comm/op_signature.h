// What an operation is, as a word that all ranks of a group must agree on; and the words of its
// errors. Shared by the host implementations of Group.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "parallel/comm/group.h"

namespace trireme::comm {

enum class OpKind : uint8_t { kBarrier, kAllReduce, kAllGather, kReduceScatter, kBroadcast, kSend };

struct OpShape {
  OpKind kind = OpKind::kBarrier;
  DType dtype = DType::kF32;
  size_t bytes = 0;  // of this rank's part; below 2^44
  int root = 0;      // below 2^12
};

// Packs the fields side by side: different shapes have different words.
constexpr uint64_t op_signature(const OpShape& shape) {
  return uint64_t{static_cast<uint8_t>(shape.kind)} << 60 |
         uint64_t{static_cast<uint8_t>(shape.dtype)} << 56 |
         static_cast<uint64_t>(shape.root & 0xfff) << 44 |
         (shape.bytes & ((uint64_t{1} << 44) - 1));
}

// The context's deadline; where the caller named none (0), kDefaultTimeoutNs from now: nothing
// waits for ever.
inline constexpr int64_t kDefaultTimeoutNs = 30'000'000'000;
constexpr int64_t definite_deadline(const OpContext& context, int64_t now_ns) {
  return context.deadline_ns != 0 ? context.deadline_ns : now_ns + kDefaultTimeoutNs;
}

// "step 7, 'layer 3 attention all_reduce' (tp group)".
inline std::string describe_op(const std::string& group_name, const OpContext& context) {
  return "step " + std::to_string(context.step.value()) + ", '" + std::string(context.op) + "' (" +
         group_name + " group)";
}

}  // namespace trireme::comm
