// `trireme`: picks the command and hands it its arguments.
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/version.h"
#include "cli/commands.h"

namespace {

struct Command {
  std::string_view name;
  int (*run)(int argc, char** argv);
  const char* what;
};

constexpr Command kCommands[] = {
    {"serve", trireme::cli::run_serve,
     "serve a model: router, coordinators and ranks on this machine"},
    {"replica", trireme::cli::run_replica, "one replica in one process (serve starts it)"},
    {"chat", trireme::cli::run_chat, "talk to a served model in the terminal"},
    {"plan", trireme::cli::run_plan,
     "memory, speed and price of a model on given machines, before paying"},
    {"inspect", trireme::cli::run_inspect,
     "what a model folder holds and what it takes to serve it"},
    {"tokenize", trireme::cli::run_tokenize, "text to token ids and back, JSON lines"},
    {"render", trireme::cli::run_render, "chat template to prompt text, JSON lines"},
    {"bench", trireme::cli::run_bench,
     "engine | serve | router | scheduler | collective | ops | gpu"},
};

void print_usage(FILE* out) {
  std::fputs("Usage: trireme COMMAND [OPTIONS]\n\nCommands:\n", out);
  for (const Command& command : kCommands) {
    std::fprintf(out, "  %-10s %s\n", command.name.data(), command.what);
  }
  std::fputs("\n`trireme COMMAND --help` shows a command's options and an example.\n", out);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    print_usage(stderr);
    return 2;
  }
  const std::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    print_usage(stdout);
    return 0;
  }
  if (name == "--version") {
    std::printf("trireme %s\n", trireme::kVersion);
    return 0;
  }
  for (const Command& command : kCommands) {
    if (command.name == name) return command.run(argc - 1, argv + 1);
  }
  std::fprintf(stderr, "error: there is no command \"%s\"; `trireme --help` lists them\n", argv[1]);
  return 2;
}
