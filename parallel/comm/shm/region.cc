#include "parallel/comm/shm/region.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace trireme::comm {
namespace {

constexpr size_t kPage = 4096;
size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

std::string reason() { return std::strerror(errno); }  // NOLINT(concurrency-mt-unsafe)

}  // namespace

Status Region::map() {
  CHECK_GT(options_.n_ranks, 0);
  CHECK(std::has_single_bit(options_.ring_bytes));
  CHECK_EQ(options_.slot_bytes % 64, size_t{0});
  const auto n = static_cast<size_t>(options_.n_ranks);
  cells_at_ = whole_pages(sizeof(RegionHeader));
  ring_cells_at_ = cells_at_ + whole_pages(n * sizeof(RankCell));
  slots_at_ = ring_cells_at_ + whole_pages(n * n * sizeof(RingCell));
  rings_at_ = slots_at_ + whole_pages(2 * n * options_.slot_bytes);
  bytes_ = rings_at_ + whole_pages(n * n * options_.ring_bytes);
  if (fd_ >= 0) {
    struct stat file = {};
    // The creator sizes the memory; an opener that finds another size holds the wrong file.
    if (fstat(fd_, &file) != 0)
      return unavailable("shared memory cannot be read: " + reason() + ".");
    if (file.st_size == 0 && ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) {
      return resource_exhausted(
          fmt::format("{} bytes of shared memory cannot be had: {}.", bytes_, reason()));
    }
    if (file.st_size != 0 && static_cast<size_t>(file.st_size) != bytes_) {
      return failed_precondition("the ranks of a group disagree on their shared memory's size.");
    }
  }
  const int flags = MAP_SHARED | (fd_ < 0 ? MAP_ANONYMOUS : 0);
  void* base = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, fd_, 0);
  if (base == MAP_FAILED) {  // NOLINT(performance-no-int-to-ptr)
    return resource_exhausted(
        fmt::format("{} bytes of shared memory cannot be mapped: {}.", bytes_, reason()));
  }
  base_ = static_cast<std::byte*>(base);
  return {};
}

Result<std::shared_ptr<Region>> Region::anonymous(const RegionOptions& options) {
  std::shared_ptr<Region> region(new Region(options, -1));
  TRY(region->map());
  return region;
}

Result<std::shared_ptr<Region>> Region::create_shared(const RegionOptions& options,
                                                      uint64_t nonce) {
  const int fd = memfd_create("trireme-group", MFD_CLOEXEC);
  if (fd < 0) return resource_exhausted("shared memory cannot be made: " + reason() + ".");
  std::shared_ptr<Region> region(new Region(options, fd));
  TRY(region->map());
  region->header().nonce.store(nonce);
  return region;
}

Result<std::shared_ptr<Region>> Region::open_shared(const RegionOptions& options, int pid, int fd,
                                                    uint64_t nonce) {
  const std::string path = fmt::format("/proc/{}/fd/{}", pid, fd);
  const int own_fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (own_fd < 0) return unavailable("a peer's shared memory cannot be opened: " + reason() + ".");
  std::shared_ptr<Region> region(new Region(options, own_fd));
  struct stat file = {};
  if (fstat(own_fd, &file) != 0 || file.st_size == 0) {
    return unavailable("a peer's shared memory is empty.");
  }
  TRY(region->map());
  if (region->header().nonce.load() != nonce) {
    return unavailable("a peer's shared memory is not the group's.");
  }
  return region;
}

Region::~Region() {
  if (base_ != nullptr) munmap(base_, bytes_);
  if (fd_ >= 0) close(fd_);
}

RegionHeader& Region::header() { return *reinterpret_cast<RegionHeader*>(base_); }

RankCell& Region::cell(int rank) {
  return *(reinterpret_cast<RankCell*>(base_ + cells_at_) + rank);
}

size_t Region::pair(int from, int to) const {
  return static_cast<size_t>(from) * static_cast<size_t>(options_.n_ranks) +
         static_cast<size_t>(to);
}

RingCell& Region::ring_cell(int from, int to) {
  return *(reinterpret_cast<RingCell*>(base_ + ring_cells_at_) + pair(from, to));
}

std::byte* Region::slot(int rank, uint32_t exchange) {
  return base_ + slots_at_ + (static_cast<size_t>(rank) * 2 + exchange % 2) * options_.slot_bytes;
}

std::byte* Region::ring(int from, int to) {
  return base_ + rings_at_ + pair(from, to) * options_.ring_bytes;
}

}  // namespace trireme::comm
