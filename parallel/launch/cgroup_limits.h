// What the control group of this process leaves it of the machine: containers see all memory and
// all cores of their host, and are ended, or slowed down, where they take more than their share.
//
// Both versions of the interface; the tightest limit on the way up to the root counts. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace trireme::launch {

struct CgroupLimits {
  std::optional<int64_t> memory_bytes;
  std::optional<double> cores;  // CPU time over wall time
};

// `membership` is the text of /proc/self/cgroup, `mount` where the hierarchies are mounted. What
// cannot be read sets no limit.
CgroupLimits read_cgroup_limits(const std::string& membership, const std::string& mount);

// Of this process.
CgroupLimits own_cgroup_limits();

}  // namespace trireme::launch
