// A quantised checkpoint of any config and any header: two texts with a zero byte between them; the
// data are whatever bytes follow a second one.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tests/fuzz/weights/memory_file.h"
#include "tests/fuzz/weights/read_source.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto next = [&bytes] {
    const size_t end = std::min(bytes.find('\0'), bytes.size());
    const std::string_view part = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    return part;
  };
  const auto spec = plan::parse_quantization(std::string(next()));
  if (!spec.ok() || !spec->enabled()) return 0;
  const std::string_view header = next();
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  file += header;
  file += bytes;
  static const worker::MemoryFolder folder;
  folder.write("model.safetensors", file);
  const auto source = worker::open_checkpoint(folder.path(), *spec);
  if (source.ok()) worker::read_everything(**source);
  return 0;
}
