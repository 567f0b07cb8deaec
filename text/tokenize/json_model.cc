// tokenizer.json: the model.
#include "text/tokenize/bpe.h"
#include "text/tokenize/json_parts.h"
#include "text/tokenize/unigram.h"
#include "text/tokenize/wordpiece.h"

namespace trireme::text {

namespace {

constexpr size_t kMaxPieceBytes = 4096;

using VocabList = std::vector<std::pair<std::string, int32_t>>;

Status read_vocab(const Json& vocab, VocabList* out) {
  if (!vocab.is_object() || vocab.empty())
    return invalid_argument("\"vocab\" is not an object with entries");
  if (vocab.size() > static_cast<size_t>(kMaxVocab))
    return invalid_argument("\"vocab\" has too many entries");
  out->reserve(vocab.size());
  for (const auto& [piece, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMaxVocab) {
      return invalid_argument(
          fmt::format("the id of \"{}\" is not a whole number in 0..{}", piece, kMaxVocab - 1));
    }
    out->emplace_back(piece, id.get<int32_t>());
  }
  return {};
}

// Merges are "left right" or ["left", "right"].
Status read_merges(const Json& merges, BpeConfig* config) {
  if (!merges.is_array()) return invalid_argument("\"merges\" is not a list");
  if (merges.size() > static_cast<size_t>(kMaxVocab))
    return invalid_argument("\"merges\" has too many entries");
  config->merges.reserve(merges.size());
  for (const Json& merge : merges) {
    const auto rank = static_cast<uint32_t>(config->merges.size());
    if (merge.is_string()) {
      const auto& line = merge.get_ref<const std::string&>();
      const size_t space = line.find(' ');
      if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
        return invalid_argument(fmt::format("merge {} is not two tokens", rank));
      }
      config->merges.push_back({line.substr(0, space), line.substr(space + 1), rank});
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      config->merges.push_back({merge[0].get<std::string>(), merge[1].get<std::string>(), rank});
    } else {
      return invalid_argument(fmt::format("merge {} is not two tokens", rank));
    }
  }
  return {};
}

// The oldest files have no type: only BPE has merges, and only Unigram a list for a vocabulary.
Result<std::string> model_type(const Json& node) {
  const std::string guess = !get(node, "merges").is_null()  ? "BPE"
                            : get(node, "vocab").is_array() ? "Unigram"
                                                            : "WordPiece";
  return get_string(node, "type", guess);
}

Result<std::unique_ptr<Model>> read_bpe(const Json& node, bool byte_level) {
  BpeConfig config;
  config.byte_level = byte_level;
  ASSIGN_OR_RETURN(config.byte_fallback, get_bool(node, "byte_fallback", false));
  ASSIGN_OR_RETURN(config.ignore_merges, get_bool(node, "ignore_merges", false));
  ASSIGN_OR_RETURN(config.fuse_unk, get_bool(node, "fuse_unk", false));
  ASSIGN_OR_RETURN(config.unk_token, get_string(node, "unk_token", ""));
  ASSIGN_OR_RETURN(config.continuing_prefix, get_string(node, "continuing_subword_prefix", ""));
  ASSIGN_OR_RETURN(config.end_suffix, get_string(node, "end_of_word_suffix", ""));
  TRY(read_vocab(get(node, "vocab"), &config.vocab));
  TRY(read_merges(get(node, "merges"), &config));
  ASSIGN_OR_RETURN(auto bpe, Bpe::build(config));
  return std::unique_ptr<Model>(std::move(bpe));
}

// "vocab" is a list of [piece, score].
Result<std::unique_ptr<Model>> read_unigram(const Json& node) {
  const Json& vocab = get(node, "vocab");
  if (!vocab.is_array() || vocab.empty()) {
    return invalid_argument("\"vocab\" of a Unigram model is not a list with entries");
  }
  if (vocab.size() > static_cast<size_t>(kMaxVocab))
    return invalid_argument("\"vocab\" has too many entries");
  UnigramConfig config;
  config.pieces.reserve(vocab.size());
  for (const Json& entry : vocab) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return invalid_argument(
          fmt::format("\"vocab\" entry {} is not a piece and its score", config.pieces.size()));
    }
    const auto& piece = entry[0].get_ref<const std::string&>();
    if (piece.size() > kMaxPieceBytes) {
      return invalid_argument(
          fmt::format("piece {} is longer than {} bytes", config.pieces.size(), kMaxPieceBytes));
    }
    config.pieces.push_back({.text = piece, .score = entry[1].get<double>()});
  }
  if (get(node, "unk_id").is_null()) {
    return unimplemented("a Unigram model without an \"unk_id\" is not supported");
  }
  ASSIGN_OR_RETURN(const int64_t unk, get_int(node, "unk_id", 0, kMaxVocab - 1));
  config.unk_id = static_cast<int32_t>(unk);
  ASSIGN_OR_RETURN(config.byte_fallback, get_bool(node, "byte_fallback", false));
  ASSIGN_OR_RETURN(auto unigram, Unigram::build(config));
  return std::unique_ptr<Model>(std::move(unigram));
}

Result<std::unique_ptr<Model>> read_word_piece(const Json& node, bool whole_words) {
  WordPieceConfig config;
  config.whole_words = whole_words;
  TRY(read_vocab(get(node, "vocab"), &config.vocab));
  ASSIGN_OR_RETURN(config.unk_token,
                   get_string(node, "unk_token", whole_words ? "<unk>" : "[UNK]"));
  if (!whole_words) {
    ASSIGN_OR_RETURN(config.continuing_prefix, get_string(node, "continuing_subword_prefix", "##"));
    if (!get(node, "max_input_chars_per_word").is_null()) {
      ASSIGN_OR_RETURN(const int64_t limit,
                       get_int(node, "max_input_chars_per_word", 0, int64_t{1} << 32));
      config.max_chars_per_word = static_cast<size_t>(limit);
    }
  }
  ASSIGN_OR_RETURN(auto model, WordPiece::build(config));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace

bool takes_bytes(const Json& model) {
  const auto type = model_type(model);
  if (!type.ok() || *type != "BPE") return false;
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto affix = get_string(model, key, "");
    if (!affix.ok() || !affix->empty()) return false;
  }
  return true;
}

Result<std::unique_ptr<Model>> read_model(const Json& node, bool byte_level) {
  if (!node.is_object()) return invalid_argument("\"model\" is not an object");
  ASSIGN_OR_RETURN(const std::string type, model_type(node));
  if (type == "BPE") return read_bpe(node, byte_level);
  if (type == "Unigram") return read_unigram(node);
  if (type == "WordPiece") return read_word_piece(node, false);
  if (type == "WordLevel") return read_word_piece(node, true);
  return unimplemented(fmt::format("tokenizer models of type {} are not supported", type));
}

}  // namespace trireme::text
