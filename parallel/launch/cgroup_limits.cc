#include "parallel/launch/cgroup_limits.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace trireme::launch {
namespace {

namespace fs = std::filesystem;

// Version 1 writes "no limit" as a number near 2^63.
constexpr int64_t kNoLimitBytes = int64_t{1} << 60;

// The numbers at the beginning of a file; "max" and what is missing end them.
std::vector<int64_t> numbers_of(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<int64_t> numbers;
  for (int64_t number = 0; stream >> number;) numbers.push_back(number);
  return numbers;
}

void limit_memory(CgroupLimits& limits, const fs::path& file) {
  const auto numbers = numbers_of(file);
  if (numbers.empty() || numbers[0] <= 0 || numbers[0] >= kNoLimitBytes) return;
  limits.memory_bytes = std::min(limits.memory_bytes.value_or(numbers[0]), numbers[0]);
}

void limit_cores(CgroupLimits& limits, int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return;
  const double cores = static_cast<double>(quota) / static_cast<double>(period);
  limits.cores = std::min(limits.cores.value_or(cores), cores);
}

// A group and all above it. Where the path is the host's and not ours, the mount alone is there.
template <typename Visit>
void walk_up(const fs::path& mount, const std::string& group, const Visit& visit) {
  for (fs::path path = fs::path(group).relative_path(); !path.empty(); path = path.parent_path()) {
    visit(mount / path);
  }
  visit(mount);
}

void read_line(CgroupLimits& limits, const std::string& controllers, const std::string& group,
               const fs::path& mount) {
  if (controllers.empty()) {  // version 2: one hierarchy for all
    walk_up(mount, group, [&](const fs::path& folder) {
      limit_memory(limits, folder / "memory.max");
      const auto cpu = numbers_of(folder / "cpu.max");
      if (cpu.size() >= 2) limit_cores(limits, cpu[0], cpu[1]);
    });
    return;
  }
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == "memory") {
      walk_up(mount / controllers, group, [&](const fs::path& folder) {
        limit_memory(limits, folder / "memory.limit_in_bytes");
      });
    } else if (name == "cpu") {
      walk_up(mount / controllers, group, [&](const fs::path& folder) {
        const auto quota = numbers_of(folder / "cpu.cfs_quota_us");
        const auto period = numbers_of(folder / "cpu.cfs_period_us");
        if (!quota.empty() && !period.empty()) limit_cores(limits, quota[0], period[0]);
      });
    }
  }
}

}  // namespace

CgroupLimits read_cgroup_limits(const std::string& membership, const std::string& mount) {
  CgroupLimits limits;
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {  // "4:cpu,cpuacct:/a/b", "0::/a/b"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    read_line(limits, line.substr(first + 1, second - first - 1), line.substr(second + 1), mount);
  }
  return limits;
}

CgroupLimits own_cgroup_limits() {
  std::ifstream file("/proc/self/cgroup");
  std::ostringstream membership;
  membership << file.rdbuf();
  return read_cgroup_limits(membership.str(), "/sys/fs/cgroup");
}

}  // namespace trireme::launch
