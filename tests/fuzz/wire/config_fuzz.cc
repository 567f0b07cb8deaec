// Any bytes as a configuration. What is accepted must read back from its own text.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/cluster_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = trireme::parse_cluster_config(text, "");
  if (!config.ok()) return 0;
  const std::string yaml = trireme::to_yaml(*config);
  const auto again = trireme::parse_cluster_config(yaml, "");
  CHECK(again.ok()) << again.error().message;
  CHECK(trireme::to_yaml(*again) == yaml);
  return 0;
}
