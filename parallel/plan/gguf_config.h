// The metadata of a GGUF file as the config.json of the checkpoint that it was converted from.
//
// So that a model has one description, whatever its files: the family's config reader and all
// checks apply to both. Strict: a key of the architecture that is not understood here is an error,
// for it could change the arithmetic.
#pragma once

#include <string>

#include "base/gguf.h"
#include "base/result.h"

namespace trireme::plan {

// Reads llama (with experts: Mixtral), qwen2, qwen3, qwen3moe, gemma and grok; unimplemented names
// another architecture. Positions that are scaled by stored factors (`rope_freqs.weight`) become
// "longrope" factors that hold for every length.
Result<std::string> gguf_config_json(const Gguf& gguf);

}  // namespace trireme::plan
