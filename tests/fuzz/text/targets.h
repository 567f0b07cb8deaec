// What the fuzzers of text/ do with their bytes, so that the unit tests can replay the corpus.
//
// Each takes any bytes, and returns or dies: a crash, a sanitizer's finding or a broken CHECK is
// the finding.
#pragma once

#include <string_view>

namespace trireme::text {

// bytes: a tokenizer.json, then (behind the last NUL) a text to encode.
void fuzz_tokenizer_json(std::string_view bytes);
// A tokenizer.model.
void fuzz_sentencepiece(std::string_view bytes);
// A tiktoken rank file, or a tekken.json when it begins with '{'.
void fuzz_ranks(std::string_view bytes);
// vocab.json, then (behind the last NUL) merges.txt; or, without a NUL, vocab.txt.
void fuzz_vocab_files(std::string_view bytes);
// A chat template, then (behind the last NUL) the JSON of the messages.
void fuzz_template(std::string_view bytes);
// A pattern, then (behind the last NUL) a text; and the text through every hand-written splitter.
void fuzz_regex(std::string_view bytes);

}  // namespace trireme::text
