// Any bytes as a GGUF file: container, configuration, names and numbers.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/gguf.h"
#include "parallel/plan/model_spec.h"
#include "tests/fuzz/weights/memory_file.h"
#include "tests/fuzz/weights/read_source.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto part = parse_gguf(bytes);
  if (!part.ok()) return 0;
  for (const GgufTensor& tensor : part->tensors) {
    CHECK_LE(tensor.bytes, size);
    CHECK_LE(tensor.begin, size - tensor.bytes);
  }
  static const worker::MemoryFolder folder;
  folder.write("model.gguf", bytes);
  const auto spec = plan::load_model_spec(folder.path());
  (void)spec;  // an error is an answer too
  const auto source = worker::open_checkpoint(folder.path());
  if (source.ok()) worker::read_everything(**source);
  return 0;
}
