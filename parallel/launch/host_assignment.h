// Which machines the ranks of each replica run on. Pure.
//
// A replica keeps to as few hosts as it can, and replicas are spread over the hosts: each whole one
// goes where fewest ranks are so far, the first listed among equals. One that no host can hold is
// cut between stages, so that a tensor-parallel group, which exchanges activations in every layer,
// stays inside a host; a group is cut only where no host has room for one. Coordinators need no
// slot: each runs on the first host of its replica.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/cluster_config.h"
#include "base/result.h"

namespace trireme::launch {

struct HostShare {
  std::string host;
  int n_ranks = 0;
};
// In the order of ranks: the first ones run on the first host.
using ReplicaHosts = std::vector<HostShare>;

// One entry per replica; empty where the config names no hosts. Hosts are written "name:slots" or
// "name" for one slot; a name that comes again adds its slots. invalid_argument: an entry that is
// neither, too few slots (with the numbers), or coordinators on several machines while the routers'
// wire address is a loopback one.
Result<std::vector<ReplicaHosts>> assign_hosts(const ClusterConfig& config);

// Of the machine that a rank of a replica runs on: how many ranks earlier replicas have there.
Result<int> n_earlier_ranks(const ClusterConfig& config, int replica, int worker_rank);

// "node-a (8 ranks), node-b (8 ranks)"
std::string describe_hosts(const ReplicaHosts& hosts);

// mpirun's --host for a replica: its ranks' slots, and one more for the coordinator on the first
// host. mpirun fills them in this order, which is the order of ranks.
std::string mpirun_hosts(const ReplicaHosts& hosts);

}  // namespace trireme::launch
