// What a wrong command line gets: one sentence on stderr and exit code 2. --help gets its text and
// 0.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

namespace trireme::cli {

inline int usage_error(CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  fmt::print(stderr, "error: {}; see {} --help\n", error.what(), app.get_name());
  return 2;
}

}  // namespace trireme::cli
