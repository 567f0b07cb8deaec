// A whole file, mapped read-only.
//
// Opening checks that it is a regular file; the bytes are the caller's to check. A file that is cut
// short while it is mapped would be a SIGBUS: call `check_still_there` before a read that is not
// near the opening. Not thread-safe with its own destruction; reads from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trireme {

class MappedFile {
 public:
  // not_found, invalid_argument (not a regular file) or resource_exhausted; messages name the file
  // without its folder.
  static Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& name() const { return name_; }
  std::string_view bytes() const { return {map_, size_}; }

  // data_loss when the file has become shorter than `end` bytes. `what` names what is being read.
  Status check_still_there(uint64_t end, std::string_view what) const;

 private:
  MappedFile(std::string name, int fd) : name_(std::move(name)), fd_(fd) {}

  std::string name_;  // the file name alone
  int fd_ = -1;
  const char* map_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace trireme
