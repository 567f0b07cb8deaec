#include <cstddef>
#include <cstdint>

#include "tests/fuzz/text/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  trireme::text::fuzz_vocab_files({reinterpret_cast<const char*>(data), size});
  return 0;
}
