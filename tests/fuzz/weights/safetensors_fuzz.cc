// Any bytes as the header of a safetensors file, as a whole file, and as an index.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "tests/fuzz/weights/memory_file.h"
#include "tests/fuzz/weights/read_source.h"
#include "worker/weights/checkpoint_index.h"
#include "worker/weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme::worker;
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: {
      const auto tensors = parse_safetensors_header(bytes, data[0]);
      if (tensors.ok()) {
        uint64_t end = 0;
        for (const StoredTensor& tensor : *tensors) {
          CHECK_EQ(tensor.begin, end);
          end = tensor.end;
        }
        CHECK_EQ(end, uint64_t{data[0]});
      }
      break;
    }
    case 1: {
      const auto index = parse_index(std::string(bytes));
      if (index.ok()) {
        for (const auto& [tensor, file] : *index) CHECK(file.find('/') == std::string::npos);
      }
      break;
    }
    default: {
      static const MemoryFolder folder;
      folder.write("model.safetensors", bytes);
      const auto source = open_checkpoint(folder.path());
      if (source.ok()) read_everything(**source);
    }
  }
  return 0;
}
