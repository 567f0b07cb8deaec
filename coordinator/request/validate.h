// What a Submit must be before the coordinator believes it. Pure.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "coordinator/kv/kv_budget.h"
#include "parallel/wire/messages.h"

namespace trireme::coordinator {

struct SubmitLimits {
  int32_t vocab = 0;
  int32_t model_context = 0;  // tokens
  const KvBudget* budget = nullptr;
  int64_t n_kv_blocks = 0;
  int32_t pool_context = 0;  // tokens: the longest sequence that the pool can hold
  bool encoder = false;

  // What one sequence can hold: the model's context, or the pool where that is smaller.
  int32_t context() const;
};

// invalid_argument with a sentence that names the field and the limit.
Status validate(const wire::Submit& submit, const SubmitLimits& limits);

}  // namespace trireme::coordinator
