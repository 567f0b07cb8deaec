// How a sum in rank order is cut: into chunks that a workspace holds the terms of, and a chunk into
// one slice for each rank. Pure arithmetic, the same on every rank; counts and offsets are in
// elements.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace trireme::comm {

// Slices begin at multiples of this many elements: 16-byte loads, whatever the type.
inline constexpr int64_t kSliceElements = 16;
// Up to this many bytes a second exchange would take longer than what it saves on the links.
inline constexpr int64_t kDirectBytes = 64 << 10;

struct Slice {
  int64_t begin = 0;
  int64_t end = 0;
  constexpr int64_t size() const { return end - begin; }
};

// The elements of [0, count) that `rank` sums; those of the last ranks may be none.
constexpr Slice slice_of(int64_t count, int n_ranks, int rank) {
  const int64_t each =
      ((count + n_ranks - 1) / n_ranks + kSliceElements - 1) / kSliceElements * kSliceElements;
  return {std::min(count, rank * each), std::min(count, (rank + 1) * each)};
}

// A workspace holds a slot for each rank's term. Of so many elements:
constexpr int64_t slot_elements(int64_t workspace_bytes, int n_ranks, int64_t element_bytes) {
  return workspace_bytes / n_ranks / element_bytes / kSliceElements * kSliceElements;
}

// Two ways for a chunk. Direct: every rank sends all of it to every other and sums all of it: one
// exchange, (n_ranks - 1) times its bytes. By slices: every rank sums a slice, and hands it out:
// two exchanges, 2 (n_ranks - 1) / n_ranks times. Between two ranks that is the same.
constexpr bool is_direct(int64_t bytes, int n_ranks) {
  return n_ranks == 2 || bytes <= kDirectBytes;
}

// The most elements of a chunk.
constexpr int64_t chunk_elements(int64_t slot, int n_ranks, bool direct) {
  return direct ? slot : slot * n_ranks;
}

}  // namespace trireme::comm
