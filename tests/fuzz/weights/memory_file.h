// A file of given bytes that lives in memory, under a path of its own.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/check.h"

namespace trireme::worker {

// A folder in shared memory whose files are replaced from input to input.
class MemoryFolder {
 public:
  MemoryFolder() {
    std::string name = "/dev/shm/trireme_fuzz_XXXXXX";
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~MemoryFolder() { std::filesystem::remove_all(path_); }
  MemoryFolder(const MemoryFolder&) = delete;

  const std::string& path() const { return path_; }
  void write(const std::string& name, std::string_view bytes) const {
    const std::string file = path_ + "/" + name;
    std::FILE* out = std::fopen(file.c_str(), "wb");
    CHECK(out != nullptr);
    CHECK_EQ(std::fwrite(bytes.data(), 1, bytes.size(), out), bytes.size());
    std::fclose(out);
  }

 private:
  std::string path_;
};

}  // namespace trireme::worker
