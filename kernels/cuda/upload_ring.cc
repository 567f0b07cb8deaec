#include "kernels/cuda/upload_ring.h"

#include <cstring>

#include "kernels/cuda/runtime.h"

namespace trireme::kernels::cuda {
namespace {

// The emulator's tests come around.
#if defined(TRIREME_CUDA_EMULATED)
constexpr size_t kPieceBytes = size_t{8} << 10;
#else
constexpr size_t kPieceBytes = size_t{4} << 20;
#endif
constexpr size_t kAlignment = 256;

}  // namespace

UploadRing::~UploadRing() {
  for (const Piece& piece : pieces_) {
    if (piece.in_flight) wait_for_event(piece.event);
    if (piece.pinned != nullptr) release_pinned(piece.pinned);
    if (piece.event != nullptr) release_event(piece.event);
  }
}

Status UploadRing::allocate() {
  for (Piece& piece : pieces_) {
    ASSIGN_OR_RETURN(piece.pinned, allocate_pinned(kPieceBytes));
    piece.event = make_event();
  }
  return {};
}

void UploadRing::turn_to_next() {
  Piece& full = pieces_[current_];
  if (full.used > 0) {
    record_event(full.event, full.stream);
    full.in_flight = true;
  }
  current_ = (current_ + 1) % pieces_.size();
  Piece& next = pieces_[current_];
  if (next.in_flight) wait_for_event(next.event);
  next.in_flight = false;
  next.used = 0;
}

void UploadRing::copy(void* device, const void* host, size_t bytes, void* stream) {
  if (bytes == 0) return;
  if (bytes > kPieceBytes) {
    copy_to_device_async(device, host, bytes, stream);
    return;
  }
  const Piece& current = pieces_[current_];
  if (current.used + bytes > kPieceBytes || (current.used > 0 && current.stream != stream)) {
    turn_to_next();
  }
  Piece& piece = pieces_[current_];
  auto* const from = static_cast<std::byte*>(piece.pinned) + piece.used;
  std::memcpy(from, host, bytes);
  copy_to_device_async(device, from, bytes, stream);
  piece.stream = stream;
  piece.used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace trireme::kernels::cuda
