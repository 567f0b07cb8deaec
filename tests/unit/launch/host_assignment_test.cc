// Replicas on hosts: spread, together where they can be, and mpirun puts them where we say.
#include "parallel/launch/host_assignment.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "parallel/launch/resolve_config.h"

namespace trireme::launch {
namespace {

ClusterConfig cluster(std::vector<std::string> hosts, int count, int tp, int pp) {
  ClusterConfig config;
  config.router.wire_host = "10.0.0.1";
  config.replicas.hosts = std::move(hosts);
  config.replicas.count = count;
  config.replicas.tp = tp;
  config.replicas.pp = pp;
  return config;
}

std::vector<std::string> assigned(std::vector<std::string> hosts, int count, int tp, int pp) {
  const auto result = assign_hosts(cluster(std::move(hosts), count, tp, pp));
  if (!result.ok()) return {result.error().message};
  std::vector<std::string> text;
  for (const ReplicaHosts& replica : *result) {
    std::string line;
    for (const HostShare& share : replica) {
      line += (line.empty() ? "" : " ") + share.host + ":" + std::to_string(share.n_ranks);
    }
    text.push_back(line);
  }
  return text;
}

using Lines = std::vector<std::string>;

TEST(HostAssignment, NoHostsAreThisMachine) { EXPECT_EQ(assigned({}, 3, 2, 2), Lines{}); }

TEST(HostAssignment, ReplicasAreSpreadOverTheHosts) {
  EXPECT_EQ(assigned({"a:8", "b:8"}, 2, 4, 1), (Lines{"a:4", "b:4"}));
  EXPECT_EQ(assigned({"a:8", "b:8"}, 4, 2, 2), (Lines{"a:4", "b:4", "a:4", "b:4"}));
  EXPECT_EQ(assigned({"a:4", "b:8"}, 1, 4, 1), Lines{"a:4"}) << "the first listed";
  EXPECT_EQ(assigned({"a:4", "b:8", "c:4"}, 4, 4, 1), (Lines{"a:4", "b:4", "c:4", "b:4"}));
}

TEST(HostAssignment, AReplicaTooLargeForAHostIsCutBetweenStages) {
  EXPECT_EQ(assigned({"node-a:8", "node-b:8"}, 1, 8, 2), Lines{"node-a:8 node-b:8"});
  EXPECT_EQ(assigned({"a:8", "b:8", "c:8", "d:8"}, 2, 8, 2), (Lines{"a:8 b:8", "c:8 d:8"}));
  // Six free slots hold one stage of four, not one and a half.
  EXPECT_EQ(assigned({"a:6", "b:6"}, 1, 4, 2), Lines{"a:4 b:4"});
  EXPECT_EQ(assigned({"a:2", "b:2", "c:8"}, 1, 2, 5), Lines{"c:8 a:2"});
}

TEST(HostAssignment, AGroupIsCutOnlyWhereNoHostHoldsOne) {
  EXPECT_EQ(assigned({"a", "b"}, 1, 2, 1), Lines{"a:1 b:1"});
  EXPECT_EQ(assigned({"a:3", "b:3"}, 3, 2, 1), (Lines{"a:2", "b:2", "a:1 b:1"}));
}

TEST(HostAssignment, ANameThatComesAgainAddsItsSlots) {
  EXPECT_EQ(assigned({"a", "a", "b:2"}, 2, 2, 1), (Lines{"a:2", "b:2"}));
}

TEST(HostAssignment, EveryRankHasOneSlotAndNoSlotTwoRanks) {
  for (int n_hosts = 1; n_hosts <= 5; ++n_hosts) {
    for (int seed = 0; seed < 200; ++seed) {
      std::vector<std::string> hosts;
      std::map<std::string, int> room;
      int n_slots = 0;
      for (int h = 0; h < n_hosts; ++h) {
        const int slots = 1 + (seed * 7 + h * 5 + seed * h) % 9;
        hosts.push_back("h" + std::to_string(h) + ":" + std::to_string(slots));
        room["h" + std::to_string(h)] = slots;
        n_slots += slots;
      }
      const int tp = 1 + seed % 4;
      const int pp = 1 + seed / 4 % 3;
      const int count = 1 + seed / 12 % 4;
      const auto result = assign_hosts(cluster(hosts, count, tp, pp));
      ASSERT_EQ(result.ok(), tp * pp * count <= n_slots);
      if (!result.ok()) continue;
      ASSERT_EQ(result->size(), static_cast<size_t>(count));
      for (const ReplicaHosts& replica : *result) {
        int n_ranks = 0;
        for (const HostShare& share : replica) {
          n_ranks += share.n_ranks;
          room[share.host] -= share.n_ranks;
        }
        ASSERT_EQ(n_ranks, tp * pp);
      }
      for (const auto& [host, left] : room) ASSERT_GE(left, 0) << host;
    }
  }
}

TEST(HostAssignment, TooFewSlotsAndBadEntriesAreSaid) {
  EXPECT_EQ(assigned({"a:4", "b"}, 2, 2, 2),
            Lines{"`replicas.hosts` hold 5 ranks (a:4, b:1), but 2 replicas of tp 2 x pp 2 need 8: "
                  "name more hosts, or more slots as in node-a:8"});
  for (const char* bad : {"a:", "a:0", "a:-1", "a:x", "a:8x", "a:99999999999", ":4", "a,b:4", ""}) {
    const auto result = assign_hosts(cluster({bad}, 1, 1, 1));
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_NE(result.error().message.find("`replicas.hosts` holds \""), std::string::npos) << bad;
  }
  ClusterConfig loopback = cluster({"a:4", "b:4"}, 2, 2, 2);
  loopback.router.wire_host = "127.0.0.1";
  const auto unreachable = assign_hosts(loopback);
  ASSERT_FALSE(unreachable.ok());
  EXPECT_NE(unreachable.error().message.find("router.wire_host"), std::string::npos);
  loopback.replicas.count = 1;
  EXPECT_TRUE(assign_hosts(loopback).ok()) << "one coordinator can be on the routers' machine";
}

TEST(HostAssignment, MemoryAndThreadsAreDividedByTheRanksOfTheFullestHost) {
  ClusterConfig spread = cluster({"a:4", "b:4"}, 2, 2, 2);
  ClusterConfig alone = cluster({}, 1, 2, 2);
  ASSERT_TRUE(resolve_config(spread).ok());
  ASSERT_TRUE(resolve_config(alone).ok());
  EXPECT_EQ(spread.replicas.memory_gib, alone.replicas.memory_gib);
}

// mpirun itself, asked where it would put each rank.
TEST(HostAssignment, MpirunMapsRanksAsAssigned) {
  const auto result = assign_hosts(cluster({"node-a:8", "node-b:3", "node-c:5"}, 1, 3, 4));
  ASSERT_TRUE(result.ok());
  const ReplicaHosts& hosts = result->front();
  const std::string command =
      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe --bind-to "
      "none --do-not-launch --display-map --host " +
      mpirun_hosts(hosts) + " -np 1 /bin/true : -np 12 /bin/true 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::vector<std::string> host_of;  // by rank of the job; 0 is the coordinator
  std::string host;
  std::string output;
  char line[4096];
  while (std::fgets(line, sizeof(line), pipe) != nullptr) {
    output += line;
    char name[256];
    if (std::sscanf(line, " Data for node: %255s", name) == 1) host = name;
    if (std::string(line).find("Process rank: ") != std::string::npos) host_of.push_back(host);
  }
  pclose(pipe);
  std::vector<std::string> expected = {hosts.front().host};
  for (const HostShare& share : hosts) {
    expected.insert(expected.end(), static_cast<size_t>(share.n_ranks), share.host);
  }
  EXPECT_EQ(host_of, expected) << command << "\n" << output;
}

TEST(HostAssignment, EarlierReplicasHaveTheirGpusOnAMachine) {
  const auto earlier = [](const ClusterConfig& config, int replica, int rank) {
    const auto n = n_earlier_ranks(config, replica, rank);
    return n.ok() ? *n : -1;
  };
  const ClusterConfig here = cluster({}, 3, 2, 2);
  EXPECT_EQ(earlier(here, 0, 3), 0);
  EXPECT_EQ(earlier(here, 2, 0), 8);
  const ClusterConfig spread = cluster({"a:8", "b:8"}, 4, 2, 2);  // a, b, a, b
  EXPECT_EQ(earlier(spread, 1, 0), 0);
  EXPECT_EQ(earlier(spread, 2, 3), 4);
  const ClusterConfig cut = cluster({"a:3", "b:3"}, 3, 2, 1);  // a, b, a and b
  EXPECT_EQ(earlier(cut, 2, 0), 2);
  EXPECT_EQ(earlier(cut, 2, 1), 2);
  EXPECT_EQ(earlier(cut, 3, 0), -1) << "there is no such replica";
}

TEST(ResolveConfig, GpusHaveNcclBetweenThemAndTheirOwnMemory) {
  ClusterConfig config = cluster({}, 1, 2, 1);
  config.model.path = "/models/m";
  config.replicas.backend = "cuda";
  ASSERT_TRUE(resolve_config(config).ok());
  EXPECT_EQ(config.replicas.collective, "nccl");
  EXPECT_EQ(config.replicas.memory_gib, 0) << "each rank asks its GPU";
  ASSERT_TRUE(resolve_config(config).ok()) << "idempotent";
  config.replicas.batch_invariant = true;
  EXPECT_TRUE(resolve_config(config).ok()) << "tp 2: sums are in rank order";
  config.replicas.batch_invariant = false;
  config.replicas.collective = "mpi";
  const Status refused = resolve_config(config);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("nccl"), std::string::npos);
}

TEST(ResolveConfig, HowGpusSumIsNothingForCpus) {
  ClusterConfig config = cluster({}, 1, 2, 1);
  config.model.path = "/models/m";
  config.replicas.all_reduce = "one_shot";
  const Status refused = resolve_config(config);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("needs backend cuda"), std::string::npos);
  config.replicas.backend = "cuda";
  EXPECT_TRUE(resolve_config(config).ok());
}

}  // namespace
}  // namespace trireme::launch
