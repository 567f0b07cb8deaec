// Runs the golden cases of one tokenizer folder and says what differs.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace trireme::text {

struct GoldenReport {
  int cases = 0;
  int failed = 0;
  std::vector<std::string> examples;  // the first few differences

  void fail(std::string what) {
    ++failed;
    if (examples.size() < 5) examples.push_back(std::move(what));
  }
  std::string summary() const;
};

std::string read_all(const std::string& path);

GoldenReport check_encode(const Tokenizer& tokenizer, const std::string& path);  // ids and offsets
// Ids of the cases that have `key`, which holds the ids that are wanted.
GoldenReport check_ids(const Tokenizer& tokenizer, const std::string& path, const char* key);
// `cleaned`: with the clean-up that the folder's config asks for.
GoldenReport check_decode(const Tokenizer& tokenizer, const std::string& path, bool cleaned);
GoldenReport check_stream(const Tokenizer& tokenizer, const std::string& path);
GoldenReport check_sentencepiece(const Tokenizer& tokenizer, const std::string& path);

}  // namespace trireme::text
