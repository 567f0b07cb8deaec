// Scratch: memory that grows to the largest request and is reused; its contents do not survive a
// request.
//
// Not thread-safe: one per thread, or grown by the driving thread alone.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "kernels/host_memory.h"

namespace trireme::kernels::cpu {

class Scratch {
 public:
  // At least `count` Ts, aligned to 64 bytes.
  template <typename T>
  T* get(int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    if (buffer_ == nullptr || buffer_->bytes() < bytes) {
      buffer_.reset();
      auto grown = allocate_host(bytes);
      CHECK(grown.ok()) << grown.error().message;
      buffer_ = std::move(grown).value();
    }
    return static_cast<T*>(buffer_->data());
  }

 private:
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace trireme::kernels::cpu
