// Which of a model folder's files hold its tokenizer, and what tokenizer_config.json adds to them.
//
// In order: tokenizer.json, tekken.json, tokenizer.model (SentencePiece or a tiktoken rank file,
// told apart by content), tiktoken.model (Kimi's), *.tiktoken, vocab.json with merges.txt,
// vocab.txt. Errors name the file, never its folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace trireme::text {

enum class BosRule {
  kTokenizerFile,  // as the reference library: a tokenizer.json alone decides
  kConfig,         // add_bos_token and add_eos_token of the config are obeyed besides
};

bool has_tokenizer_files(const std::filesystem::path& folder);

// kNotFound when the folder has no such file. A missing tokenizer_config.json is fine.
Result<Tokenizer> load_tokenizer_files(const std::filesystem::path& folder, BosRule rule);

}  // namespace trireme::text
