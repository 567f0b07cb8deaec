#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace trireme::log {
namespace {

// %* in the JSON pattern: the message as a quoted, escaped JSON string.
class JsonMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&,
              spdlog::memory_buf_t& dest) override {
    const nlohmann::json text = std::string(msg.payload.data(), msg.payload.size());
    const std::string quoted = text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    dest.append(quoted.data(), quoted.data() + quoted.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessage>();
  }
};

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> make_logger(const Options& options) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>(options.component, sink);
  logger->set_level(to_spdlog(options.level));
  logger->flush_on(spdlog::level::debug);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (options.format == Format::kJson) {
    formatter = std::make_unique<spdlog::pattern_formatter>(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","component":"%n","message":%*})",
        spdlog::pattern_time_type::utc, "\n", [] {
          spdlog::pattern_formatter::custom_flags flags;
          flags['*'] = std::make_unique<JsonMessage>();
          return flags;
        }());
  } else {
    formatter->set_pattern("%H:%M:%S.%e %^%l%$ %n: %v");
  }
  logger->set_formatter(std::move(formatter));
  return logger;
}

// The one global of this library: a process has one log.
std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance = make_logger({.component = "trireme"});
  return instance;
}

}  // namespace

Level level_of(std::string_view name) {
  if (name == "debug") return Level::kDebug;
  if (name == "warn") return Level::kWarn;
  if (name == "error") return Level::kError;
  return Level::kInfo;
}

void init(const Options& options) { logger() = make_logger(options); }

bool enabled(Level level) { return logger()->should_log(to_spdlog(level)); }

void write(Level level, std::string_view message) { logger()->log(to_spdlog(level), message); }

}  // namespace trireme::log
