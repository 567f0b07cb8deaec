#include "text/tokenize/vocab_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/json_read.h"
#include "text/tokenize/model.h"
#include "text/tokenize/splitter.h"
#include "text/unicode/utf8.h"

namespace trireme::text {
namespace {

constexpr size_t kMaxMerges = size_t{1} << 24;

// The added tokens, with those of `special` that are entries of the vocabulary.
Json added_json(std::vector<AddedToken> added, const std::vector<std::string>& special,
                const Json& vocab) {
  for (const std::string& name : special) {
    const bool listed = std::any_of(added.begin(), added.end(),
                                    [&](const AddedToken& token) { return token.content == name; });
    const Json& id = get(vocab, name);
    if (listed || !id.is_number_integer()) continue;
    added.push_back({.id = id.get<int32_t>(), .content = name, .special = true});
  }
  Json list = Json::array();
  for (const AddedToken& token : added) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

// The next line, without its end; false at the text's end.
bool next_line(std::string_view* text, std::string_view* line) {
  if (text->empty()) return false;
  const size_t end = std::min(text->find('\n'), text->size());
  *line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  if (line->ends_with('\r')) line->remove_suffix(1);
  return true;
}

// "left right" per line; the first line may be a comment with the format's version.
Result<Json> read_merges(std::string_view text) {
  Json merges = Json::array();
  std::string_view line;
  for (size_t n = 1; next_line(&text, &line); ++n) {
    if (line.empty() || (n == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos || !is_valid_utf8(line)) {
      return invalid_argument(fmt::format("merges.txt, line {}: not two tokens", n));
    }
    if (merges.size() >= kMaxMerges) return invalid_argument("merges.txt has too many merges");
    merges.push_back(Json::array({line.substr(0, space), line.substr(space + 1)}));
  }
  return merges;
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", use_regex}};
}

Json pre_tokenizer(MergesFamily family) {
  if (family == MergesFamily::kGpt2) return byte_level(true);
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kQwen2Pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level(false)})}};
}

}  // namespace

Result<std::string> merges_tokenizer_json(std::string_view vocab_json, std::string_view merges_txt,
                                          MergesFamily family, std::vector<AddedToken> added,
                                          const std::vector<std::string>& special) {
  ASSIGN_OR_RETURN(Json vocab, parse_json(vocab_json, "vocab.json"));
  if (!vocab.is_object()) return invalid_argument("vocab.json is not an object");
  ASSIGN_OR_RETURN(Json merges, read_merges(merges_txt));
  const bool nfc = family == MergesFamily::kQwen2;
  const Json tokenizer = {
      {"added_tokens", added_json(std::move(added), special, vocab)},
      {"normalizer", nfc ? Json{{"type", "NFC"}} : Json()},
      {"pre_tokenizer", pre_tokenizer(family)},
      {"post_processor", byte_level(false)},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}}}};
  return tokenizer.dump();
}

Result<std::string> word_list_tokenizer_json(std::string_view vocab_txt,
                                             const WordListOptions& options,
                                             std::vector<AddedToken> added) {
  Json vocab = Json::object();
  std::string_view line;
  for (int64_t id = 0; next_line(&vocab_txt, &line); ++id) {
    if (id >= kMaxVocab) return invalid_argument("vocab.txt has too many lines");
    if (!is_valid_utf8(line)) {
      return invalid_argument(fmt::format("vocab.txt, line {}: not UTF-8", id + 1));
    }
    if (!vocab.emplace(line, id).second) {
      return invalid_argument(fmt::format("vocab.txt, line {}: as an earlier line", id + 1));
    }
  }
  for (const char* name : {"[UNK]", "[CLS]", "[SEP]"}) {
    if (!vocab.contains(name)) return invalid_argument(fmt::format("vocab.txt has no {}", name));
  }
  const auto around = [&](const char* name) {
    return Json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const auto described = [&](const char* name) {
    return Json{{"id", name}, {"ids", {vocab[name]}}, {"tokens", {name}}};
  };
  const Json tokenizer = {
      {"added_tokens",
       added_json(std::move(added), {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}, vocab)},
      {"normalizer",
       {{"type", "BertNormalizer"},
        {"clean_text", true},
        {"handle_chinese_chars", options.split_chinese},
        {"strip_accents", nullptr},
        {"lowercase", options.lowercase}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {around("[CLS]"), {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, around("[SEP]")}},
        {"special_tokens", {{"[CLS]", described("[CLS]")}, {"[SEP]", described("[SEP]")}}}}},
      {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
      {"model",
       {{"type", "WordPiece"},
        {"unk_token", "[UNK]"},
        {"continuing_subword_prefix", "##"},
        {"max_input_chars_per_word", 100},
        {"vocab", vocab}}}};
  return tokenizer.dump();
}

}  // namespace trireme::text
