// tokenizer.json: the sections of the file, one function each.
#include <algorithm>

#include "text/json_read.h"
#include "text/tokenize/bpe.h"
#include "text/tokenize/splitter.h"
#include "text/tokenize/tokenizer_impl.h"
#include "text/unicode/classes.h"

namespace trireme::text {

namespace {

constexpr size_t kMaxAddedTokens = 1 << 18;
constexpr size_t kMaxTokenBytes = 4096;
constexpr size_t kMaxSteps = 64;
constexpr int kMaxSequenceDepth = 8;

// A pattern is {"String": ..} or {"Regex": ..}.
struct Pattern {
  std::string text;
  bool is_regex;
};

Result<Pattern> read_pattern(const Json& object) {
  const Json& pattern = get(object, "pattern");
  if (!get(pattern, "Regex").is_null()) {
    ASSIGN_OR_RETURN(std::string text, get_string(pattern, "Regex"));
    return Pattern{std::move(text), true};
  }
  if (get(pattern, "String").is_null()) {
    return invalid_argument("\"pattern\" has neither \"String\" nor \"Regex\"");
  }
  ASSIGN_OR_RETURN(std::string text, get_string(pattern, "String"));
  return Pattern{std::move(text), false};
}

// Calls `add(step)` for a step, or for each step inside a Sequence.
template <typename Add>
Status for_each_step(const Json& node, const char* list_key, int depth, Add add) {
  if (node.is_null()) return {};
  ASSIGN_OR_RETURN(const std::string type, get_string(node, "type"));
  if (type != "Sequence") return add(node, type);
  const Json& list = get(node, list_key);
  if (!list.is_array()) return invalid_argument(fmt::format("\"{}\" is not a list", list_key));
  if (depth >= kMaxSequenceDepth || list.size() > kMaxSteps) {
    return invalid_argument("a Sequence is too long or too deep");
  }
  for (const Json& inner : list) TRY(for_each_step(inner, list_key, depth + 1, add));
  return {};
}

Status add_normalizer(const Json& node, const std::string& type, NormalizerSteps* steps) {
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, get_string(node, "prepend"));
    steps->push_back(make_prepend(std::move(prefix)));
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(const Pattern pattern, read_pattern(node));
    ASSIGN_OR_RETURN(std::string content, get_string(node, "content"));
    ASSIGN_OR_RETURN(auto step, make_replace(pattern.text, pattern.is_regex, std::move(content)));
    steps->push_back(std::move(step));
  } else if (type == "Lowercase") {
    steps->push_back(make_lowercase());
  } else if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, get_bool(node, "strip_left", true));
    ASSIGN_OR_RETURN(const bool right, get_bool(node, "strip_right", true));
    steps->push_back(make_strip(left, right));
  } else {
    ASSIGN_OR_RETURN(auto step, make_unicode_form(type));
    steps->push_back(std::move(step));
  }
  return {};
}

Result<PrependScheme> read_prepend_scheme(const Json& node) {
  // Files from before `prepend_scheme` say add_prefix_space.
  ASSIGN_OR_RETURN(const bool prefix, get_bool(node, "add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string name,
                   get_string(node, "prepend_scheme", prefix ? "always" : "never"));
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  return invalid_argument(fmt::format("the prepend scheme \"{}\" is unknown", name));
}

Status add_pre_tokenizer(const Json& node, const std::string& type, PreTokenizerSteps* steps,
                         bool* byte_level) {
  if (*byte_level) {
    return unimplemented("a pre-tokenizer behind ByteLevel is not supported");
  }
  if (type == "Split") {
    ASSIGN_OR_RETURN(const Pattern pattern, read_pattern(node));
    ASSIGN_OR_RETURN(const std::string name, get_string(node, "behavior"));
    ASSIGN_OR_RETURN(const SplitBehavior behavior, split_behavior(name));
    ASSIGN_OR_RETURN(const bool invert, get_bool(node, "invert", false));
    ASSIGN_OR_RETURN(auto step, make_split(pattern.text, pattern.is_regex, behavior, invert));
    steps->push_back(std::move(step));
  } else if (type == "ByteLevel") {
    ASSIGN_OR_RETURN(const bool prefix, get_bool(node, "add_prefix_space", true));
    ASSIGN_OR_RETURN(const bool use_regex, get_bool(node, "use_regex", true));
    if (prefix) steps->push_back(make_prefix_space());
    if (use_regex) {
      ASSIGN_OR_RETURN(auto step, make_split(kGpt2Pattern, true, SplitBehavior::kIsolated, false));
      steps->push_back(std::move(step));
    }
    *byte_level = true;
  } else if (type == "Metaspace") {
    ASSIGN_OR_RETURN(std::string replacement, get_string(node, "replacement", "\xE2\x96\x81"));
    ASSIGN_OR_RETURN(const PrependScheme scheme, read_prepend_scheme(node));
    ASSIGN_OR_RETURN(const bool split, get_bool(node, "split", true));
    if (replacement.empty()) return invalid_argument("a Metaspace has an empty replacement");
    steps->push_back(make_metaspace(std::move(replacement), scheme, split));
  } else if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool each, get_bool(node, "individual_digits", false));
    steps->push_back(
        make_class_split(kNumber, each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "WhitespaceSplit") {
    steps->push_back(make_class_split(kSpace, SplitBehavior::kRemoved));
  } else if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const std::string name, get_string(node, "behavior", "Isolated"));
    ASSIGN_OR_RETURN(const SplitBehavior behavior, split_behavior(name));
    steps->push_back(make_class_split(kPunctuation, behavior));
  } else {
    return unimplemented(fmt::format("the pre-tokenizer {} is not supported", type));
  }
  return {};
}

Status add_decoder(const Json& node, const std::string& type, DecoderConfig* config, bool* fused) {
  if (config->byte_level || (*fused && type != "Strip" && type != "Fuse")) {
    return unimplemented(fmt::format("the decoder {} in this place is not supported", type));
  }
  if (type == "ByteLevel") {
    config->byte_level = true;
  } else if (type == "ByteFallback") {
    config->byte_fallback = true;
  } else if (type == "Fuse") {
    *fused = true;
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(Pattern pattern, read_pattern(node));
    ASSIGN_OR_RETURN(std::string content, get_string(node, "content"));
    if (pattern.is_regex || pattern.text.empty() || config->byte_fallback) {
      return unimplemented(
          "a Replace decoder with a pattern, or behind ByteFallback, is not supported");
    }
    config->replacements.emplace_back(std::move(pattern.text), std::move(content));
  } else if (type == "Strip") {
    ASSIGN_OR_RETURN(const std::string content, get_string(node, "content"));
    ASSIGN_OR_RETURN(const int64_t start, get_int(node, "start", 0, 1024));
    ASSIGN_OR_RETURN(const int64_t stop, get_int(node, "stop", 0, 1024));
    if (!*fused || stop != 0 || content.size() != 1 || config->strip_start_count != 0) {
      return unimplemented("only a Strip decoder of leading characters behind Fuse is supported");
    }
    config->strip_start = content[0];
    config->strip_start_count = static_cast<uint32_t>(start);
  } else if (type == "Metaspace") {
    ASSIGN_OR_RETURN(config->metaspace, get_string(node, "replacement", "\xE2\x96\x81"));
    ASSIGN_OR_RETURN(const PrependScheme scheme, read_prepend_scheme(node));
    config->metaspace_strips_first = scheme != PrependScheme::kNever;
  } else {
    return unimplemented(fmt::format("the decoder {} is not supported", type));
  }
  return {};
}

// ["token", id] of the Bert and Roberta processors.
Result<int32_t> read_token_pair(const Json& node, const char* key) {
  const Json& pair = get(node, key);
  if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer()) {
    return invalid_argument(fmt::format("\"{}\" is not a token and its id", key));
  }
  const auto id = pair[1].get<int64_t>();
  if (id < 0 || id >= kMaxVocab)
    return invalid_argument(fmt::format("the id of \"{}\" is out of range", key));
  return static_cast<int32_t>(id);
}

Status add_template(const Json& node, PostProcessor* post) {
  const Json& single = get(node, "single");
  if (!single.is_array() || single.size() > kMaxSteps)
    return invalid_argument("\"single\" is not a short list");
  bool seen_text = false;
  for (const Json& part : single) {
    if (!get(part, "Sequence").is_null()) {
      if (seen_text) return invalid_argument("\"single\" names its sequence twice");
      seen_text = true;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string name, get_string(get(part, "SpecialToken"), "id"));
    const Json& ids = get(get(get(node, "special_tokens"), name), "ids");
    if (!ids.is_array() || ids.size() > kMaxSteps) {
      return invalid_argument(fmt::format("the template's token \"{}\" has no ids", name));
    }
    for (const Json& id : ids) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMaxVocab) {
        return invalid_argument(fmt::format("the template's token \"{}\" has a wrong id", name));
      }
      (seen_text ? post->suffix : post->prefix).push_back(id.get<int32_t>());
    }
  }
  return {};
}

Status add_post_processor(const Json& node, const std::string& type, PostProcessor* post) {
  if (type == "TemplateProcessing") return add_template(node, post);
  if (type == "ByteLevel" || type == "RobertaProcessing") {
    ASSIGN_OR_RETURN(const bool trim, get_bool(node, "trim_offsets", true));
    ASSIGN_OR_RETURN(const bool prefix, get_bool(node, "add_prefix_space", true));
    if (trim) {
      post->trim_offsets = true;
      post->add_prefix_space = prefix;
    }
    if (type == "ByteLevel") return {};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    ASSIGN_OR_RETURN(const int32_t cls, read_token_pair(node, "cls"));
    ASSIGN_OR_RETURN(const int32_t sep, read_token_pair(node, "sep"));
    post->prefix.push_back(cls);
    post->suffix.push_back(sep);
    return {};
  }
  return unimplemented(fmt::format("the post-processor {} is not supported", type));
}

Status read_added_tokens(const Json& list, std::vector<AddedToken>* out) {
  if (list.is_null()) return {};
  if (!list.is_array() || list.size() > kMaxAddedTokens) {
    return invalid_argument("\"added_tokens\" is not a list, or too long");
  }
  for (const Json& item : list) {
    AddedToken token;
    ASSIGN_OR_RETURN(const int64_t id, get_int(item, "id", 0, kMaxVocab - 1));
    token.id = static_cast<int32_t>(id);
    ASSIGN_OR_RETURN(token.content, get_string(item, "content"));
    if (token.content.size() > kMaxTokenBytes) {
      return invalid_argument(
          fmt::format("added token {} is longer than {} bytes", id, kMaxTokenBytes));
    }
    ASSIGN_OR_RETURN(token.single_word, get_bool(item, "single_word", false));
    ASSIGN_OR_RETURN(token.lstrip, get_bool(item, "lstrip", false));
    ASSIGN_OR_RETURN(token.rstrip, get_bool(item, "rstrip", false));
    ASSIGN_OR_RETURN(token.special, get_bool(item, "special", false));
    ASSIGN_OR_RETURN(token.normalized, get_bool(item, "normalized", !token.special));
    out->push_back(std::move(token));
  }
  return {};
}

Status read_vocab(const Json& vocab, BpeConfig* config) {
  if (!vocab.is_object() || vocab.empty())
    return invalid_argument("\"vocab\" is not an object with entries");
  if (vocab.size() > static_cast<size_t>(kMaxVocab))
    return invalid_argument("\"vocab\" has too many entries");
  config->vocab.reserve(vocab.size());
  for (const auto& [piece, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMaxVocab) {
      return invalid_argument(
          fmt::format("the id of \"{}\" is not a whole number in 0..{}", piece, kMaxVocab - 1));
    }
    config->vocab.emplace_back(piece, id.get<int32_t>());
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

Result<std::unique_ptr<Model>> read_model(const Json& node, bool byte_level) {
  if (!node.is_object()) return invalid_argument("\"model\" is not an object");
  // The oldest files have no type: only BPE has merges, and only Unigram a list for a vocabulary.
  const std::string guess = !get(node, "merges").is_null()  ? "BPE"
                            : get(node, "vocab").is_array() ? "Unigram"
                                                            : "WordPiece";
  ASSIGN_OR_RETURN(const std::string type, get_string(node, "type", guess));
  if (type != "BPE")
    return unimplemented(fmt::format("tokenizer models of type {} are not supported", type));
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string affix, get_string(node, key, ""));
    if (!affix.empty())
      return unimplemented(fmt::format("a BPE model with a {} is not supported", key));
  }
  BpeConfig config;
  config.byte_level = byte_level;
  ASSIGN_OR_RETURN(config.byte_fallback, get_bool(node, "byte_fallback", false));
  ASSIGN_OR_RETURN(config.ignore_merges, get_bool(node, "ignore_merges", false));
  ASSIGN_OR_RETURN(config.fuse_unk, get_bool(node, "fuse_unk", false));
  ASSIGN_OR_RETURN(config.unk_token, get_string(node, "unk_token", ""));
  TRY(read_vocab(get(node, "vocab"), &config));
  TRY(read_merges(get(node, "merges"), &config));
  ASSIGN_OR_RETURN(auto bpe, Bpe::build(config));
  return std::unique_ptr<Model>(std::move(bpe));
}

Error in_section(const char* section, const Error& error) {
  return {error.code, fmt::format("tokenizer.json, {}: {}", section, error.message)};
}

}  // namespace

#define IN_SECTION(name, expr)                                \
  do {                                                        \
    if (auto section_result = (expr); !section_result.ok()) { \
      return in_section(name, section_result.error());        \
    }                                                         \
  } while (false)

Result<std::shared_ptr<TokenizerImpl>> load_tokenizer_json(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "tokenizer.json"));
  if (!root.is_object()) return invalid_argument("tokenizer.json is not an object");
  auto impl = std::make_shared<TokenizerImpl>();
  NormalizerSteps normalizer;
  IN_SECTION("normalizer", for_each_step(get(root, "normalizer"), "normalizers", 0,
                                         [&](const Json& node, const std::string& type) {
                                           return add_normalizer(node, type, &normalizer);
                                         }));
  impl->normalizer = Normalizer(std::move(normalizer));
  bool byte_level = false;
  IN_SECTION("pre_tokenizer", for_each_step(get(root, "pre_tokenizer"), "pretokenizers", 0,
                                            [&](const Json& node, const std::string& type) {
                                              return add_pre_tokenizer(
                                                  node, type, &impl->pre_tokenizer, &byte_level);
                                            }));
  bool fused = false;
  IN_SECTION("decoder", for_each_step(get(root, "decoder"), "decoders", 0,
                                      [&](const Json& node, const std::string& type) {
                                        return add_decoder(node, type, &impl->decoder_config,
                                                           &fused);
                                      }));
  impl->decoder_config.join_with_spaces = get(root, "decoder").is_null();
  IN_SECTION("post_processor", for_each_step(get(root, "post_processor"), "processors", 0,
                                             [&](const Json& node, const std::string& type) {
                                               return add_post_processor(node, type, &impl->post);
                                             }));
  IN_SECTION("added_tokens", read_added_tokens(get(root, "added_tokens"), &impl->added));
  auto model = read_model(get(root, "model"), byte_level);
  if (!model.ok()) return in_section("model", model.error());
  impl->model = std::move(model).value();
  IN_SECTION("added_tokens", impl->finish());
  return impl;
}

#undef IN_SECTION

}  // namespace trireme::text
