// Topology: the machines that a plan is made for. Pure data; figures are the vendors' datasheets,
// dense rates.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trireme::plan {

// One device. Bytes and flops are decimal, as datasheets give them.
struct DeviceKind {
  std::string_view name;         // "h200"
  std::string_view description;  // "NVIDIA H200 SXM"
  int64_t memory_bytes = 0;
  double memory_bytes_per_s = 0;
  double bf16_flops = 0;            // dense, per second
  double link_bytes_per_s = 0;      // between devices of a node, one direction
  double collective_latency_s = 0;  // of the smallest all_reduce between devices of a node
};

// Every kind that the planner knows.
const std::vector<DeviceKind>& device_kinds();
// By name, in any case; not_found lists the names.
Result<DeviceKind> find_device_kind(std::string_view name);

struct Topology {
  int n_nodes = 1;
  int devices_per_node = 1;
  DeviceKind device;
  double network_bytes_per_s =
      50e9;  // between nodes, per device, one direction: a 400 Gb/s port each
  double network_latency_s = 15e-6;  // of a message between nodes
  int n_devices() const { return n_nodes * devices_per_node; }
};

}  // namespace trireme::plan
