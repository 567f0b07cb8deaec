// Tokenizers as releases had them before tokenizer.json: vocab.json with merges.txt (GPT-2, Qwen
// 2), and vocab.txt (BERT).
//
// Each is written out as the tokenizer.json that the reference's converter makes of it, so that
// there is one reader. What is in neither file (the split pattern, the normalizer) follows from the
// tokenizer's class.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenize/added_tokens.h"

namespace trireme::text {

enum class MergesFamily { kGpt2, kQwen2 };

// `added`: tokens besides the vocabulary's, or how its own count. `special`: spellings of the
// vocabulary that are special tokens; those that it lacks are left out.
Result<std::string> merges_tokenizer_json(std::string_view vocab_json, std::string_view merges_txt,
                                          MergesFamily family, std::vector<AddedToken> added,
                                          const std::vector<std::string>& special);

struct WordListOptions {
  bool lowercase = true;
  bool split_chinese = true;
};

// `vocab_txt`: an entry per line, the first with id 0. It must hold [UNK], [CLS] and [SEP].
Result<std::string> word_list_tokenizer_json(std::string_view vocab_txt,
                                             const WordListOptions& options,
                                             std::vector<AddedToken> added);

}  // namespace trireme::text
