// Rank files of the tiktoken kind, and tekken.json: byte strings with a rank each, in base64.
//
// A rank file is lines of `<base64> <rank>`; what else a tokenizer needs (the split pattern, the
// special tokens) is not in it. Of the families that ship one, Llama 3, Qwen and Kimi are known
// here. tekken.json says it all itself.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "text/base64.h"
#include "text/json_read.h"
#include "text/tokenize/bpe.h"
#include "text/tokenize/byte_alphabet.h"
#include "text/tokenize/splitter.h"
#include "text/tokenize/tokenizer_impl.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr size_t kMaxPieceBytes = 4096;
constexpr size_t kMaxMerges = size_t{1} << 24;
constexpr int64_t kMaxSpecial = 1 << 16;

struct RankedPiece {
  std::string bytes;
  int32_t rank;
};

Status check_piece(const std::string& bytes, size_t line) {
  if (!bytes.empty() && bytes.size() <= kMaxPieceBytes) return {};
  return invalid_argument(
      fmt::format("token {} is empty or longer than {} bytes", line, kMaxPieceBytes));
}

Result<std::vector<RankedPiece>> read_rank_lines(std::string_view text) {
  std::vector<RankedPiece> pieces;
  for (size_t line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.empty()) continue;
    const size_t space = row.find(' ');
    const auto wrong = [&](const char* what) {
      return invalid_argument(fmt::format("the rank file, line {}: {}", line, what));
    };
    if (space == std::string_view::npos) return wrong("no rank");
    auto bytes = decode_base64(row.substr(0, space));
    if (!bytes) return wrong("the token is not base64");
    int32_t rank = -1;
    const char* last = row.data() + row.size();
    const auto read = std::from_chars(row.data() + space + 1, last, rank);
    if (read.ec != std::errc() || read.ptr != last || rank < 0 || rank >= kMaxVocab) {
      return wrong("the rank is not a number of the vocabulary");
    }
    TRY(check_piece(*bytes, line));
    if (pieces.size() >= static_cast<size_t>(kMaxVocab)) return wrong("too many tokens");
    pieces.push_back({std::move(*bytes), rank});
  }
  if (pieces.empty()) return invalid_argument("the rank file has no tokens");
  return pieces;
}

// The highest rank + 1. Ranks are an order, so that hardly any is left out: an id takes memory
// whether or not it has a token, and a file's cost is bounded by its own size.
Result<int32_t> count_ids(const std::vector<RankedPiece>& pieces) {
  int32_t n_ids = 0;
  for (const RankedPiece& piece : pieces) n_ids = std::max(n_ids, piece.rank + 1);
  if (n_ids > kMaxVocab - 1024 || static_cast<size_t>(n_ids) > 2 * pieces.size() + 4096) {
    return invalid_argument(
        fmt::format("rank {} is too high for {} tokens", n_ids - 1, pieces.size()));
  }
  return n_ids;
}

std::string spell(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(byte_to_char(static_cast<unsigned char>(c)), &out);
  return out;
}

// Any two neighbours whose bytes together are a token merge, the lowest rank first. `shift` is
// added to every rank to make the id.
Result<std::unique_ptr<Model>> make_model(const std::vector<RankedPiece>& pieces, int32_t shift) {
  BpeConfig config;
  config.byte_level = true;
  config.ignore_merges = true;
  Vocab known(pieces.size());
  for (const RankedPiece& piece : pieces) known.add(piece.bytes, piece.rank);
  for (const RankedPiece& piece : pieces) {
    const std::string_view bytes = piece.bytes;
    config.vocab.emplace_back(spell(bytes), piece.rank + shift);
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      if (known.find(bytes.substr(0, cut)) < 0 || known.find(bytes.substr(cut)) < 0) continue;
      if (config.merges.size() >= kMaxMerges)
        return invalid_argument("the rank file has too many merges");
      config.merges.push_back({spell(bytes.substr(0, cut)), spell(bytes.substr(cut)),
                               static_cast<uint32_t>(piece.rank)});
    }
  }
  ASSIGN_OR_RETURN(auto bpe, Bpe::build(config));
  return std::unique_ptr<Model>(std::move(bpe));
}

void add_special(std::string content, int32_t id, TokenizerImpl* impl) {
  impl->added.push_back({.id = id, .content = std::move(content), .special = true});
}

// Llama 3's 256 special tokens, in the order of its 3.1 release.
void add_llama3_specials(int32_t first, TokenizerImpl* impl) {
  const char* named[] = {"<|begin_of_text|>",
                         "<|end_of_text|>",
                         "<|reserved_special_token_0|>",
                         "<|reserved_special_token_1|>",
                         "<|finetune_right_pad_id|>",
                         "<|reserved_special_token_2|>",
                         "<|start_header_id|>",
                         "<|end_header_id|>",
                         "<|eom_id|>",
                         "<|eot_id|>",
                         "<|python_tag|>"};
  int32_t id = first;
  for (const char* name : named) add_special(name, id++, impl);
  for (int reserved = 3; id < first + 256; ++reserved) {
    add_special(fmt::format("<|reserved_special_token_{}|>", reserved), id++, impl);
  }
  impl->post.prefix = {first};
}

void add_qwen_specials(int32_t first, TokenizerImpl* impl) {
  int32_t id = first;
  for (const char* name : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    add_special(name, id++, impl);
  }
  for (int extra = 0; extra < 205; ++extra) {
    add_special(fmt::format("<|extra_{}|>", extra), id++, impl);
  }
}

// 256 ids behind the ranks: the config names those in use, and the rest are reserved. All are found
// in text; what a decoder hides is what the config calls special.
void add_kimi_specials(int32_t first, TokenizerImpl* impl) {
  for (int32_t id = first; id < first + 256; ++id) {
    impl->added.push_back({.id = id, .content = fmt::format("<|reserved_token_{}|>", id)});
  }
}

std::string_view pattern_of_family(RankFamily family) {
  switch (family) {
    case RankFamily::kLlama3:
      return kLlama3Pattern;
    case RankFamily::kQwen:
      return kQwen2Pattern;
    case RankFamily::kKimi:
      return kKimiPattern;
  }
  CHECK(false) << "a rank family without a pattern";
  return {};
}

Result<std::shared_ptr<TokenizerImpl>> finish(std::shared_ptr<TokenizerImpl> impl,
                                              std::string_view pattern) {
  ASSIGN_OR_RETURN(auto split, make_split(pattern, true, SplitBehavior::kIsolated, false));
  impl->pre_tokenizer.push_back(std::move(split));
  impl->decoder_config.byte_level = true;
  TRY(impl->finish());
  return impl;
}

}  // namespace

bool looks_like_ranks(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, std::min(bytes.find('\n'), bytes.size()));
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || line.size() > 2 * kMaxPieceBytes)
    return false;
  const std::string_view rank = line.substr(space + 1);
  return decode_base64(line.substr(0, space)).has_value() && !rank.empty() &&
         std::all_of(rank.begin(), rank.end(),
                     [](char c) { return (c >= '0' && c <= '9') || c == '\r'; });
}

Result<std::shared_ptr<TokenizerImpl>> load_ranks(std::string_view bytes, RankFamily family,
                                                  const std::vector<AddedToken>& added) {
  ASSIGN_OR_RETURN(const std::vector<RankedPiece> pieces, read_rank_lines(bytes));
  ASSIGN_OR_RETURN(const int32_t next, count_ids(pieces));
  auto impl = std::make_shared<TokenizerImpl>();
  ASSIGN_OR_RETURN(impl->model, make_model(pieces, 0));
  if (family == RankFamily::kLlama3) {
    add_llama3_specials(next, impl.get());
  } else if (family == RankFamily::kQwen) {
    add_qwen_specials(next, impl.get());
  } else {
    add_kimi_specials(next, impl.get());
  }
  // A config that lists the special tokens knows better, id by id.
  for (const AddedToken& token : added) {
    std::erase_if(impl->added, [&](const AddedToken& own) {
      return own.id == token.id || own.content == token.content;
    });
    impl->added.push_back(token);
  }
  return finish(std::move(impl), pattern_of_family(family));
}

Result<std::shared_ptr<TokenizerImpl>> load_tekken(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "tekken.json"));
  const Json& config = get(root, "config");
  const Json& vocab = get(root, "vocab");
  if (!config.is_object() || !vocab.is_array()) {
    return invalid_argument("tekken.json has no \"config\" or no \"vocab\"");
  }
  ASSIGN_OR_RETURN(const std::string pattern, get_string(config, "pattern"));
  ASSIGN_OR_RETURN(const int64_t n_special,
                   get_int(config, "default_num_special_tokens", 0, kMaxSpecial));
  ASSIGN_OR_RETURN(const int64_t n_vocab,
                   get_int(config, "default_vocab_size", n_special + 1, kMaxVocab));
  std::vector<RankedPiece> pieces;
  for (const Json& entry : vocab) {
    if (static_cast<int64_t>(pieces.size()) >= n_vocab - n_special) break;
    ASSIGN_OR_RETURN(const int64_t rank, get_int(entry, "rank", 0, n_vocab - n_special - 1));
    ASSIGN_OR_RETURN(const std::string encoded, get_string(entry, "token_bytes"));
    auto bytes = decode_base64(encoded);
    if (!bytes) {
      return invalid_argument(fmt::format("tekken.json: token {} is not base64", rank));
    }
    TRY(check_piece(*bytes, static_cast<size_t>(rank)));
    pieces.push_back({std::move(*bytes), static_cast<int32_t>(rank)});
  }
  TRY(count_ids(pieces));
  auto impl = std::make_shared<TokenizerImpl>();
  ASSIGN_OR_RETURN(impl->model, make_model(pieces, static_cast<int32_t>(n_special)));
  // Older files do not list the special tokens, which come first.
  std::vector<std::string> specials = {"<unk>",
                                       "<s>",
                                       "</s>",
                                       "[INST]",
                                       "[/INST]",
                                       "[AVAILABLE_TOOLS]",
                                       "[/AVAILABLE_TOOLS]",
                                       "[TOOL_RESULTS]",
                                       "[/TOOL_RESULTS]",
                                       "[TOOL_CALLS]",
                                       "[IMG]",
                                       "<pad>",
                                       "[IMG_BREAK]",
                                       "[IMG_END]",
                                       "[PREFIX]",
                                       "[MIDDLE]",
                                       "[SUFFIX]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]"};
  specials.resize(static_cast<size_t>(n_special));
  if (const Json& listed = get(root, "special_tokens"); listed.is_array()) {
    for (const Json& token : listed) {
      ASSIGN_OR_RETURN(const int64_t rank, get_int(token, "rank", 0, n_special - 1));
      ASSIGN_OR_RETURN(specials[static_cast<size_t>(rank)], get_string(token, "token_str"));
    }
  }
  for (size_t i = 0; i < specials.size(); ++i) {
    if (specials[i].empty()) specials[i] = fmt::format("<SPECIAL_{}>", i);
    add_special(specials[i], static_cast<int32_t>(i), impl.get());
    if (specials[i] == "<s>") impl->post.prefix = {static_cast<int32_t>(i)};
  }
  return finish(std::move(impl), pattern);
}

}  // namespace trireme::text
