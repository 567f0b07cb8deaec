// Which worker ranks make up each group of a tp x pp mesh. Pure.
#pragma once

#include <vector>

namespace trireme::comm {

// The worker ranks of each group that `worker_rank` is in, in group order.
struct MeshLayout {
  std::vector<int> tp;     // its stage
  std::vector<int> pp;     // its tp rank through the stages
  std::vector<int> world;  // all
};

inline MeshLayout mesh_layout(int worker_rank, int tp, int pp) {
  MeshLayout layout;
  const int stage = worker_rank / tp;
  for (int i = 0; i < tp; ++i) layout.tp.push_back(stage * tp + i);
  for (int i = 0; i < pp; ++i) layout.pp.push_back(i * tp + worker_rank % tp);
  for (int i = 0; i < tp * pp; ++i) layout.world.push_back(i);
  return layout;
}

}  // namespace trireme::comm
