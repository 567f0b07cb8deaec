// tokenizer.json: normalizer and pre-tokenizer.
#include "text/base64.h"
#include "text/tokenize/charsmap.h"
#include "text/tokenize/json_parts.h"
#include "text/tokenize/splitter.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

Status flatten_into(const Json& node, const char* list_key, int depth, StepNodes* out) {
  if (node.is_null()) return {};
  ASSIGN_OR_RETURN(const std::string type, get_string(node, "type"));
  if (type != "Sequence") {
    if (out->size() >= kMaxJsonSteps) return invalid_argument("a Sequence is too long or too deep");
    out->push_back(&node);
    return {};
  }
  const Json& list = get(node, list_key);
  if (!list.is_array()) return invalid_argument(fmt::format("\"{}\" is not a list", list_key));
  if (depth >= kMaxSequenceDepth || list.size() > kMaxJsonSteps) {
    return invalid_argument("a Sequence is too long or too deep");
  }
  for (const Json& inner : list) TRY(flatten_into(inner, list_key, depth + 1, out));
  return {};
}

Result<std::unique_ptr<NormalizerStep>> read_bert(const Json& node) {
  BertNormalizerOptions options;
  ASSIGN_OR_RETURN(options.clean_text, get_bool(node, "clean_text", true));
  ASSIGN_OR_RETURN(options.handle_chinese_chars, get_bool(node, "handle_chinese_chars", true));
  ASSIGN_OR_RETURN(options.lowercase, get_bool(node, "lowercase", true));
  // Unless it is said, accents go with capitals.
  ASSIGN_OR_RETURN(options.strip_accents, get_bool(node, "strip_accents", options.lowercase));
  return make_bert_normalizer(options);
}

Result<std::unique_ptr<NormalizerStep>> read_precompiled(const Json& node) {
  if (!node.contains("precompiled_charsmap")) {
    return invalid_argument("a Precompiled has no \"precompiled_charsmap\"");
  }
  ASSIGN_OR_RETURN(const std::string encoded, get_string(node, "precompiled_charsmap", ""));
  if (encoded.empty()) return std::unique_ptr<NormalizerStep>();
  const auto bytes = decode_base64(encoded);
  if (!bytes) return invalid_argument("\"precompiled_charsmap\" is not base64");
  ASSIGN_OR_RETURN(Charsmap map, Charsmap::parse(*bytes));
  return make_precompiled(std::move(map));
}

// Null for a step that does nothing.
Result<std::unique_ptr<NormalizerStep>> read_normalizer_step(const Json& node) {
  ASSIGN_OR_RETURN(const std::string type, get_string(node, "type"));
  if (type == "BertNormalizer") return read_bert(node);
  if (type == "Precompiled") return read_precompiled(node);
  if (type == "Nmt") return make_nmt();
  if (type == "StripAccents") return make_strip_accents();
  if (type == "Lowercase") return make_lowercase();
  if (type == "ByteLevel") return make_byte_level();
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, get_string(node, "prepend"));
    return make_prepend(std::move(prefix));
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(const JsonPattern pattern, read_pattern(node));
    ASSIGN_OR_RETURN(std::string content, get_string(node, "content"));
    return make_replace(pattern.text, pattern.is_regex, std::move(content));
  }
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, get_bool(node, "strip_left", true));
    ASSIGN_OR_RETURN(const bool right, get_bool(node, "strip_right", true));
    return make_strip(left, right);
  }
  return make_unicode_form(type);
}

Result<SplitBehavior> read_behavior(const Json& node, std::string_view otherwise) {
  ASSIGN_OR_RETURN(const std::string name, get_string(node, "behavior", otherwise));
  return split_behavior(name);
}

Status read_byte_level(const Json& node, bool as_bytes, PreTokenizerSteps* steps) {
  ASSIGN_OR_RETURN(const bool prefix, get_bool(node, "add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, get_bool(node, "use_regex", true));
  if (prefix) steps->push_back(make_prefix_space());
  if (use_regex) {
    ASSIGN_OR_RETURN(auto step, make_split(kGpt2Pattern, true, SplitBehavior::kIsolated, false));
    steps->push_back(std::move(step));
  }
  if (!as_bytes) steps->push_back(make_byte_alphabet());
  return {};
}

Result<std::unique_ptr<PreTokenizerStep>> read_metaspace(const Json& node) {
  ASSIGN_OR_RETURN(std::string replacement, get_string(node, "replacement", kSpaceMark));
  ASSIGN_OR_RETURN(const PrependScheme scheme, read_prepend_scheme(node));
  ASSIGN_OR_RETURN(const bool split, get_bool(node, "split", true));
  if (replacement.empty()) return invalid_argument("a Metaspace has an empty replacement");
  return make_metaspace(std::move(replacement), scheme, split);
}

Result<std::unique_ptr<PreTokenizerStep>> read_delimiter(const Json& node) {
  ASSIGN_OR_RETURN(const std::string delimiter, get_string(node, "delimiter"));
  if (delimiter.empty() || decode_at(delimiter, 0).length != delimiter.size()) {
    return invalid_argument("the delimiter of a CharDelimiterSplit is not one character");
  }
  return make_delimiter_split(decode_at(delimiter, 0).value);
}

Result<std::unique_ptr<PreTokenizerStep>> read_pre_tokenizer_step(const Json& node,
                                                                  const std::string& type) {
  if (type == "Split") {
    ASSIGN_OR_RETURN(const JsonPattern pattern, read_pattern(node));
    ASSIGN_OR_RETURN(const std::string name, get_string(node, "behavior"));
    ASSIGN_OR_RETURN(const SplitBehavior behavior, split_behavior(name));
    ASSIGN_OR_RETURN(const bool invert, get_bool(node, "invert", false));
    return make_split(pattern.text, pattern.is_regex, behavior, invert);
  }
  if (type == "Metaspace") return read_metaspace(node);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool each, get_bool(node, "individual_digits", false));
    return make_digits(each);
  }
  if (type == "BertPreTokenizer") return make_bert_split();
  if (type == "WhitespaceSplit") return make_whitespace_split();
  if (type == "Whitespace") return make_words_and_signs();
  if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const SplitBehavior behavior, read_behavior(node, "Isolated"));
    return make_punctuation(behavior);
  }
  if (type == "CharDelimiterSplit") return read_delimiter(node);
  if (type == "FixedLength") {
    ASSIGN_OR_RETURN(const int64_t length,
                     get(node, "length").is_null() ? 5 : get_int(node, "length", 1, 1 << 20));
    return make_fixed_length(static_cast<size_t>(length));
  }
  return unimplemented(fmt::format("the pre-tokenizer {} is not supported", type));
}

}  // namespace

Result<StepNodes> flatten_steps(const Json& node, const char* list_key) {
  StepNodes nodes;
  TRY(flatten_into(node, list_key, 0, &nodes));
  return nodes;
}

Result<JsonPattern> read_pattern(const Json& object) {
  const Json& pattern = get(object, "pattern");
  if (!get(pattern, "Regex").is_null()) {
    ASSIGN_OR_RETURN(std::string text, get_string(pattern, "Regex"));
    return JsonPattern{std::move(text), true};
  }
  if (get(pattern, "String").is_null()) {
    return invalid_argument("\"pattern\" has neither \"String\" nor \"Regex\"");
  }
  ASSIGN_OR_RETURN(std::string text, get_string(pattern, "String"));
  return JsonPattern{std::move(text), false};
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

Result<Normalizer> read_normalizer(const Json& node) {
  ASSIGN_OR_RETURN(const StepNodes nodes, flatten_steps(node, "normalizers"));
  NormalizerSteps steps;
  for (const Json* step_node : nodes) {
    ASSIGN_OR_RETURN(auto step, read_normalizer_step(*step_node));
    if (step != nullptr) steps.push_back(std::move(step));
  }
  return Normalizer(std::move(steps));
}

Result<PreTokenizerSteps> read_pre_tokenizer(const Json& node, bool byte_level_model,
                                             bool* byte_level) {
  ASSIGN_OR_RETURN(const StepNodes nodes, flatten_steps(node, "pretokenizers"));
  PreTokenizerSteps steps;
  for (const Json* step_node : nodes) {
    ASSIGN_OR_RETURN(const std::string type, get_string(*step_node, "type"));
    if (type == "ByteLevel") {
      const bool as_bytes = byte_level_model && step_node == nodes.back();
      TRY(read_byte_level(*step_node, as_bytes, &steps));
      *byte_level = as_bytes;
      continue;
    }
    ASSIGN_OR_RETURN(auto step, read_pre_tokenizer_step(*step_node, type));
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace trireme::text
