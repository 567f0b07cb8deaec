// One rank of an NCCL group, a process of its own: plays a scenario and exits 0 if all was as it
// must be.
//
//   nccl_ranks SCENARIO RANK SIZE ID_FILE
//
// Several ranks share one GPU when each has an NCCL_HOSTID of its own: NCCL then takes them for
// ranks of different machines and talks over sockets. `collectives`: every operation with values
// whose sums are exact in any order. `recorded`: a sum in work that is replayed. `lost`: the last
// rank leaves without a word, and the others must have an error soon after the deadline that names
// the step and the operation. `one_shot`: sums over the GPU's memory, which the processes open by
// cudaIpc, alone and replayed; `one_shot_lost`: as `lost`, where a kernel waits. `rank_order`: sums
// whose order shows, of all sizes, against the host's bits, replayed too, and beside one-shot sums.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/backend.h"
#include "parallel/comm/nccl/nccl_group.h"
#include "parallel/comm/one_shot/one_shot_group.h"
#include "parallel/comm/rank_order/rank_order_group.h"
#include "parallel/comm/rank_order_sum.h"

namespace trireme::comm {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Rank 0 writes the id and renames it into place; the others wait for the file.
Status carry_by_file(const std::string& path, int rank, std::span<std::byte> id) {
  if (rank == 0) {
    std::ofstream(path + ".new", std::ios::binary)
        .write(reinterpret_cast<const char*>(id.data()), static_cast<std::streamsize>(id.size()));
    std::filesystem::rename(path + ".new", path);
    return {};
  }
  for (int i = 0; i < 600; ++i) {
    if (std::filesystem::exists(path)) {
      std::ifstream(path, std::ios::binary)
          .read(reinterpret_cast<char*>(id.data()), static_cast<std::streamsize>(id.size()));
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return deadline_exceeded("rank 0 wrote no id");
}

class Scenario {
 public:
  Scenario(Group& group, kernels::Backend& backend, const Clock& clock)
      : group_(group), backend_(backend), clock_(clock) {}

  Status collectives() {
    for (const int64_t n : {1, 63, 4096, 300'001}) {
      TRY(all_reduce<float>(n));
      TRY(all_reduce<bf16>(n));
      TRY(all_gather(n));
      TRY(reduce_scatter(n));
      for (int root = 0; root < group_.size(); ++root) TRY(broadcast(n, root));
      TRY(ring(n));
      TRY(group_.barrier(context("barrier")));
    }
    return {};
  }

  // A sum that a backend recorded, replayed on what the buffer holds by then.
  Status recorded() {
    TRY(all_reduce<float>(5000));  // connections are made outside of a recording
    const int64_t n = 5000;
    const OnDevice x = upload(mine<float>(n, group_.rank()));
    if (!group_.can_record()) return internal_error("the group's sums are not recorded");
    TRY(backend_.begin_recording({}));
    const Status enqueued = group_.all_reduce_sum(x.view, context("recorded all_reduce"));
    ASSIGN_OR_RETURN(const auto work, backend_.end_recording({}));
    TRY(enqueued);
    for (int round = 0; round < 3; ++round) {
      const std::vector<float> again = mine<float>(n, group_.rank() + round);
      backend_.copy_to_device(x.view.data, again.data(), x.view.bytes(), {});
      if (!backend_.replay(*work, {})) return internal_error("it is not replayed");
      TRY(group_.replayed(context("replayed all_reduce")));
      TRY(group_.barrier(context("barrier behind a replay")));
      TRY(compare<float>(x, "replayed all_reduce", [&](int64_t i) {
        float total = 0;
        for (int r = 0; r < group_.size(); ++r) total += value(r + round, i);
        return total;
      }));
    }
    return {};
  }

  // Against the exact sum and the backend's own norm, whose bits it has.
  Status one_shot() {
    for (int round = 0; round < 40; ++round) {
      for (const int64_t rows : {1, 3, 64}) {
        for (const int64_t width : {1030, 8192}) TRY(one_shot_sum(rows, width, round));
      }
    }
    const int64_t n = 4096;
    const OnDevice delta = upload(mine<float>(n, group_.rank()));
    const OnDevice residual = upload(std::vector<float>(n, 0.0f));
    TRY(backend_.begin_recording({}));
    const Status enqueued = one_shot_add(residual, delta);
    ASSIGN_OR_RETURN(const auto work, backend_.end_recording({}));
    TRY(enqueued);
    for (int round = 1; round <= 5; ++round) {
      if (!backend_.replay(*work, {})) return internal_error("it is not replayed");
      TRY(group_.replayed(context("replayed one-shot sum")));
      TRY(group_.barrier(context("barrier behind a replay")));
      TRY(compare<float>(residual, "replayed one-shot sum",
                         [&](int64_t i) { return static_cast<float>(round) * sum(i); }));
    }
    return {};
  }

  // Directly, by slices, in chunks of a small workspace.
  Status rank_order() {
    for (const int64_t n : {1, 63, 16'384, 16'385, 1'300'001}) {
      TRY(rank_order_sum<float>(n));
      TRY(rank_order_sum<bf16>(n));
    }
    const int64_t n = 50'000;
    const OnDevice x = upload(uneven<float>(n, group_.rank(), 0));
    TRY(backend_.begin_recording({}));
    const Status enqueued = group_.all_reduce_sum(x.view, context("recorded all_reduce"));
    ASSIGN_OR_RETURN(const auto work, backend_.end_recording({}));
    TRY(enqueued);
    for (int round = 0; round < 3; ++round) {
      const std::vector<float> again = uneven<float>(n, group_.rank(), round);
      backend_.copy_to_device(x.view.data, again.data(), x.view.bytes(), {});
      if (!backend_.replay(*work, {})) return internal_error("it is not replayed");
      TRY(group_.replayed(context("replayed all_reduce")));
      TRY(group_.barrier(context("barrier behind a replay")));
      const std::vector<float> want = host_sum<float>(n, round);
      TRY(compare<float>(x, "replayed sum in rank order",
                         [&](int64_t i) { return want[static_cast<size_t>(i)]; }));
    }
    return {};
  }

  Status lost(bool one_shot) {
    const OnDevice delta = upload(mine<float>(4096, group_.rank()));
    const OnDevice residual = upload(std::vector<float>(4096, 0.0f));
    TRY(group_.barrier(context("first barrier")));
    if (group_.rank() == group_.size() - 1) std::_Exit(0);
    const int64_t begin_ns = clock_.now_ns();
    OpContext late = context("layer 3 mlp all_reduce");
    late.deadline_ns = begin_ns + 3 * kSecond;
    Status status =
        one_shot ? one_shot_add(residual, delta, &late) : all_reduce<float>(4096, &late);
    if (status.ok()) status = group_.barrier(context("later barrier"));
    if (status.ok()) return internal_error("the operation succeeded without the last rank");
    const std::string& message = status.error().message;
    std::printf("rank %d got: %s\n", group_.rank(), message.c_str());
    if (clock_.now_ns() - begin_ns > 15 * kSecond) return internal_error("the error came too late");
    if (message.find("layer 3 mlp all_reduce") == std::string::npos ||
        message.find("step 42") == std::string::npos) {
      return internal_error("the error does not name step and operation: " + message);
    }
    if (group_.barrier(context("barrier")).ok()) return internal_error("the group is usable");
    return {};
  }

 private:
  OpContext context(std::string_view op) const {
    OpContext context;
    context.step = StepId(42);
    context.op = op;
    context.deadline_ns = clock_.now_ns() + 20 * kSecond;
    return context;
  }

  static float value(int rank, int64_t i) { return static_cast<float>((i * 7 + rank * 3) % 13); }
  float sum(int64_t i) const {
    float total = 0;
    for (int r = 0; r < group_.size(); ++r) total += value(r, i);
    return total;
  }
  static void store(float v, float& out) { out = v; }
  static void store(float v, bf16& out) { out = to_bf16(v); }
  static float load(float v) { return v; }
  static float load(bf16 v) { return to_f32(v); }

  struct OnDevice {
    std::unique_ptr<kernels::Buffer> buffer;
    TensorView view;
  };
  template <typename T>
  OnDevice upload(const std::vector<T>& host) {
    auto buffer = backend_.allocate(host.size() * sizeof(T));
    CHECK(buffer.ok()) << buffer.error().message;
    OnDevice result{std::move(*buffer), {}};
    result.view =
        TensorView(result.buffer->data(), dtype_of<T>(), {static_cast<int64_t>(host.size())});
    backend_.copy_to_device(result.view.data, host.data(), result.view.bytes(), {});
    backend_.synchronize({});
    return result;
  }
  template <typename T>
  std::vector<T> mine(int64_t n, int rank) const {
    std::vector<T> host(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) store(value(rank, i), host[static_cast<size_t>(i)]);
    return host;
  }
  template <typename T, typename Expected>
  Status compare(const OnDevice& got, const char* what, Expected&& expected) {
    std::vector<T> host(static_cast<size_t>(got.view.numel()));
    backend_.copy_to_host(host.data(), got.view.data, got.view.bytes(), {});
    backend_.synchronize({});
    for (size_t i = 0; i < host.size(); ++i) {
      const float want = expected(static_cast<int64_t>(i));
      if (load(host[i]) != want) {
        return internal_error(std::string(what) + " of " + std::to_string(host.size()) +
                              ": element " + std::to_string(i) + " is " +
                              std::to_string(load(host[i])) + ", not " + std::to_string(want));
      }
    }
    return {};
  }

  // residual += sum over ranks of delta, by one-shot sums and no other way.
  Status one_shot_add(const OnDevice& residual, const OnDevice& delta,
                      const OpContext* given = nullptr) {
    const auto row = [](const OnDevice& x) {
      return TensorView(x.view.data, DType::kF32, {1, x.view.numel()});
    };
    ASSIGN_OR_RETURN(const bool done, group_.all_reduce_into_residual(
                                          {.residual = row(residual), .delta = row(delta)},
                                          given != nullptr ? *given : context("one-shot sum")));
    return done ? Status() : internal_error("the group has no one-shot sums");
  }
  Status one_shot_sum(int64_t rows, int64_t width, int round) {
    const int64_t n = rows * width;
    const auto matrix = [&](const OnDevice& x) {
      return TensorView(x.view.data, DType::kF32, {rows, width});
    };
    std::vector<float> total = mine<float>(n, round);
    for (int r = 1; r < group_.size(); ++r) {
      const std::vector<float> term = mine<float>(n, r + round);
      for (size_t i = 0; i < total.size(); ++i) total[i] += term[i];
    }
    const OnDevice delta = upload(mine<float>(n, group_.rank() + round));
    const OnDevice sums = upload(total);
    const OnDevice weight = upload(std::vector<float>(static_cast<size_t>(width), 1.25f));
    const OnDevice residual = upload(std::vector<float>(static_cast<size_t>(n), 0.3f));
    const OnDevice out = upload(std::vector<float>(static_cast<size_t>(n)));
    const OnDevice want_residual = upload(std::vector<float>(static_cast<size_t>(n), 0.3f));
    const OnDevice want = upload(std::vector<float>(static_cast<size_t>(n)));
    backend_.add_rms_norm({.residual = matrix(want_residual),
                           .delta = matrix(sums),
                           .weight = weight.view,
                           .eps = 1e-5f,
                           .out = matrix(want)},
                          {});
    ASSIGN_OR_RETURN(const bool done, group_.all_reduce_into_residual({.residual = matrix(residual),
                                                                       .delta = matrix(delta),
                                                                       .weight = weight.view,
                                                                       .eps = 1e-5f,
                                                                       .out = matrix(out)},
                                                                      context("one-shot sum")));
    if (!done) return internal_error("the group has no one-shot sums for this size");
    TRY(group_.barrier(context("barrier behind a one-shot sum")));
    for (const auto& [got, expected] :
         {std::pair(&residual, &want_residual), std::pair(&out, &want)}) {
      std::vector<float> host(static_cast<size_t>(n));
      backend_.copy_to_host(host.data(), expected->view.data, expected->view.bytes(), {});
      backend_.synchronize({});
      TRY(compare<float>(*got, "one-shot sum",
                         [&](int64_t i) { return host[static_cast<size_t>(i)]; }));
    }
    return {};
  }

  template <typename T>
  Status all_reduce(int64_t n, const OpContext* given = nullptr) {
    const OnDevice x = upload(mine<T>(n, group_.rank()));
    TRY(group_.all_reduce_sum(x.view, given != nullptr ? *given : context("all_reduce")));
    // A sum is enqueued: an operation that waits says whether it happened.
    if (given != nullptr) TRY(group_.barrier(context("barrier behind a sum")));
    return compare<T>(x, "all_reduce", [&](int64_t i) { return sum(i); });
  }
  // Terms whose sum depends on its order.
  template <typename T>
  static std::vector<T> uneven(int64_t n, int rank, int round) {
    std::vector<T> host(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      const float factor = (i + rank) % 3 == 0 ? 1000.37f : 0.013f;
      store((value(rank + round, i) - 6) * factor, host[static_cast<size_t>(i)]);
    }
    return host;
  }
  template <typename T>
  std::vector<T> host_sum(int64_t n, int round) const {
    std::vector<std::vector<T>> terms;
    std::vector<const std::byte*> inputs;
    for (int r = 0; r < group_.size(); ++r) {
      inputs.push_back(
          reinterpret_cast<const std::byte*>(terms.emplace_back(uneven<T>(n, r, round)).data()));
    }
    std::vector<T> out(static_cast<size_t>(n));
    sum_in_rank_order(dtype_of<T>(), inputs, reinterpret_cast<std::byte*>(out.data()), n);
    return out;
  }
  template <typename T>
  Status rank_order_sum(int64_t n) {
    const OnDevice x = upload(uneven<T>(n, group_.rank(), 0));
    TRY(group_.all_reduce_sum(x.view, context("all_reduce")));
    const std::vector<T> want = host_sum<T>(n, 0);
    TRY(group_.barrier(context("barrier behind a sum")));
    TRY(compare<T>(x, "sum in rank order",
                   [&](int64_t i) { return load(want[static_cast<size_t>(i)]); }));
    const int64_t all = n * group_.size();
    const OnDevice whole = upload(uneven<T>(all, group_.rank(), 1));
    const OnDevice part = upload(std::vector<T>(static_cast<size_t>(n)));
    TRY(group_.reduce_scatter_sum(whole.view, part.view, context("reduce_scatter")));
    const std::vector<T> sums = host_sum<T>(all, 1);
    TRY(group_.barrier(context("barrier behind a sum")));
    return compare<T>(part, "reduce_scatter in rank order", [&](int64_t i) {
      return load(sums[static_cast<size_t>(group_.rank() * n + i)]);
    });
  }
  Status all_gather(int64_t n) {
    const OnDevice x = upload(mine<float>(n, group_.rank()));
    const OnDevice out = upload(std::vector<float>(static_cast<size_t>(n * group_.size())));
    TRY(group_.all_gather(x.view, out.view, context("all_gather")));
    return compare<float>(out, "all_gather",
                          [&](int64_t i) { return value(static_cast<int>(i / n), i % n); });
  }
  Status reduce_scatter(int64_t n) {
    const OnDevice x = upload(mine<float>(n * group_.size(), group_.rank()));
    const OnDevice out = upload(std::vector<float>(static_cast<size_t>(n)));
    TRY(group_.reduce_scatter_sum(x.view, out.view, context("reduce_scatter")));
    return compare<float>(out, "reduce_scatter",
                          [&](int64_t i) { return sum(group_.rank() * n + i); });
  }
  Status broadcast(int64_t n, int root) {
    const OnDevice x = upload(mine<bf16>(n, group_.rank()));
    TRY(group_.broadcast(x.view, root, context("broadcast")));
    return compare<bf16>(x, "broadcast", [&](int64_t i) { return value(root, i); });
  }
  Status ring(int64_t n) {
    if (group_.size() == 1) return {};
    const int right = (group_.rank() + 1) % group_.size();
    const int left = (group_.rank() + group_.size() - 1) % group_.size();
    const OnDevice x = upload(mine<float>(n, group_.rank()));
    const OnDevice theirs = upload(std::vector<float>(static_cast<size_t>(n)));
    const bool sends_first = group_.rank() != 0;
    if (sends_first) TRY(group_.send(x.view, right, context("send")));
    TRY(group_.recv(theirs.view, left, context("recv")));
    if (!sends_first) TRY(group_.send(x.view, right, context("send")));
    TRY(group_.barrier(context("barrier behind a send")));
    return compare<float>(theirs, "recv", [&](int64_t i) { return value(left, i); });
  }

  Group& group_;
  kernels::Backend& backend_;
  const Clock& clock_;
};

Status run(const std::string& scenario, int rank, int size, const std::string& id_file) {
  SystemClock clock;
  ASSIGN_OR_RETURN(const auto backend,
                   kernels::make_cuda_backend({.compute_dtype = kernels::ComputeDType::kF32}));
  NcclGroupOptions options{.name = "tp", .rank = rank};
  for (int i = 0; i < size; ++i) options.worker_ranks.push_back(i);
  const auto stop = std::make_shared<OneShotStop>();
  options.on_failure = [stop] { abort_sums(*stop); };
  ASSIGN_OR_RETURN(
      auto nccl,
      make_nccl_group(
          options, [&](std::span<std::byte> id) { return carry_by_file(id_file, rank, id); },
          clock));
  const bool rank_order = scenario == "rank_order";
  std::unique_ptr<Group> group;
  if (rank_order) {
    ASSIGN_OR_RETURN(group, with_rank_order_sums(std::move(nccl), {.backend = *backend,
                                                                   .sum = kernels::cuda_term_sum,
                                                                   .workspace_bytes = 1 << 20}));
  } else {
    group = std::move(nccl);
  }
  const bool one_shot = scenario.starts_with("one_shot");
  if (one_shot || rank_order) {
    ASSIGN_OR_RETURN(group, with_one_shot(std::move(group), {.backend = *backend,
                                                             .clock = clock,
                                                             .make = kernels::make_cuda_peer_sum,
                                                             .machine = "this one",
                                                             .mode = OneShotMode::kAlways,
                                                             .stop = stop,
                                                             .same_bits = rank_order}));
  }
  Scenario play(*group, *backend, clock);
  if (scenario == "recorded") return play.recorded();
  if (scenario == "one_shot") return play.one_shot();
  if (rank_order) {
    TRY(play.rank_order());
    return play.one_shot();
  }
  return scenario.ends_with("lost") ? play.lost(one_shot) : play.collectives();
}

}  // namespace
}  // namespace trireme::comm

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const trireme::Status status =
      trireme::comm::run(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argv[4]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "rank %s: %s\n", argv[2], status.error().message.c_str());
  return 1;
}
