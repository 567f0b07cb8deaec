#include "parallel/plan/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace trireme::plan {

const std::vector<DeviceKind>& device_kinds() {
  // Source: NVIDIA datasheets of each product; NVLink rates are halved to one direction. `cpu` is a
  // 32-core server socket with AVX-512 BF16 and eight channels of DDR5-4800, its ranks talking
  // through shared memory.
  static const std::vector<DeviceKind> kinds = {
      {"a100", "NVIDIA A100 SXM 80 GB", 80'000'000'000, 2.039e12, 312e12, 300e9, 12e-6},
      {"h100", "NVIDIA H100 SXM 80 GB", 80'000'000'000, 3.35e12, 989e12, 450e9, 10e-6},
      {"h200", "NVIDIA H200 SXM 141 GB", 141'000'000'000, 4.8e12, 989e12, 450e9, 10e-6},
      {"b200", "NVIDIA B200 SXM 180 GB", 180'000'000'000, 7.7e12, 2250e12, 900e9, 8e-6},
      {"l4", "NVIDIA L4 24 GB", 24'000'000'000, 0.3e12, 121e12, 16e9, 25e-6},
      {"l40s", "NVIDIA L40S 48 GB", 48'000'000'000, 0.864e12, 362e12, 32e9, 25e-6},
      {"rtx4090", "NVIDIA GeForce RTX 4090 24 GB", 24'000'000'000, 1.008e12, 165e12, 32e9, 25e-6},
      {"cpu", "32-core server socket, 256 GB", 256'000'000'000, 0.3e12, 6e12, 20e9, 30e-6},
  };
  return kinds;
}

Result<DeviceKind> find_device_kind(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<std::string_view> names;
  for (const DeviceKind& kind : device_kinds()) {
    if (kind.name == lower) return kind;
    names.push_back(kind.name);
  }
  return not_found(fmt::format("device kind '{}' is not known; the planner knows {}.",
                               lower.substr(0, 40), fmt::join(names, ", ")));
}

}  // namespace trireme::plan
