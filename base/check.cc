#include "base/check.h"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace trireme::check_internal {

Failure::Failure(const char* file, int line, const char* condition) {
  stream_ << "CHECK failed at " << file << ":" << line << ": " << condition << " ";
}

Failure::~Failure() {
  const std::string message = stream_.str() + "\n";
  std::fwrite(message.data(), 1, message.size(), stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace trireme::check_internal
