#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace trireme::kernels {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePageBytes = size_t{2} << 20;

std::optional<size_t> read_number(const char* path) {
  std::ifstream file(path);
  size_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// The value behind `key` in a file of "key value" lines, such as /proc/meminfo.
std::optional<size_t> read_keyed_number(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (word != key) {
      file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
      continue;
    }
    size_t value = 0;
    if (file >> value) return value;
  }
  return std::nullopt;
}

// What the control group still allows: clean page cache counts against it, but is given back on
// demand.
std::optional<size_t> control_group_available_bytes() {
  const auto limit = read_number("/sys/fs/cgroup/memory.max");  // "max" is no number: no limit
  const auto used = read_number("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return std::nullopt;
  const size_t reclaimable =
      read_keyed_number("/sys/fs/cgroup/memory.stat", "inactive_file").value_or(0);
  const size_t held = *used - std::min(*used, reclaimable);
  return *limit - std::min(*limit, held);
}

// Small buffers come from the heap; large ones are mapped, so that they start on a huge page and
// arrive zeroed.
class HostBuffer final : public Buffer {
 public:
  HostBuffer(void* data, size_t bytes, void* mapping, size_t mapping_bytes)
      : data_(data), bytes_(bytes), mapping_(mapping), mapping_bytes_(mapping_bytes) {}
  ~HostBuffer() override {
    if (mapping_ != nullptr) {
      munmap(mapping_, mapping_bytes_);
    } else {
      std::free(data_);
    }
  }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  void* data_;
  size_t bytes_;
  void* mapping_;
  size_t mapping_bytes_;
};

Error no_memory(size_t bytes, size_t available) {
  return resource_exhausted("cannot allocate " + std::to_string(bytes) + " bytes: " +
                            std::to_string(available) + " bytes of host memory are available");
}

std::unique_ptr<Buffer> map_large(size_t bytes) {
  const size_t mapping_bytes = bytes + kHugePageBytes;
  void* mapping = mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(mapping);
  const uintptr_t aligned = (address + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  // Advice only: without huge pages everything works, a little slower.
  (void)madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);
  return std::make_unique<HostBuffer>(reinterpret_cast<void*>(aligned), bytes, mapping,
                                      mapping_bytes);
}

}  // namespace

Result<size_t> available_host_memory_bytes() {
  const auto kib = read_keyed_number("/proc/meminfo", "MemAvailable:");
  if (!kib) return unavailable("the system does not say how much memory is available");
  const size_t machine = *kib * 1024;
  return std::min(machine, control_group_available_bytes().value_or(machine));
}

Result<std::unique_ptr<Buffer>> allocate_host(size_t bytes) {
  if (bytes >= kHugePageBytes) {
    ASSIGN_OR_RETURN(const size_t available, available_host_memory_bytes());
    if (bytes > available) return no_memory(bytes, available);
    auto buffer = map_large(bytes);
    if (buffer == nullptr) return no_memory(bytes, available);
    return buffer;
  }
  const size_t rounded = std::max<size_t>(1, (bytes + kAlignment - 1) / kAlignment) * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) return no_memory(bytes, 0);
  std::memset(data, 0, rounded);
  return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(data, bytes, nullptr, 0));
}

}  // namespace trireme::kernels
