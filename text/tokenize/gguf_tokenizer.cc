#include "text/tokenize/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "text/tokenize/model.h"
#include "text/tokenize/splitter.h"
#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

using nlohmann::json;

// The format's token types; those of SentencePiece have the same numbers.
enum TokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseekNumbers = R"(\p{N}{1,3})";
constexpr const char* kDeepseekCjk = "[一-龥぀-ゟ゠-ヿ]+";
constexpr const char* kDeepseekRest =
    R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

// A pre-tokenizer by the name that a file gives it: what splits a text, one pattern after the
// other.
struct PreTokenizerKind {
  const char* name;
  std::initializer_list<const char*> patterns;
  bool digits_apart = false;   // before the patterns
  bool ignore_merges = false;  // a word that is in the vocabulary is that token
  bool nfc = false;
  bool adds_bos = false;  // where the file does not say
};

const PreTokenizerKind kPreTokenizers[] = {
    {.name = "llama-bpe", .patterns = {kLlama3}, .ignore_merges = true, .adds_bos = true},
    {.name = "llama3", .patterns = {kLlama3}, .ignore_merges = true, .adds_bos = true},
    {.name = "llama-v3", .patterns = {kLlama3}, .ignore_merges = true, .adds_bos = true},
    {.name = "tekken", .patterns = {kTekken}, .ignore_merges = true, .adds_bos = true},
    {.name = "qwen2", .patterns = {kQwen2}, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = {kQwen2}, .nfc = true},
    {.name = "deepseek-v3", .patterns = {kDeepseekNumbers, kDeepseekCjk, kDeepseekRest}},
    {.name = "gpt-4o", .patterns = {kO200k}},
    {.name = "gpt-2", .patterns = {kGpt2Pattern.data()}},
    {.name = "gpt2", .patterns = {kGpt2Pattern.data()}},
    {.name = "phi-2", .patterns = {kGpt2Pattern.data()}},
    {.name = "starcoder", .patterns = {kGpt2Pattern.data()}, .digits_apart = true},
    {.name = "refact", .patterns = {kGpt2Pattern.data()}, .digits_apart = true},
    {.name = "command-r", .patterns = {kGpt2Pattern.data()}, .digits_apart = true},
    {.name = "smollm", .patterns = {kGpt2Pattern.data()}, .digits_apart = true},
};

Result<const PreTokenizerKind*> find_pre_tokenizer(const Gguf& gguf) {
  ASSIGN_OR_RETURN(const std::string name, gguf.string("tokenizer.ggml.pre"));
  const auto found = std::find_if(std::begin(kPreTokenizers), std::end(kPreTokenizers),
                                  [&](const PreTokenizerKind& kind) { return name == kind.name; });
  if (found == std::end(kPreTokenizers)) {
    return unimplemented(
        fmt::format("the pre-tokenizer '{}' is not supported", name.substr(0, 40)));
  }
  return &*found;
}

struct Vocabulary {
  const std::vector<std::string>* tokens = nullptr;
  const std::vector<int64_t>* types = nullptr;  // null: all normal
  const std::vector<double>* scores = nullptr;

  int64_t type(size_t id) const { return types == nullptr ? int64_t{kNormal} : (*types)[id]; }
};

Result<Vocabulary> read_vocabulary(const Gguf& gguf) {
  Vocabulary vocabulary;
  ASSIGN_OR_RETURN(vocabulary.tokens, gguf.strings("tokenizer.ggml.tokens"));
  ASSIGN_OR_RETURN(vocabulary.types, gguf.integers("tokenizer.ggml.token_type"));
  ASSIGN_OR_RETURN(vocabulary.scores, gguf.numbers("tokenizer.ggml.scores"));
  if (vocabulary.tokens == nullptr || vocabulary.tokens->empty()) {
    return not_found("the GGUF file has no vocabulary");
  }
  const size_t n = vocabulary.tokens->size();
  if (n > static_cast<size_t>(kMaxVocab)) {
    return invalid_argument(fmt::format("the GGUF file's vocabulary has {} tokens", n));
  }
  if ((vocabulary.types != nullptr && vocabulary.types->size() != n) ||
      (vocabulary.scores != nullptr && vocabulary.scores->size() != n)) {
    return invalid_argument("the GGUF file's tokens, token types and scores differ in number");
  }
  for (size_t id = 0; id < n; ++id) {
    if (!is_valid_utf8((*vocabulary.tokens)[id])) {
      return invalid_argument(fmt::format("token {} of the GGUF file is not UTF-8", id));
    }
  }
  return vocabulary;
}

// A special token's id; -1 when the file names none.
Result<int32_t> special_id(const Gguf& gguf, const char* what, size_t n_tokens) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", what);
  ASSIGN_OR_RETURN(const int64_t id,
                   gguf.integer_or(key, 0, static_cast<int64_t>(n_tokens) - 1, -1));
  return static_cast<int32_t>(id);
}

// Protobuf, as tokenizer.model has it.
class Protobuf {
 public:
  void varint(uint32_t field, uint64_t value) {
    number(field << 3);
    number(value);
  }
  void text(uint32_t field, std::string_view value) {
    number(field << 3 | 2);
    number(value.size());
    bytes_ += value;
  }
  void real(uint32_t field, float value) {
    number(field << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) bytes_ += static_cast<char>(bits >> (8 * i) & 0xff);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7f) | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

json byte_level_pre_tokenizer(const PreTokenizerKind& kind) {
  json steps = json::array();
  if (kind.digits_apart) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  for (const char* pattern : kind.patterns) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

// What goes around a text: a BOS and an EOS where the file wants them.
Result<json> template_processor(const Gguf& gguf, const Vocabulary& vocabulary, bool adds_bos) {
  ASSIGN_OR_RETURN(const bool add_bos, gguf.boolean_or("tokenizer.ggml.add_bos_token", adds_bos));
  ASSIGN_OR_RETURN(const bool add_eos, gguf.boolean_or("tokenizer.ggml.add_eos_token", false));
  const size_t n = vocabulary.tokens->size();
  ASSIGN_OR_RETURN(const int32_t bos, special_id(gguf, "bos", n));
  ASSIGN_OR_RETURN(const int32_t eos, special_id(gguf, "eos", n));
  json single = json::array();
  json tokens = json::object();
  const auto add = [&](const char* name, int32_t id) {
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
  };
  if (add_bos && bos >= 0) add("bos", bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (add_eos && eos >= 0) add("eos", eos);
  return json{{"type", "TemplateProcessing"},
              {"single", std::move(single)},
              {"special_tokens", std::move(tokens)}};
}

}  // namespace

Result<std::string> gguf_tokenizer_json(const Gguf& gguf) {
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, read_vocabulary(gguf));
  ASSIGN_OR_RETURN(const PreTokenizerKind* kind, find_pre_tokenizer(gguf));
  ASSIGN_OR_RETURN(const auto* merges, gguf.strings("tokenizer.ggml.merges"));
  if (merges == nullptr) return invalid_argument("the GGUF file's vocabulary has no merges");
  json added = json::array();
  json vocab = json::object();
  for (size_t id = 0; id < vocabulary.tokens->size(); ++id) {
    const std::string& token = (*vocabulary.tokens)[id];
    const int64_t type = vocabulary.type(id);
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      added.push_back({{"id", id},
                       {"content", token},
                       {"special", type != kUserDefined},
                       {"normalized", false}});
    } else if (!vocab.emplace(token, id).second) {
      return invalid_argument(
          fmt::format("token {} of the GGUF file is spelled like an earlier one", id));
    }
  }
  for (size_t i = 0; i < merges->size(); ++i) {
    if (!is_valid_utf8((*merges)[i])) {
      return invalid_argument(fmt::format("merge {} of the GGUF file is not UTF-8", i));
    }
  }
  ASSIGN_OR_RETURN(json post, template_processor(gguf, vocabulary, kind->adds_bos));
  const json tokenizer = {{"added_tokens", std::move(added)},
                          {"normalizer", kind->nfc ? json{{"type", "NFC"}} : json(nullptr)},
                          {"pre_tokenizer", byte_level_pre_tokenizer(*kind)},
                          {"post_processor", std::move(post)},
                          {"decoder", {{"type", "ByteLevel"}}},
                          {"model",
                           {{"type", "BPE"},
                            {"ignore_merges", kind->ignore_merges},
                            {"vocab", std::move(vocab)},
                            {"merges", *merges}}}};
  return tokenizer.dump();
}

Result<std::string> gguf_tokenizer_model(const Gguf& gguf) {
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, read_vocabulary(gguf));
  if (vocabulary.scores == nullptr) {
    return invalid_argument("the GGUF file's vocabulary has no scores");
  }
  const size_t n = vocabulary.tokens->size();
  ASSIGN_OR_RETURN(const int32_t bos, special_id(gguf, "bos", n));
  ASSIGN_OR_RETURN(const int32_t eos, special_id(gguf, "eos", n));
  ASSIGN_OR_RETURN(const bool prefix, gguf.boolean_or("tokenizer.ggml.add_space_prefix", true));
  ASSIGN_OR_RETURN(const bool squeeze,
                   gguf.boolean_or("tokenizer.ggml.remove_extra_whitespaces", false));
  // Field numbers: sentencepiece_model.proto.
  Protobuf file;
  bool has_bytes = false;
  for (size_t id = 0; id < n; ++id) {
    const int64_t type = vocabulary.type(id);
    if (type < kNormal || type > kByte) {
      return invalid_argument(
          fmt::format("token {} of the GGUF file has the unknown type {}", id, type));
    }
    has_bytes = has_bytes || type == kByte;
    Protobuf piece;
    piece.text(1, (*vocabulary.tokens)[id]);
    piece.real(2, static_cast<float>((*vocabulary.scores)[id]));
    piece.varint(3, static_cast<uint64_t>(type));
    file.text(1, piece.bytes());
  }
  constexpr uint64_t kBpe = 2;
  // An absent id is -1, a 64-bit varint in this format.
  const auto id_value = [](int32_t id) { return static_cast<uint64_t>(int64_t{id}); };
  Protobuf trainer;
  trainer.varint(3, kBpe);
  trainer.varint(35, has_bytes ? 1 : 0);
  trainer.varint(41, id_value(bos));
  trainer.varint(42, id_value(eos));
  file.text(2, trainer.bytes());
  Protobuf normalizer;
  normalizer.varint(3, prefix ? 1 : 0);
  normalizer.varint(4, squeeze ? 1 : 0);
  normalizer.varint(5, 1);
  file.text(3, normalizer.bytes());
  return file.bytes();
}

namespace {

Result<Tokenizer> load_tokenizer(const Gguf& gguf) {
  if (!gguf.has("tokenizer.ggml.tokens")) return not_found("the GGUF file has no vocabulary");
  ASSIGN_OR_RETURN(const std::string kind, gguf.string("tokenizer.ggml.model"));
  if (kind == "gpt2") {
    ASSIGN_OR_RETURN(const std::string file, gguf_tokenizer_json(gguf));
    return Tokenizer::from_json(file);
  }
  if (kind == "llama") {
    ASSIGN_OR_RETURN(const std::string bytes, gguf_tokenizer_model(gguf));
    SentencePieceOptions options;
    ASSIGN_OR_RETURN(options.add_bos, gguf.boolean_or("tokenizer.ggml.add_bos_token", true));
    ASSIGN_OR_RETURN(options.add_eos, gguf.boolean_or("tokenizer.ggml.add_eos_token", false));
    return Tokenizer::from_sentencepiece(bytes, options);
  }
  return unimplemented(
      fmt::format("GGUF vocabularies of kind '{}' are not supported; 'gpt2' and "
                  "'llama' are",
                  kind.substr(0, 40)));
}

}  // namespace

Result<GgufText> load_gguf_text(const Gguf& gguf) {
  auto tokenizer = load_tokenizer(gguf);
  if (!tokenizer.ok()) {
    return Error{tokenizer.error().code, "GGUF tokenizer: " + tokenizer.error().message};
  }
  GgufText text{.tokenizer = std::move(*tokenizer)};
  ASSIGN_OR_RETURN(text.chat_template, gguf.string_or("tokenizer.chat_template", ""));
  ASSIGN_OR_RETURN(const auto* tokens, gguf.strings("tokenizer.ggml.tokens"));
  const std::pair<const char*, std::string*> spellings[] = {
      {"bos", &text.bos}, {"eos", &text.eos}, {"padding", &text.pad}, {"unknown", &text.unk}};
  for (const auto& [what, spelling] : spellings) {
    ASSIGN_OR_RETURN(const int32_t id, special_id(gguf, what, tokens->size()));
    if (id >= 0) *spelling = (*tokens)[static_cast<size_t>(id)];
  }
  for (const char* what : {"eos", "eot", "eom"}) {
    ASSIGN_OR_RETURN(const int32_t id, special_id(gguf, what, tokens->size()));
    if (id >= 0) text.eos_ids.push_back(id);
  }
  return text;
}

}  // namespace trireme::text
