// A model's tokenizer: text to token ids and back, as the model's own files say.
//
// Reads tokenizer.json (BPE, byte-level as in GPT-2, Llama 3, Qwen or with byte fallback as in
// Llama 2, Mistral, Gemma; Unigram; WordPiece; WordLevel), tokenizer.model (SentencePiece BPE and
// Unigram, or a tiktoken rank file as Llama 3 and older Qwen ship) and tekken.json. Ids, offsets
// and decoding equal those of the reference libraries. It does not know chat templates
// (text/chat_template.h) or stop strings (text/stop_matcher.h).
//
// Immutable after load and thread-safe; a copy shares everything and costs a reference count.
// Files are bounded and checked: a wrong one is an error that says what and where, and a part that
// is not known is `unimplemented`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace trireme::text {

class Decoder;
struct TokenizerImpl;

// Bytes [first, second) of a text.
using ContentSpan = std::pair<size_t, size_t>;

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds, such as a BOS
  bool parse_special = true;       // false: special tokens spelled in the text are plain text
  bool offsets = false;            // fill Encoding::offsets
};

struct Encoding {
  std::vector<int32_t> ids;
  // [first, second) in code points of the input, one per id when asked for; tokens that were added
  // have [0, 0).
  std::vector<std::pair<uint32_t, uint32_t>> offsets;
};

struct SentencePieceOptions {
  bool add_bos = true;
  bool add_eos = false;
};

class Tokenizer {
 public:
  // Limits of one call and of the files.
  static constexpr size_t kMaxTextBytes = size_t{1} << 28;
  static constexpr size_t kMaxFileBytes = size_t{256} << 20;

  // From a folder, as text/tokenizer_files.h says. kNotFound when it has no tokenizer.
  static Result<Tokenizer> load(const std::string& folder);
  // From the contents of tokenizer.json.
  static Result<Tokenizer> from_json(std::string_view json);
  // From the contents of tokenizer.model.
  static Result<Tokenizer> from_sentencepiece(std::string_view bytes,
                                              const SentencePieceOptions& options = {});

  // From the contents of a tiktoken rank file with the pattern and the special tokens of Llama 3
  // or, for `qwen`, of Qwen; and from those of tekken.json.
  static Result<Tokenizer> from_ranks(std::string_view bytes, bool qwen);
  static Result<Tokenizer> from_tekken(std::string_view json);
  // For the loaders of this library.
  static Tokenizer from_impl(std::shared_ptr<const TokenizerImpl> impl) {
    return Tokenizer(std::move(impl));
  }

  // Errors: text that is too long or not UTF-8 (invalid_argument), a pattern at its limit
  // (resource_exhausted).
  Result<Encoding> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // Encodes a rendered chat: control tokens are recognised in the template's text only. A special
  // token, or one named like one (<|...|>), that begins or ends inside a content span stays plain
  // text. Nothing is added.
  Result<Encoding> encode_spans(std::string_view text,
                                const std::vector<ContentSpan>& content_spans,
                                const EncodeOptions& options = {.add_special_tokens = false}) const;

  // Ids that the vocabulary does not have contribute nothing.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special = true) const;

  // Largest id + 1. Not every id below it need exist.
  int32_t vocab_size() const;
  // The id of a vocabulary entry or added token in the file's spelling; -1 when there is none.
  int32_t token_to_id(std::string_view piece) const;
  // The file's spelling; empty for an id that does not exist.
  std::string id_to_piece(int32_t id) const;
  // The bytes that an id contributes to a text on its own (a part of a character, perhaps).
  std::string id_to_bytes(int32_t id) const;
  bool is_special(int32_t id) const;
  // Ids that skip_special hides.
  std::vector<int32_t> special_ids() const;
  // Ids that the post-processor puts before and after a text.
  const std::vector<int32_t>& prefix_ids() const;
  const std::vector<int32_t>& suffix_ids() const;

  // For Detokenizer.
  const Decoder& decoder() const;

 private:
  explicit Tokenizer(std::shared_ptr<const TokenizerImpl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const TokenizerImpl> impl_;
};

}  // namespace trireme::text
