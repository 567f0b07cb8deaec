// What a GGUF file says about text: its tokenizer, chat template and special tokens.
//
// The vocabulary is written out as the tokenizer.json or tokenizer.model that it was converted from
// and read by those loaders, so that there is one tokenizer per kind. Kinds "gpt2" (byte-level BPE,
// with the pre-tokenizers that are known by name) and "llama" (SentencePiece BPE) are read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/gguf.h"
#include "base/result.h"
#include "text/tokenizer.h"

namespace trireme::text {

struct GgufText {
  Tokenizer tokenizer;
  std::string chat_template;  // empty: none
  std::string bos;            // the spellings; empty: none
  std::string eos;
  std::string pad;
  std::string unk;
  std::vector<int32_t> eos_ids;  // that end a generation: of the text, of a turn, of a message
};

// not_found: a file without a vocabulary; unimplemented: a kind or pre-tokenizer that is not read;
// invalid_argument names the key or the token.
Result<GgufText> load_gguf_text(const Gguf& gguf);

// The tokenizer.json that a "gpt2" vocabulary amounts to, and the tokenizer.model (a protobuf) of a
// "llama" one. Pure; for load_gguf_text and its tests.
Result<std::string> gguf_tokenizer_json(const Gguf& gguf);
Result<std::string> gguf_tokenizer_model(const Gguf& gguf);

}  // namespace trireme::text
