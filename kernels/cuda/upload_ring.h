// UploadRing: small copies to the device that never wait for it.
//
// A copy from pageable memory may wait for what is on its stream. Here the bytes go to pinned
// memory at once, and from there when their turn comes; a piece of that memory is used again when
// the copies from it are done. One thread.
#pragma once

#include <array>
#include <cstddef>

#include "base/result.h"

namespace trireme::kernels::cuda {

class UploadRing {
 public:
  UploadRing() = default;
  ~UploadRing();
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;

  // resource_exhausted where the memory cannot be pinned.
  Status allocate();
  // Enqueued; the host's memory may be reused at once. What no piece holds is copied as it lies.
  void copy(void* device, const void* host, size_t bytes, void* stream);

 private:
  struct Piece {
    void* pinned = nullptr;
    void* event = nullptr;   // behind its copies
    void* stream = nullptr;  // theirs
    size_t used = 0;
    bool in_flight = false;
  };

  void turn_to_next();

  std::array<Piece, 4> pieces_;
  size_t current_ = 0;
};

}  // namespace trireme::kernels::cuda
