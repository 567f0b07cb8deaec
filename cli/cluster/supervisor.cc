#include "cli/cluster/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/cluster_config.h"
#include "base/log.h"
#include "parallel/launch/process_guard.h"

namespace trireme::cli {
namespace {

constexpr int64_t kMaxBackoffNs = 30 * kSecondNs;
// A child that ran this long has started well: its failures are counted anew.
constexpr int64_t kHealthyNs = 20 * kSecondNs;
// Failures in a row, without ever having been ready, after which the cluster gives up.
constexpr int kMaxStartFailures = 4;
// Replicas that were asked to leave get SIGTERM after this long.
constexpr int64_t kLeaveNs = kSecondNs;
// After the drain, replicas and slow routers get this long before SIGKILL.
constexpr int64_t kTerminateNs = 5 * kSecondNs;
constexpr size_t kMaxLineBytes = 1 << 16;

// mpirun passes on how its first lost rank ended: 128 + the signal, or the rank's own code.
std::string describe(int wait_status, int exit_code) {
  const std::string cause = launch::describe_exit(wait_status);
  if (exit_code == launch::kExitPeerLost) return cause + " (a process lost its peer)";
  if (exit_code <= 128 || exit_code > 128 + SIGRTMAX) return cause;
  const char* name = sigabbrev_np(exit_code - 128);
  return name == nullptr ? cause : cause + " (a rank was killed by SIG" + name + ")";
}

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

Supervisor::~Supervisor() {
  children_.clear();  // kills and reaps whatever still runs
  if (signal_fd_ >= 0) close(signal_fd_);
}

Status Supervisor::start(Child& child) {
  ASSIGN_OR_RETURN(child.process, launch::ChildProcess::spawn(child.spec.spawn));
  child.started_ns = clock_.now_ns();
  child.restart_at_ns = 0;
  child.line.clear();
  return {};
}

int Supervisor::run() {
  for (const ProcessSpec& spec : options_.processes) {
    children_.push_back(std::make_unique<Child>());
    children_.back()->spec = spec;
    if (const Status started = start(*children_.back()); !started.ok()) {
      std::fprintf(stderr, "error: %s\n", started.error().message.c_str());
      return 1;
    }
  }
  while (true) {
    wait_for_events(timeout_ms());
    handle_signal();
    for (auto& child : children_) reap(*child);
    if (n_signals_ > 0 || failed_) {
      advance_shutdown();
      if (all_ended(Role::kRouter) && all_ended(Role::kReplica)) return failed_ ? 1 : 0;
      continue;
    }
    restart_due();
    if (!ready_ && options_.probe()) {
      ready_ = true;
      options_.on_ready();
    }
  }
}

int Supervisor::timeout_ms() const {
  if (!ready_ || n_signals_ > 0 || failed_) return 50;
  int64_t next = -1;
  for (const auto& child : children_) {
    if (child->restart_at_ns == 0) continue;
    const int64_t wait = std::max<int64_t>(0, child->restart_at_ns - clock_.now_ns());
    next = next < 0 ? wait : std::min(next, wait);
  }
  return next < 0 ? -1 : static_cast<int>(next / kMillisecondNs) + 1;
}

void Supervisor::wait_for_events(int timeout) {
  std::vector<pollfd> fds = {{signal_fd_, POLLIN, 0}};
  std::vector<Child*> readers;
  for (auto& child : children_) {
    if (!child->process) continue;
    fds.push_back({child->process->pidfd(), POLLIN, 0});
  }
  const size_t first_reader = fds.size();
  for (auto& child : children_) {
    if (!child->process || child->process->stdout_fd() < 0) continue;
    fds.push_back({child->process->stdout_fd(), POLLIN, 0});
    readers.push_back(child.get());
  }
  poll(fds.data(), fds.size(), timeout);
  for (size_t i = 0; i < readers.size(); ++i) {
    if (fds[first_reader + i].revents != 0) read_output(*readers[i]);
  }
}

void Supervisor::read_output(Child& child) {
  char buffer[4096];
  ssize_t n = 0;
  while ((n = read(child.process->stdout_fd(), buffer, sizeof(buffer))) > 0) {
    for (ssize_t i = 0; i < n; ++i) {
      if (buffer[i] != '\n') {
        if (child.line.size() < kMaxLineBytes) child.line.push_back(buffer[i]);
        continue;
      }
      options_.on_line(child.spec.name, child.line);
      child.line.clear();
    }
  }
}

void Supervisor::reap(Child& child) {
  if (!child.process) return;
  const std::optional<int> status = child.process->poll_exit();
  if (!status) return;
  if (child.process->stdout_fd() >= 0) read_output(child);
  const int code = launch::exit_code_of(*status);
  const std::string cause = describe(*status, code);
  child.process.reset();
  if (n_signals_ > 0 || failed_) return;

  const int64_t now = clock_.now_ns();
  if (now - child.started_ns >= kHealthyNs) child.n_quick_failures = 0;
  ++child.n_quick_failures;
  const bool hopeless = code == launch::kExitBadConfig || code == 2;
  if (!ready_ && (hopeless || child.n_quick_failures >= kMaxStartFailures)) {
    std::fprintf(stderr, "error: %s did not start (%s); see its message above\n",
                 child.spec.name.c_str(), cause.c_str());
    failed_ = true;
    return;
  }
  const int doublings = std::min(child.n_quick_failures - 1, 10);
  const int64_t backoff = std::min(child.spec.first_backoff_ns << doublings, kMaxBackoffNs);
  child.restart_at_ns = now + backoff;
  log::warn("{} ended: {}; starting it again in {:.1f} s", child.spec.name, cause,
            static_cast<double>(backoff) / 1e9);
}

void Supervisor::restart_due() {
  for (auto& child : children_) {
    if (child->restart_at_ns == 0 || clock_.now_ns() < child->restart_at_ns) continue;
    if (const Status started = start(*child); !started.ok()) {
      log::error("{}", started.error().message);
      child->restart_at_ns = clock_.now_ns() + kMaxBackoffNs;
    }
  }
}

void Supervisor::handle_signal() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
    ++n_signals_;
    if (n_signals_ == 1) {
      std::fprintf(stderr, "\ndraining: streams may finish; press Ctrl-C again to stop at once\n");
      drain_deadline_ns_ = clock_.now_ns() + options_.drain_ns;
      for (auto& child : children_) child->restart_at_ns = 0;
      signal_all(Role::kRouter, [](const ProcessSpec&) { return SIGTERM; });
    } else {
      std::fprintf(stderr, "stopping at once\n");
      for (auto& child : children_) {
        if (child->process) child->process->signal_group(SIGKILL);
      }
    }
  }
}

bool Supervisor::all_ended(Role role) const {
  return std::none_of(children_.begin(), children_.end(), [&](const auto& child) {
    return child->spec.role == role && child->process != nullptr;
  });
}

void Supervisor::signal_all(Role role, int (*signal_of)(const ProcessSpec&)) {
  for (auto& child : children_) {
    if (child->process && child->spec.role == role) child->process->signal(signal_of(child->spec));
  }
}

void Supervisor::advance_shutdown() {
  const auto terminate = [](const ProcessSpec&) { return SIGTERM; };
  const auto leave = [](const ProcessSpec& spec) { return spec.leave_signal; };
  const int64_t now = clock_.now_ns();
  if (failed_ && drain_deadline_ns_ == 0) {
    drain_deadline_ns_ = now;  // nothing to wait for
    signal_all(Role::kRouter, terminate);
  }
  const bool routers_done = all_ended(Role::kRouter) || now >= drain_deadline_ns_;
  if (routers_done && replicas_told_ns_ == 0) {
    replicas_told_ns_ = now;
    drain_deadline_ns_ = std::min(drain_deadline_ns_, now);
    // One that is still starting hears nothing but SIGTERM.
    replicas_pressed_ = !ready_;
    signal_all(Role::kReplica, ready_ ? +leave : +terminate);
  }
  if (replicas_told_ns_ == 0) return;
  if (!replicas_pressed_ && now >= replicas_told_ns_ + kLeaveNs) {
    replicas_pressed_ = true;
    signal_all(Role::kReplica, terminate);
  }
  if (now < drain_deadline_ns_ + kTerminateNs) return;
  for (auto& child : children_) {
    if (child->process) child->process->signal_group(SIGKILL);
  }
}

}  // namespace trireme::cli
