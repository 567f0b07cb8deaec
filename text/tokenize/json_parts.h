// The sections of tokenizer.json, each read by a function of its own. For the loader only.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/json_read.h"
#include "text/tokenize/tokenizer_impl.h"

namespace trireme::text {

inline constexpr size_t kMaxJsonSteps = 64;
inline constexpr int kMaxSequenceDepth = 8;

// A pattern is {"String": ..} or {"Regex": ..}.
struct JsonPattern {
  std::string text;
  bool is_regex;
};
Result<JsonPattern> read_pattern(const Json& object);

// Of a Metaspace.
Result<PrependScheme> read_prepend_scheme(const Json& node);

// A section that is one step or a Sequence of them, as a flat list of objects with a "type".
using StepNodes = std::vector<const Json*>;
Result<StepNodes> flatten_steps(const Json& node, const char* list_key);

Result<Normalizer> read_normalizer(const Json& node);
// `byte_level_model`: the model takes bytes, so that a ByteLevel at the end need not spell them; it
// is then set in `byte_level`.
Result<PreTokenizerSteps> read_pre_tokenizer(const Json& node, bool byte_level_model,
                                             bool* byte_level);
Result<DecoderConfig> read_decoder(const Json& node);
Result<PostProcessor> read_post_processor(const Json& node);

// Can the model take bytes in place of their spelling in the byte alphabet?
bool takes_bytes(const Json& model);
Result<std::unique_ptr<Model>> read_model(const Json& node, bool byte_level);

}  // namespace trireme::text
