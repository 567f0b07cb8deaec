#include "parallel/launch/host_assignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace trireme::launch {
namespace {

constexpr int kMaxSlots = 1 << 16;  // of one host

struct Host {
  std::string name;
  int n_slots = 0;
  int n_free = 0;
};

Result<std::vector<Host>> parse_hosts(const std::vector<std::string>& entries) {
  std::vector<Host> hosts;
  for (const std::string& entry : entries) {
    const size_t colon = entry.rfind(':');
    int n_slots = 1;
    if (colon != std::string::npos) {
      const std::string_view number = std::string_view(entry).substr(colon + 1);
      const auto [end, error] =
          std::from_chars(number.data(), number.data() + number.size(), n_slots);
      if (error != std::errc() || end != number.data() + number.size() || n_slots < 1 ||
          n_slots > kMaxSlots) {
        return invalid_argument(fmt::format(
            "`replicas.hosts` holds \"{}\": write a host as node-a:8, where 8 is how many ranks it "
            "takes",
            entry));
      }
    }
    const std::string name = entry.substr(0, colon);
    if (name.empty() || name.find_first_of(":, ") != std::string::npos) {
      return invalid_argument(
          fmt::format("`replicas.hosts` holds \"{}\", which names no host", entry));
    }
    auto known =
        std::find_if(hosts.begin(), hosts.end(), [&](const Host& h) { return h.name == name; });
    if (known == hosts.end()) known = hosts.insert(hosts.end(), {name});
    known->n_slots = std::min(kMaxSlots, known->n_slots + n_slots);
    known->n_free = known->n_slots;
  }
  return hosts;
}

// The hosts with the most free slots first; the listed order among equals.
std::vector<Host*> by_room(std::vector<Host>& hosts) {
  std::vector<Host*> order;
  order.reserve(hosts.size());
  for (Host& host : hosts) order.push_back(&host);
  std::stable_sort(order.begin(), order.end(),
                   [](const Host* a, const Host* b) { return a->n_free > b->n_free; });
  return order;
}

// A whole replica of `n_ranks` to the least used host that has room for it.
bool take_whole(std::vector<Host>& hosts, int n_ranks, ReplicaHosts* taken) {
  Host* best = nullptr;
  for (Host& host : hosts) {
    if (host.n_free < n_ranks) continue;
    if (best == nullptr || host.n_slots - host.n_free < best->n_slots - best->n_free) best = &host;
  }
  if (best == nullptr) return false;
  best->n_free -= n_ranks;
  taken->push_back({best->name, n_ranks});
  return true;
}

// Takes `n_units` units of `unit` ranks each from the hosts, a unit never divided. False where they
// have no room for that; nothing is taken then.
bool take_units(std::vector<Host>& hosts, int n_units, int unit, ReplicaHosts* taken) {
  int n_room = 0;
  for (const Host& host : hosts) n_room += std::min(n_units, host.n_free / unit);
  if (n_room < n_units) return false;
  for (Host* host : by_room(hosts)) {
    const int n = std::min(n_units, host->n_free / unit);
    if (n == 0) continue;
    host->n_free -= n * unit;
    n_units -= n;
    taken->push_back({host->name, n * unit});
  }
  return true;
}

Error too_few_slots(const ReplicaConfig& replicas, const std::vector<Host>& hosts, int64_t n_slots,
                    int64_t n_ranks) {
  std::string list;
  for (const Host& host : hosts) {
    if (list.size() > 200) {
      list += ", ...";
      break;
    }
    list += fmt::format("{}{}:{}", list.empty() ? "" : ", ", host.name, host.n_slots);
  }
  return invalid_argument(fmt::format(
      "`replicas.hosts` hold {} rank{} ({}), but {} replica{} of tp {} x pp {} need{} {}: name "
      "more "
      "hosts, or more slots as in node-a:8",
      n_slots, n_slots == 1 ? "" : "s", list, replicas.count, replicas.count == 1 ? "" : "s",
      replicas.tp, replicas.pp, replicas.count == 1 ? "s" : "", n_ranks));
}

bool is_loopback(std::string_view host) { return host == "localhost" || host.starts_with("127."); }

}  // namespace

Result<std::vector<ReplicaHosts>> assign_hosts(const ClusterConfig& config) {
  const ReplicaConfig& replicas = config.replicas;
  std::vector<ReplicaHosts> assigned;
  if (replicas.hosts.empty()) return assigned;
  ASSIGN_OR_RETURN(std::vector<Host> hosts, parse_hosts(replicas.hosts));
  const int64_t n_ranks = int64_t{replicas.tp} * replicas.pp * replicas.count;
  int64_t n_slots = 0;
  for (const Host& host : hosts) n_slots += host.n_slots;
  if (n_slots < n_ranks) return too_few_slots(replicas, hosts, n_slots, n_ranks);
  std::set<std::string> coordinators;
  for (int i = 0; i < replicas.count; ++i) {
    ReplicaHosts taken;
    // Whole, else cut between stages, else cut anywhere: the slots suffice for that.
    const bool placed = take_whole(hosts, replicas.tp * replicas.pp, &taken) ||
                        take_units(hosts, replicas.pp, replicas.tp, &taken) ||
                        take_units(hosts, replicas.pp * replicas.tp, 1, &taken);
    CHECK(placed);
    coordinators.insert(taken.front().host);
    assigned.push_back(std::move(taken));
  }
  if (coordinators.size() > 1 && is_loopback(config.router.wire_host)) {
    return invalid_argument(fmt::format(
        "coordinators run on {} machines, but `router.wire_host` is {}, which only one of them can "
        "reach: give it an address of this machine that all of them can",
        coordinators.size(), config.router.wire_host));
  }
  return assigned;
}

Result<int> n_earlier_ranks(const ClusterConfig& config, int replica, int worker_rank) {
  ASSIGN_OR_RETURN(const std::vector<ReplicaHosts> assigned, assign_hosts(config));
  if (assigned.empty()) return replica * config.replicas.tp * config.replicas.pp;
  if (replica < 0 || static_cast<size_t>(replica) >= assigned.size()) {
    return invalid_argument(fmt::format("there is no replica {} of {}", replica, assigned.size()));
  }
  std::string host;
  int first = 0;
  for (const HostShare& share : assigned[static_cast<size_t>(replica)]) {
    if (worker_rank >= first && worker_rank < first + share.n_ranks) host = share.host;
    first += share.n_ranks;
  }
  int n = 0;
  for (size_t earlier = 0; earlier < static_cast<size_t>(replica); ++earlier) {
    for (const HostShare& share : assigned[earlier]) n += share.host == host ? share.n_ranks : 0;
  }
  return n;
}

std::string describe_hosts(const ReplicaHosts& hosts) {
  std::string text;
  for (const HostShare& share : hosts) {
    text += fmt::format("{}{} ({} rank{})", text.empty() ? "" : ", ", share.host, share.n_ranks,
                        share.n_ranks == 1 ? "" : "s");
  }
  return text;
}

std::string mpirun_hosts(const ReplicaHosts& hosts) {
  std::string text;
  for (const HostShare& share : hosts) {
    const int n_slots = share.n_ranks + (text.empty() ? 1 : 0);
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", share.host, n_slots);
  }
  return text;
}

}  // namespace trireme::launch
