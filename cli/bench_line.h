// What every bench line says of its surroundings.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace trireme::cli {

// The processor's name and its number of cores.
inline std::string machine_description() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return line.substr(colon + 2) + ", " + std::to_string(std::thread::hardware_concurrency()) +
             " cores";
    }
  }
  return "unknown";
}

// The commit of the checkout that the command is run in, or "unknown".
inline std::string checkout_commit() {
  std::error_code error;
  for (auto dir = std::filesystem::current_path(error); !error; dir = dir.parent_path()) {
    const auto git = dir / ".git";
    std::string head;
    if (std::getline(std::ifstream(git / "HEAD"), head)) {
      if (head.starts_with("ref: ")) {
        std::string id;
        std::getline(std::ifstream(git / head.substr(5)), id);
        head = id;
      }
      return head.empty() ? "unknown" : head.substr(0, 12);
    }
    if (dir == dir.root_path()) break;
  }
  return "unknown";
}

}  // namespace trireme::cli
