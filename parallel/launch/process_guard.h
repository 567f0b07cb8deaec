// ProcessGuard: no process of a cluster outlives what it belongs to.
//
// A rank belongs to its mpirun, an mpirun and a router to their `trireme serve`. Each watches its
// parent through a pidfd on a thread that sleeps in the kernel, and ends when the parent does,
// however the parent ended. Linux only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trireme::launch {

// Exit codes of our processes, so that a supervisor can say what happened. 0, 1 and 2 are as
// everywhere.
inline constexpr int kExitPeerLost = 70;  // a coordinator, rank or parent is gone or silent
inline constexpr int kExitBadConfig =
    78;  // starting again would fail again: the supervisor gives up

// What a process that ends with this error exits with: kExitBadConfig where its input is at fault
// (a wrong configuration, a damaged checkpoint, GPUs that do not do), 1 where another try may go
// better.
int exit_code_for(const Error& error);

// Calls `on_parent_exit` once, from a thread of its own, when the process that is the parent now
// has ended.
class ParentWatch {
 public:
  explicit ParentWatch(std::function<void()> on_parent_exit);
  ~ParentWatch();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// This machine's name, as its peers resolve it.
std::string host_name();

// Ends this process and, where it leads a process group of its own, everything in that group, at
// once and from any thread: no destructor runs, no collective is waited for. Prints one line with
// the reason first.
[[noreturn]] void end_process_group(std::string_view reason, int exit_code);

}  // namespace trireme::launch
