// A column of ranks that talk to their neighbours alone, over two groups of the same ranks in turn:
// what goes from rank 0 to 1, from 2 to 3 and so on over one, the rest over the other.
//
// For groups that do their operations one after another, as NCCL's communicators do: a rank between
// two others receives over one of them while what it has sent over the other is still to be taken.
// Everything but send and recv is the first group's.
#pragma once

#include <memory>

#include "parallel/comm/group.h"

namespace trireme::comm {

// Both groups: the same ranks in the same order, and this rank's place in them.
std::unique_ptr<Group> make_alternating_group(std::unique_ptr<Group> even,
                                              std::unique_ptr<Group> odd);

}  // namespace trireme::comm
