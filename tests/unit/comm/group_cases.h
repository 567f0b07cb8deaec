// What every implementation of Group must do, as a function that one rank runs while its peers run
// it too.
//
// Each rank can compute any rank's data, so each checks its own result against sums made here in
// rank order. The answer is an Error that says which case went wrong, so that threads, forked
// children and MPI ranks can all report it.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "base/clock.h"
#include "parallel/comm/group.h"

namespace trireme::comm::testing {

class GroupCases {
 public:
  GroupCases(Group& group, const Clock& clock, int64_t timeout_ns = 20'000'000'000)
      : group_(group), clock_(clock), timeout_ns_(timeout_ns) {}

  // Every operation for every size and dtype.
  Status run_all(const std::vector<int64_t>& sizes) {
    for (const int64_t n : sizes) {
      TRY(all_reduce<float>(n));
      TRY(all_reduce<bf16>(n));
      TRY(all_gather<float>(n));
      TRY(all_gather<bf16>(n));
      TRY(all_gather<int32_t>(n));
      TRY(reduce_scatter<float>(n));
      TRY(reduce_scatter<bf16>(n));
      for (int root = 0; root < group_.size(); ++root) TRY(broadcast(n, root));
      TRY(ring(n));
      TRY(group_.barrier(context("barrier")));
    }
    return {};
  }

  template <typename T>
  Status all_reduce(int64_t n) {
    std::vector<T> x = data<T>(group_.rank(), n);
    TRY(group_.all_reduce_sum(view(x), context("all_reduce")));
    return compare(x, sums<T>(n, 0, n), "all_reduce", n);
  }

  template <typename T>
  Status all_gather(int64_t n) {
    std::vector<T> x = data<T>(group_.rank(), n);
    std::vector<T> out(static_cast<size_t>(n * group_.size()));
    TRY(group_.all_gather(view(x), view(out), context("all_gather")));
    std::vector<T> expected;
    for (int r = 0; r < group_.size(); ++r) {
      const std::vector<T> part = data<T>(r, n);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    return compare(out, expected, "all_gather", n);
  }

  template <typename T>
  Status reduce_scatter(int64_t n) {
    const int64_t total = n * group_.size();
    std::vector<T> x = data<T>(group_.rank(), total);
    std::vector<T> out(static_cast<size_t>(n));
    TRY(group_.reduce_scatter_sum(view(x), view(out), context("reduce_scatter")));
    return compare(out, sums<T>(total, group_.rank() * n, n), "reduce_scatter", n);
  }

  Status broadcast(int64_t n, int root) {
    std::vector<int32_t> x = data<int32_t>(group_.rank(), n);
    TRY(group_.broadcast(view(x), root, context("broadcast")));
    return compare(x, data<int32_t>(root, n), "broadcast", n);
  }

  // Everyone sends to the right before it receives from the left, in turns so that full rings
  // cannot lock.
  Status ring(int64_t n) {
    if (group_.size() == 1) return {};
    const int right = (group_.rank() + 1) % group_.size();
    const int left = (group_.rank() + group_.size() - 1) % group_.size();
    std::vector<bf16> mine = data<bf16>(group_.rank(), n);
    std::vector<bf16> theirs(static_cast<size_t>(n));
    const bool sends_first = group_.rank() != 0;
    if (sends_first) TRY(group_.send(view(mine), right, context("send")));
    TRY(group_.recv(view(theirs), left, context("recv")));
    if (!sends_first) TRY(group_.send(view(mine), right, context("send")));
    return compare(theirs, data<bf16>(left, n), "recv", n);
  }

  OpContext context(std::string_view op) {
    OpContext c;
    c.step = StepId(++step_);
    c.op = op;
    c.deadline_ns = clock_.now_ns() + timeout_ns_;
    return c;
  }

  template <typename T>
  static TensorView view(std::vector<T>& x) {
    return TensorView(x.data(), dtype_of<T>(), {static_cast<int64_t>(x.size())});
  }

 private:
  // Values of different magnitudes, so that another order of addition gives other bits.
  static float value(int rank, int64_t i) {
    const auto h = static_cast<uint32_t>(i * 2654435761u + static_cast<uint32_t>(rank) * 40503u);
    const float magnitude = static_cast<float>(1 << (h % 12));
    return (static_cast<float>((h >> 12) % 2001) - 1000.0f) * 0.001f * magnitude;
  }
  static void store(float v, float& out) { out = v; }
  static void store(float v, bf16& out) { out = to_bf16(v); }
  static void store(float v, int32_t& out) { out = static_cast<int32_t>(v * 1000); }
  static float load(float v) { return v; }
  static float load(bf16 v) { return to_f32(v); }

  template <typename T>
  static std::vector<T> data(int rank, int64_t n) {
    std::vector<T> x(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) store(value(rank, i), x[static_cast<size_t>(i)]);
    return x;
  }

  template <typename T>
  std::vector<T> sums(int64_t total, int64_t begin, int64_t n) {
    std::vector<T> result(static_cast<size_t>(n));
    std::vector<float> partial(static_cast<size_t>(n), 0.0f);
    for (int r = 0; r < group_.size(); ++r) {
      const std::vector<T> x = data<T>(r, total);
      for (int64_t i = 0; i < n; ++i) {
        const float term = load(x[static_cast<size_t>(begin + i)]);
        float& sum = partial[static_cast<size_t>(i)];
        sum = r == 0 ? term : sum + term;
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      store(partial[static_cast<size_t>(i)], result[static_cast<size_t>(i)]);
    }
    return result;
  }

  template <typename T>
  Status compare(const std::vector<T>& got, const std::vector<T>& expected, const char* op,
                 int64_t n) {
    if (got.size() == expected.size() &&
        std::memcmp(got.data(), expected.data(), got.size() * sizeof(T)) == 0) {
      return {};
    }
    return internal_error(std::string(op) + " of " + std::to_string(n) + " " +
                          std::string(to_string(dtype_of<T>())) + " is wrong on rank " +
                          std::to_string(group_.rank()));
  }

  Group& group_;
  const Clock& clock_;
  int64_t timeout_ns_;
  uint64_t step_ = 0;
};

// Sizes around the edges of a cache line, the one-shot limit and a slot, up to a million elements.
inline std::vector<int64_t> edge_sizes() {
  return {1, 2, 3, 7, 64, 1000, 4096, 8193, 65536, 65537, 131075, 1 << 20};
}

}  // namespace trireme::comm::testing
