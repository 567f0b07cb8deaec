// RunDir: the folder of one run of a cluster (its resolved YAML), inside the state folder that
// keeps the CURVE keys.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace trireme::launch {

// $XDG_STATE_HOME/trireme, ~/.local/state/trireme, or /tmp/trireme-UID where there is no home.
std::string default_state_dir();

class RunDir {
 public:
  // `state_dir` empty: $XDG_STATE_HOME/trireme, ~/.local/state/trireme, or /tmp/trireme-UID where
  // there is no home. Makes both folders with mode 0700. Folders of runs whose process has ended
  // are removed.
  static Result<std::unique_ptr<RunDir>> create(const std::string& state_dir);
  // Removes the run's folder.
  ~RunDir();
  RunDir(const RunDir&) = delete;
  RunDir& operator=(const RunDir&) = delete;

  const std::string& path() const { return path_; }
  const std::string& state_dir() const { return state_dir_; }

 private:
  RunDir() = default;
  std::string path_;
  std::string state_dir_;
};

}  // namespace trireme::launch
