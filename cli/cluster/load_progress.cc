#include "cli/cluster/load_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace trireme::cli {

LoadProgress::LoadProgress(int n_replicas)
    : n_replicas_(n_replicas), terminal_(isatty(STDERR_FILENO) == 1) {}

void LoadProgress::on_line(const std::string& process, const std::string& line) {
  long long done = 0;
  long long total = 0;
  if (std::sscanf(line.c_str(), "@load %lld %lld", &done, &total) == 2) {
    loads_[process] = {done, total};
    if (!finished_) draw();
    return;
  }
  if (line.empty()) return;
  if (drawn_ && !finished_ && terminal_) fmt::print(stderr, "\n");
  fmt::print(stderr, "{}: {}\n", process, line);
}

void LoadProgress::draw() {
  int64_t done = 0;
  int64_t total = 0;
  for (const auto& [name, load] : loads_) {
    done += load.done;
    total += load.total;
  }
  // Replicas that have not spoken yet are as large as those that have.
  total = total / static_cast<int64_t>(loads_.size()) * n_replicas_;
  if (!terminal_ || total <= 0) return;
  constexpr int kWidth = 32;
  const int filled = static_cast<int>(done * kWidth / total);
  fmt::print(stderr, "\r  weights  [{}{}] {:3}%  {:.2f} of {:.2f} GB", std::string(filled, '#'),
             std::string(kWidth - filled, '.'), done * 100 / total, static_cast<double>(done) / 1e9,
             static_cast<double>(total) / 1e9);
  std::fflush(stderr);
  drawn_ = true;
}

void LoadProgress::finish() {
  if (!finished_ && drawn_ && terminal_) fmt::print(stderr, "\n");
  finished_ = true;
}

}  // namespace trireme::cli
