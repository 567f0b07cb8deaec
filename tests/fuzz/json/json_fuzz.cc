// Any bytes through every reader of JSON. The first byte picks the reader. What is accepted reads
// back from its own text as the same, as far as a reader has a writer.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "parallel/plan/model_spec.h"
#include "text/tokenizer.h"
#include "text/value.h"
#include "worker/weights/safetensors.h"

namespace trireme {
namespace {

void bounded(std::string_view text) {
  const JsonLimits limits{.max_bytes = 1 << 16, .max_depth = 16, .max_keys = 64, .max_values = 256};
  const auto json = parse_json(text, limits);
  if (!json.ok()) return;
  const std::string own = json->dump();
  const auto again = parse_json(own, JsonLimits{});
  CHECK(again.ok()) << again.error().message << ": " << own;
  CHECK(*again == *json) << own;
}

void template_value(std::string_view text) {
  const auto value = text::value_from_json(text, true, 16);
  if (!value.ok()) return;
  const auto own = text::to_json(*value);
  CHECK(own.ok()) << own.error().message;
  const auto again = text::value_from_json(own->bytes, true, 16);
  CHECK(again.ok()) << again.error().message << ": " << own->bytes;
  const auto twice = text::to_json(*again);
  CHECK(twice.ok() && twice->bytes == own->bytes) << own->bytes;
}

void model_config(std::string_view text) {
  const auto spec = plan::parse_model_spec(std::string(text));
  if (!spec.ok()) return;
  CHECK(spec->n_layers() > 0 && spec->hidden > 0 && spec->vocab > 0 && spec->context > 0);
  CHECK_GT(spec->n_parameters(), 0);
  for (const plan::RopeSpec& rope : spec->ropes) {
    for (const float f : rope.inv_freq()) CHECK(std::isfinite(f));
  }
}

void weights_header(std::string_view text) {
  for (const uint64_t n_bytes : {0, 16, 4096}) {
    const auto tensors = worker::parse_safetensors_header(text, n_bytes);
    if (!tensors.ok()) continue;
    for (const auto& tensor : *tensors) {
      CHECK(tensor.begin <= tensor.end && tensor.end <= n_bytes) << tensor.name;
    }
  }
}

}  // namespace
}  // namespace trireme

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      trireme::bounded(text);
      break;
    case 1:
      trireme::template_value(text);
      break;
    case 2:
      trireme::model_config(text);
      break;
    case 3:
      trireme::weights_header(text);
      break;
    default:
      (void)trireme::text::Tokenizer::from_json(text);
  }
  return 0;
}
