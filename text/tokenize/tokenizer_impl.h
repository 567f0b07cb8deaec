// The parts of a loaded tokenizer, and the path of a text through them.
//
// Filled by a loader (tokenizer_json.cc, sentencepiece.cc), finished by `finish`, immutable and
// thread-safe from then on.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/tokenize/added_tokens.h"
#include "text/tokenize/decoder.h"
#include "text/tokenize/model.h"
#include "text/tokenize/normalizer.h"
#include "text/tokenize/pretokenizer.h"
#include "text/tokenize/word_cache.h"
#include "text/tokenizer.h"

namespace trireme::text {

// What is put around the tokens of a text, and how their offsets are trimmed.
struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
  bool trim_offsets = false;
  bool add_prefix_space =
      false;  // one leading space was added by the pre-tokenizer and is not trimmed
};

struct TokenizerImpl {
  // Set by a loader.
  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizerSteps pre_tokenizer;
  std::unique_ptr<Model> model;
  PostProcessor post;
  DecoderConfig decoder_config;

  // Made by finish().
  AddedTokenMatcher raw_matcher;            // tokens looked for in the text as it came
  AddedTokenMatcher normalized_matcher;     // tokens looked for in normalized text
  std::vector<std::string> added_spelling;  // per added token: how it is written out
  std::unordered_map<std::string, int32_t> added_by_content;
  std::unordered_map<int32_t, size_t> added_by_id;
  int32_t n_ids = 0;
  Decoder decoder;
  mutable ScratchPool scratches;

  Status finish();

  // May this added token (an index) be recognised at bytes [begin, end) of the input?
  using TokenFilter = std::function<bool(const AddedToken&, ByteSpan source)>;
  Result<Encoding> encode(std::string_view text, const EncodeOptions& options,
                          const TokenFilter& filter) const;
  std::string piece(int32_t id) const;

 private:
  struct Run;
  Status encode_stretch(ByteSpan span, Run* run) const;
  Status encode_words(Words words, Run* run) const;
  void encode_word(std::string_view word, Run* run) const;
  void trim_offsets(Encoding* encoding) const;
};

// Loaders. `added` has what a config says of tokens besides. Errors say which part of the file is
// wrong.
Result<std::shared_ptr<TokenizerImpl>> load_tokenizer_json(std::string_view json);
Result<std::shared_ptr<TokenizerImpl>> load_sentencepiece(std::string_view bytes,
                                                          const SentencePieceOptions& options,
                                                          const std::vector<AddedToken>& added);

// Rank files: the pattern and the special tokens are the family's.
enum class RankFamily { kLlama3, kQwen, kKimi };
bool looks_like_ranks(std::string_view bytes);
Result<std::shared_ptr<TokenizerImpl>> load_ranks(std::string_view bytes, RankFamily family,
                                                  const std::vector<AddedToken>& added);
Result<std::shared_ptr<TokenizerImpl>> load_tekken(std::string_view json);

}  // namespace trireme::text
