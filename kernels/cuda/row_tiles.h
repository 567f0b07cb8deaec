// Row tiles: which rows a block works on when rows come in runs (a sequence's queries, an expert's
// tokens) whose lengths only the device knows.
//
// Run r owns rows [start[r], start[r + 1]). It is given the tile slots start[r] / tile + r and on,
// up to those of run r + 1: at least as many as it has tiles, and a block finds its run by
// bisection. Slots beyond a run's tiles have no rows. So the host launches n_tile_slots blocks
// without reading `start`.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch_shape.h"

namespace trireme::kernels::cuda {

struct RowTile {
  int64_t run = 0;
  int64_t first = 0;  // row
  int64_t n = 0;      // rows; 0: nothing to do
};

// Slots that hold every tile of `n_rows` rows in `n_runs` runs. No runs: the rows are one run.
TRIREME_HD constexpr int64_t n_tile_slots(int64_t n_rows, int64_t n_runs, int64_t tile) {
  return n_runs == 0 ? ceil_div(n_rows, tile) : n_rows / tile + n_runs;
}

// The run that row `row` belongs to: the last one that starts at or before it.
TRIREME_HD inline int64_t run_of_row(const int32_t* start, int64_t n_runs, int64_t row) {
  int64_t low = 0;
  int64_t high = n_runs;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (start[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

TRIREME_HD inline RowTile row_tile(const int32_t* start, int64_t n_rows, int64_t n_runs,
                                   int64_t tile, int64_t slot) {
  RowTile result;
  int64_t end = n_rows;
  int64_t first_slot = 0;
  int64_t run_begin = 0;
  if (n_runs > 0) {
    int64_t low = 0;
    int64_t high = n_runs;  // the run is in [low, high)
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (start[middle] / tile + middle <= slot) {
        low = middle;
      } else {
        high = middle;
      }
    }
    result.run = low;
    run_begin = start[low];
    end = start[low + 1];
    first_slot = run_begin / tile + low;
  }
  result.first = run_begin + (slot - first_slot) * tile;
  const int64_t left = end - result.first;
  result.n = left < 0 ? 0 : (left < tile ? left : tile);
  return result;
}

}  // namespace trireme::kernels::cuda
