// One rank of a mesh that mpirun started: plays a scenario and exits 0 if all was as it must be.
//
//   mesh_ranks SCENARIO TP PP shm|network
//
// In the scenarios of failure the last worker rank misbehaves in its tp or pp group, and every
// other rank of that group must get an error that names it, the step and the operation, soon after
// the deadline.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "parallel/comm/mpi/mpi_mesh.h"
#include "parallel/comm/mpi/mpi_runtime.h"
#include "tests/unit/comm/group_cases.h"

namespace trireme::comm {
namespace {

using testing::edge_sizes;
using testing::GroupCases;

constexpr int64_t kSecond = 1'000'000'000;
// Long enough that only the rank that misbehaves misses it, on a machine that does much else.
constexpr int64_t kShortDeadlineNs = 2 * kSecond;
// What a busy machine may add to a deadline before the test calls it a hang.
constexpr int64_t kSlackNs = 20 * kSecond;

struct Rank {
  Mesh& mesh;
  const SystemClock& clock;
  bool network;

  int last() const { return mesh.world->size() - 1; }
  bool is_last() const { return mesh.worker_rank == last(); }
  OpContext within(std::string_view op, int64_t timeout_ns) const {
    OpContext context;
    context.step = StepId(42);
    context.op = op;
    context.deadline_ns = clock.now_ns() + timeout_ns;
    return context;
  }
};

Status wrong(const std::string& what) { return internal_error(what); }

Status cases(Rank& rank) {
  TRY(GroupCases(*rank.mesh.tp, rank.clock).run_all(edge_sizes()));
  TRY(GroupCases(*rank.mesh.pp, rank.clock).run_all({1, 1000, 300'000}));
  return GroupCases(*rank.mesh.world, rank.clock).run_all({1, 63, 5000});
}

Status many(Rank& rank) {
  GroupCases tp(*rank.mesh.tp, rank.clock);
  GroupCases pp(*rank.mesh.pp, rank.clock);
  for (int i = 0; i < 500; ++i) {
    TRY(tp.all_reduce<float>(1 + i % 300));
    TRY(pp.ring(1 + i % 500));
  }
  return {};
}

// The error that the others must get: of the wanted code, soon, and with the words that name the
// culprit.
Status expect_error(Rank& rank, const Status& status, int64_t began_ns, const std::string& words) {
  if (status.ok())
    return wrong("the operation succeeded without rank " + std::to_string(rank.last()));
  if (rank.clock.now_ns() - began_ns > kShortDeadlineNs + kSlackNs) {
    return wrong("the error came too late: " + status.error().message);
  }
  if (status.error().message.find(words) == std::string::npos) {
    return wrong("the error does not say '" + words + "': " + status.error().message);
  }
  // And the group stays unusable.
  if (rank.mesh.world->barrier(rank.within("later barrier", kShortDeadlineNs)).ok()) {
    return wrong("the group was usable after its failure");
  }
  return {};
}

Status abort_by_last(Rank& rank) {
  TRY(rank.mesh.world->barrier(rank.within("first barrier", 60 * kSecond)));
  const int64_t began_ns = rank.clock.now_ns();
  if (rank.is_last()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    rank.mesh.world->abort("its weights are corrupt");
    return {};
  }
  const Status status = rank.mesh.world->barrier(rank.within("second barrier", 60 * kSecond));
  return expect_error(rank, status, began_ns,
                      "rank " + std::to_string(rank.last()) +
                          " aborted the group before step 42, "
                          "'second barrier' (world group) was done: its weights are corrupt");
}

// MPI moves bytes only inside its calls, so a rank that stops behind a collective may take the last
// of its own messages with it: the others would then wait in the collective before, and whoever
// waits for them would name them. The last rank goes away only when each other one has told it that
// it is through.
Status others_are_through(Rank& rank) {
  std::vector<int32_t> word = {rank.mesh.worker_rank};
  if (!rank.is_last()) {
    return rank.mesh.world->send(GroupCases::view(word), rank.last(),
                                 rank.within("through", 60 * kSecond));
  }
  for (int peer = 0; peer < rank.last(); ++peer) {
    TRY(rank.mesh.world->recv(GroupCases::view(word), peer, rank.within("through", 60 * kSecond)));
  }
  return {};
}

// The first rank to reach its deadline aborts the rest, so every rank's error quotes or is that
// rank's.
std::string late_words(const Rank& rank) {
  return "rank " + std::to_string(rank.last()) + " did not come to step 42, 'layer 3 all_reduce'";
}

Status late_last(Rank& rank) {
  TRY(rank.mesh.world->barrier(rank.within("first barrier", 60 * kSecond)));
  TRY(others_are_through(rank));
  const int64_t began_ns = rank.clock.now_ns();
  std::vector<float> x(1000, 1.0f);
  if (rank.is_last()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(4000));
    const Status own = rank.mesh.world->all_reduce_sum(GroupCases::view(x),
                                                       rank.within("layer 3 all_reduce", kSecond));
    return own.ok() ? wrong("the late rank was let in") : Status{};
  }
  const Status status = rank.mesh.world->all_reduce_sum(
      GroupCases::view(x), rank.within("layer 3 all_reduce", kShortDeadlineNs));
  return expect_error(rank, status, began_ns, late_words(rank));
}

Status stop_last(Rank& rank) {
  std::vector<int32_t> own = {getpid()};
  std::vector<int32_t> pids(static_cast<size_t>(rank.mesh.world->size()));
  TRY(rank.mesh.world->all_gather(GroupCases::view(own), GroupCases::view(pids),
                                  rank.within("pids", 60 * kSecond)));
  TRY(others_are_through(rank));
  const int64_t began_ns = rank.clock.now_ns();
  std::vector<float> x(1000, 1.0f);
  if (rank.is_last()) {
    raise(SIGSTOP);
    const Status status = rank.mesh.world->all_reduce_sum(
        GroupCases::view(x), rank.within("layer 3 all_reduce", kSecond));
    return status.ok() ? wrong("the stopped rank was let in") : Status{};
  }
  const Status status = rank.mesh.world->all_reduce_sum(
      GroupCases::view(x), rank.within("layer 3 all_reduce", kShortDeadlineNs));
  const Status verdict = expect_error(rank, status, began_ns, late_words(rank));
  if (rank.mesh.worker_rank == 0) kill(pids.back(), SIGCONT);
  return verdict;
}

// mpirun ends the job when a rank is killed; a survivor that gets as far says what it saw.
Status kill_last(Rank& rank) {
  TRY(rank.mesh.world->barrier(rank.within("first barrier", 60 * kSecond)));
  if (rank.is_last()) raise(SIGKILL);
  const Status status = rank.mesh.world->barrier(rank.within("second barrier", 5 * kSecond));
  return status.ok() ? wrong("the barrier succeeded without a killed rank") : Status{};
}

// A rank that waits must not burn its core: CPU time of a second's wait for a late peer.
Status idle_wait(Rank& rank) {
  TRY(rank.mesh.world->barrier(rank.within("first barrier", 60 * kSecond)));
  if (rank.is_last()) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    return rank.mesh.world->barrier(rank.within("second barrier", 60 * kSecond));
  }
  const std::clock_t before = std::clock();
  const int64_t began_ns = rank.clock.now_ns();
  TRY(rank.mesh.world->barrier(rank.within("second barrier", 60 * kSecond)));
  const double cpu_ms = 1000.0 * static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  // Of the wait's real length, which a busy machine stretches; a rank that spins needs all of it.
  const double limit_ms = 0.15e-6 * static_cast<double>(rank.clock.now_ns() - began_ns);
  if (cpu_ms > limit_ms) return wrong("waiting took " + std::to_string(cpu_ms) + " ms of CPU");
  return {};
}

Status play(const std::string& scenario, Rank& rank) {
  if (scenario == "cases") return cases(rank);
  if (scenario == "many") return many(rank);
  if (scenario == "abort") return abort_by_last(rank);
  if (scenario == "late") return late_last(rank);
  if (scenario == "stop") return stop_last(rank);
  if (scenario == "kill") return kill_last(rank);
  if (scenario == "idle") return idle_wait(rank);
  return wrong("there is no scenario '" + scenario + "'");
}

int run(int argc, char** argv) {
  if (argc != 5) return 2;
  const Result<std::unique_ptr<MpiRuntime>> runtime = MpiRuntime::start();
  if (!runtime.ok()) return 3;
  const SystemClock clock;
  const bool network = std::string(argv[4]) == "network";
  const MpiMeshOptions options{.tp = std::atoi(argv[2]),
                               .pp = std::atoi(argv[3]),
                               .first_world_rank = 0,
                               .force_network = network};
  Result<MpiMesh> made = make_mpi_mesh_with_facts(options, clock);
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", made.error().to_string().c_str());
    return 4;
  }
  if (made->tp_in_shared_memory == network) {
    std::fprintf(stderr, "the mesh is not on the path that was asked for\n");
    return 5;
  }
  Rank rank{made->mesh, clock, network};
  const Status verdict = play(argv[1], rank);
  if (verdict.ok()) return 0;
  std::fprintf(stderr, "rank %d: %s\n", made->mesh.worker_rank, verdict.error().message.c_str());
  return 1;
}

}  // namespace
}  // namespace trireme::comm

#if defined(__SANITIZE_ADDRESS__)
// Open MPI leaves memory behind in modules that are gone when leaks are looked for, so that no
// suppression can name them, and a group that was aborted leaves its buffers to MPI on purpose.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

int main(int argc, char** argv) { return trireme::comm::run(argc, argv); }
