// LoadProgress: one bar for the weights of all replicas, drawn from the lines that coordinators
// print while they load.
//
// A coordinator's stdout carries lines "@load DONE TOTAL" (bytes, all its ranks together);
// everything else that a replica prints is passed on to stderr with its name in front. On a
// terminal the bar redraws in place; elsewhere only its end shows.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace trireme::cli {

class LoadProgress {
 public:
  explicit LoadProgress(int n_replicas);
  void on_line(const std::string& process, const std::string& line);
  // Ends the bar's line. Later loads (a restarted replica) are not drawn.
  void finish();

 private:
  struct Load {
    int64_t done = 0;
    int64_t total = 0;
  };
  void draw();

  int n_replicas_;
  bool terminal_;
  bool finished_ = false;
  bool drawn_ = false;
  std::map<std::string, Load> loads_;
};

}  // namespace trireme::cli
