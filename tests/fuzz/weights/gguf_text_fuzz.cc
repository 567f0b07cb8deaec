// Any bytes as a GGUF file whose vocabulary becomes a tokenizer.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/gguf.h"
#include "tests/fuzz/weights/memory_file.h"
#include "text/model_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!parse_gguf(bytes).ok()) return 0;
  static const worker::MemoryFolder folder;
  folder.write("model.gguf", bytes);
  const auto model_text = text::ModelText::load(folder.path());
  if (!model_text.ok() || !model_text->has_tokenizer()) return 0;
  const text::Tokenizer& tokenizer = model_text->tokenizer();
  for (const char* sample :
       {"", "Hello  world 12345", "\xe6\x9d\xb1\xe4\xba\xac \xf0\x9f\x98\x80"}) {
    const auto encoding = tokenizer.encode(sample);
    if (encoding.ok()) (void)tokenizer.decode(encoding->ids);
  }
  return 0;
}
