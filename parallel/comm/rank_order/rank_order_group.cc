#include "parallel/comm/rank_order/rank_order_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "parallel/comm/forwarding_group.h"
#include "parallel/comm/rank_order/rank_order_cut.h"
#include "parallel/comm/rank_order_sum.h"

namespace trireme::comm {
namespace {

// `n` elements of a contiguous tensor, as a vector.
TensorView elements(const TensorView& x, int64_t begin, int64_t n) {
  return TensorView(static_cast<std::byte*>(x.data) + static_cast<size_t>(begin) * size_of(x.dtype),
                    x.dtype, {n});
}
TensorView elements(const TensorView& x, Slice slice) {
  return elements(x, slice.begin, slice.size());
}

class RankOrderGroup final : public ForwardingGroup {
 public:
  RankOrderGroup(std::unique_ptr<ExchangingGroup> group, kernels::TermSum sum,
                 std::unique_ptr<kernels::Buffer> workspace, int64_t workspace_bytes)
      : ForwardingGroup(std::move(group)),
        exchanging_(static_cast<ExchangingGroup&>(*inner_)),
        sum_(sum),
        workspace_(std::move(workspace)),
        workspace_bytes_(workspace_bytes) {}

  Status all_reduce_sum(const TensorView& x, const OpContext& context) override {
    CHECK(can_sum(x.dtype)) << x.dtype;
    CHECK(x.contiguous());
    const bool direct = is_direct(static_cast<int64_t>(x.bytes()), size());
    const int64_t most = chunk_elements(slot_of(x.dtype), size(), direct);
    for (int64_t begin = 0; begin < x.numel(); begin += most) {
      const TensorView chunk = elements(x, begin, std::min(most, x.numel() - begin));
      TRY(direct ? sum_directly(chunk, context) : sum_by_slices(chunk, context));
    }
    return {};
  }

  Status reduce_scatter_sum(const TensorView& x, const TensorView& out,
                            const OpContext& context) override {
    CHECK(can_sum(x.dtype)) << x.dtype;
    CHECK(x.contiguous() && out.contiguous());
    CHECK_EQ(x.dim(0), out.dim(0) * size());
    CHECK_EQ(x.numel(), out.numel() * size());
    const int64_t most = slot_of(x.dtype);
    std::vector<TensorView> to(static_cast<size_t>(size()));
    for (int64_t begin = 0; begin < out.numel(); begin += most) {
      const int64_t n = std::min(most, out.numel() - begin);
      for (int r = 0; r < size(); ++r) {
        to[static_cast<size_t>(r)] = elements(x, r * out.numel() + begin, n);
      }
      TRY(sum_terms(to, elements(out, begin, n), context));
    }
    return {};
  }

 private:
  int64_t slot_of(DType dtype) const {
    return slot_elements(workspace_bytes_, size(), static_cast<int64_t>(size_of(dtype)));
  }

  // out = sum over ranks of what each has for this one: of this rank's own, to[rank()]. A rank's
  // `to` of another is as large as that one's out.
  Status sum_terms(const std::vector<TensorView>& to, const TensorView& out,
                   const OpContext& context) {
    const TensorView workspace(workspace_->data(), out.dtype, {slot_of(out.dtype) * size()});
    kernels::TermSumArgs args{
        .n_terms = size(), .out = out.data, .count = out.numel(), .dtype = out.dtype};
    std::vector<TensorView> slots(to.size());
    for (int r = 0; r < size(); ++r) {
      const auto i = static_cast<size_t>(r);
      slots[i] = elements(workspace, r * slot_of(out.dtype), out.numel());
      args.terms[i] = r == rank() ? to[i].data : slots[i].data;
    }
    TRY(exchanging_.exchange(to, slots, context));
    if (out.numel() > 0) sum_(args, context.stream);
    return {};
  }

  Status sum_directly(const TensorView& chunk, const OpContext& context) {
    return sum_terms(std::vector<TensorView>(static_cast<size_t>(size()), chunk), chunk, context);
  }

  Status sum_by_slices(const TensorView& chunk, const OpContext& context) {
    std::vector<TensorView> slices;
    slices.reserve(static_cast<size_t>(size()));
    for (int r = 0; r < size(); ++r) {
      slices.push_back(elements(chunk, slice_of(chunk.numel(), size(), r)));
    }
    const TensorView mine = slices[static_cast<size_t>(rank())];
    TRY(sum_terms(slices, mine, context));
    return exchanging_.exchange(std::vector<TensorView>(slices.size(), mine), slices, context);
  }

  ExchangingGroup& exchanging_;  // the inner group
  const kernels::TermSum sum_;
  const std::unique_ptr<kernels::Buffer> workspace_;
  const int64_t workspace_bytes_;
};

OpContext at_start(std::string_view op) {
  return {.step = StepId(0), .op = op, .deadline_ns = 0, .stream = {}};
}

// What a rank contributes to the trial at start; magnitudes differ, so that an order shows.
std::vector<float> trial_terms(int rank, int64_t n) {
  std::mt19937 random(static_cast<unsigned>(rank + 1));
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> terms(static_cast<size_t>(n));
  for (float& term : terms) term = uniform(random) * (random() % 3 == 0 ? 1000.0f : 1.0f);
  return terms;
}

// One sum of n elements of random data, which must have the host's bits.
Status try_sum(Group& group, kernels::Backend& backend, int64_t n) {
  std::vector<std::vector<float>> terms;
  std::vector<const std::byte*> inputs;
  terms.reserve(static_cast<size_t>(group.size()));
  inputs.reserve(static_cast<size_t>(group.size()));
  for (int r = 0; r < group.size(); ++r) {
    inputs.push_back(
        reinterpret_cast<const std::byte*>(terms.emplace_back(trial_terms(r, n)).data()));
  }
  std::vector<float> expected(static_cast<size_t>(n));
  sum_in_rank_order(DType::kF32, inputs, reinterpret_cast<std::byte*>(expected.data()), n);

  const size_t bytes = expected.size() * sizeof(float);
  ASSIGN_OR_RETURN(const auto buffer, backend.allocate(bytes));
  const TensorView x(buffer->data(), DType::kF32, {n});
  backend.copy_to_device(x.data, terms[static_cast<size_t>(group.rank())].data(), bytes, {});
  TRY(group.all_reduce_sum(x, at_start("rank-order sums: all_reduce")));
  TRY(group.barrier(at_start("rank-order sums: barrier")));
  std::vector<float> got(expected.size());
  backend.copy_to_host(got.data(), x.data, bytes, {});
  backend.synchronize({});
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &expected[i], sizeof(float)) == 0) continue;
    return internal_error(fmt::format(
        "sums of the group are not in rank order: element {} of {} is {:.9g} instead of {:.9g}", i,
        n, got[i], expected[i]));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Group>> with_rank_order_sums(std::unique_ptr<ExchangingGroup> group,
                                                    const RankOrderInputs& inputs) {
  const int n_ranks = group->size();
  if (n_ranks == 1) return std::unique_ptr<Group>(std::move(group));
  if (n_ranks > kernels::kMaxTerms) {
    return failed_precondition(
        fmt::format("sums in rank order, for `replicas.batch_invariant`, are for up to {} ranks, "
                    "not {}",
                    kernels::kMaxTerms, n_ranks));
  }
  CHECK_GE(slot_elements(inputs.workspace_bytes, n_ranks, sizeof(float)), kSliceElements);
  ASSIGN_OR_RETURN(auto workspace,
                   inputs.backend.allocate(static_cast<size_t>(inputs.workspace_bytes)));
  auto sums = std::make_unique<RankOrderGroup>(std::move(group), inputs.sum, std::move(workspace),
                                               inputs.workspace_bytes);
  for (const int64_t n : {int64_t{1001}, kDirectBytes}) {
    TRY(try_sum(*sums, inputs.backend, n));
  }
  if (sums->rank() == 0) {
    log::info("sums are in rank order whatever their size, through {} MiB of each GPU",
              inputs.workspace_bytes >> 20);
  }
  return std::unique_ptr<Group>(std::move(sums));
}

}  // namespace trireme::comm
