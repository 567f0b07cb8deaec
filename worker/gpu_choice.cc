#include "worker/gpu_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace trireme::worker {
namespace {

constexpr size_t kMaxGpus = 32;  // of one machine

// What a rank tells, of one size for all of them. Text ends at its first zero, or where it ends.
struct GpuRecord {
  struct Gpu {
    int64_t memory_bytes = 0;
    std::array<char, 56> name{};
  };
  int32_t n_taken = 0;
  int32_t n_gpus = 0;  // -1: `error` says why
  std::array<char, 256> host{};
  std::array<char, 256> error{};
  std::array<Gpu, kMaxGpus> gpus{};
};

template <size_t kBytes>
void set_text(std::array<char, kBytes>& to, std::string_view text) {
  text.copy(to.data(), kBytes - 1);
}

template <size_t kBytes>
std::string text_of(const std::array<char, kBytes>& from) {
  return {from.begin(), std::find(from.begin(), from.end(), '\0')};
}

GpuRecord record_of(const std::string& host, int n_taken,
                    const Result<std::vector<kernels::cuda::GpuDescription>>& gpus) {
  GpuRecord record;
  record.n_taken = n_taken;
  set_text(record.host, host);
  if (!gpus.ok()) {
    record.n_gpus = -1;
    set_text(record.error, gpus.error().message);
    return record;
  }
  const size_t n = std::min(gpus->size(), kMaxGpus);
  record.n_gpus = static_cast<int32_t>(n);
  for (size_t i = 0; i < n; ++i) {
    record.gpus[i].memory_bytes = (*gpus)[i].memory_bytes;
    set_text(record.gpus[i].name, (*gpus)[i].name);
  }
  return record;
}

plan::RankMachine machine_of(const GpuRecord& record) {
  plan::RankMachine machine{.host = text_of(record.host), .gpus = {}, .n_taken = record.n_taken};
  for (int i = 0; i < std::min<int>(record.n_gpus, kMaxGpus); ++i) {
    const GpuRecord::Gpu& gpu = record.gpus[static_cast<size_t>(i)];
    machine.gpus.push_back({.name = text_of(gpu.name), .memory_bytes = gpu.memory_bytes});
  }
  return machine;
}

}  // namespace

Result<int> choose_gpu(const std::string& host, int n_taken,
                       const Result<std::vector<kernels::cuda::GpuDescription>>& gpus,
                       comm::Mesh& mesh) {
  const auto n_ranks = static_cast<size_t>(mesh.world->size());
  GpuRecord mine = record_of(host, n_taken, gpus);
  std::vector<GpuRecord> all(n_ranks);
  constexpr auto kBytes = static_cast<int64_t>(sizeof(GpuRecord));
  TRY(mesh.world->all_gather(
      TensorView(&mine, DType::kU8, {kBytes}),
      TensorView(all.data(), DType::kU8, {kBytes * static_cast<int64_t>(n_ranks)}),
      {.step = StepId(0), .op = "telling of GPUs"}));
  std::vector<plan::RankMachine> machines;
  for (size_t rank = 0; rank < n_ranks; ++rank) {
    if (all[rank].n_gpus < 0) {
      return failed_precondition(fmt::format("rank {} on {}: {}", rank, text_of(all[rank].host),
                                             text_of(all[rank].error)));
    }
    machines.push_back(machine_of(all[rank]));
  }
  ASSIGN_OR_RETURN(const std::vector<int> devices, plan::place_on_gpus(machines, mesh.tp->size()));
  return devices[static_cast<size_t>(mesh.worker_rank)];
}

}  // namespace trireme::worker
