// Logging: one line per event, as text or as JSON lines, through spdlog (which stays behind
// log.cc).
//
// Thread-safe. A component ("router", "rank 3") is set once per process; secrets and prompt text
// are never logged.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace trireme::log {

enum class Level { kDebug, kInfo, kWarn, kError };
enum class Format { kText, kJson };

struct Options {
  Level level = Level::kInfo;
  Format format = Format::kText;
  std::string component;  // names the process in every line
};

// "debug" | "info" | "warn" | "error"; anything else is kInfo (the config's reader has refused it
// before).
Level level_of(std::string_view name);

// Call once, first thing in main. Without it, info and above go to stderr as text.
void init(const Options& options);

bool enabled(Level level);
void write(Level level, std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug))
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kWarn)) write(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace trireme::log
