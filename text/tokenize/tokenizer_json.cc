// tokenizer.json: the file as a whole, and its added tokens. The other sections are in json_*.cc.
#include <algorithm>

#include "text/tokenize/json_parts.h"

namespace trireme::text {

namespace {

constexpr size_t kMaxAddedTokens = 1 << 18;
constexpr size_t kMaxTokenBytes = 4096;

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

Error in_section(const char* section, const Error& error) {
  return {error.code, fmt::format("tokenizer.json, {}: {}", section, error.message)};
}

}  // namespace

// Reads a section, or says in which one the error is.
#define READ_SECTION(target, section, expr)                                       \
  do {                                                                            \
    auto section_result = (expr);                                                 \
    if (!section_result.ok()) return in_section(section, section_result.error()); \
    (target) = std::move(section_result).value();                                 \
  } while (false)

Result<std::shared_ptr<TokenizerImpl>> load_tokenizer_json(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "tokenizer.json"));
  if (!root.is_object()) return invalid_argument("tokenizer.json is not an object");
  auto impl = std::make_shared<TokenizerImpl>();
  const Json& model = get(root, "model");
  bool byte_level = false;
  READ_SECTION(impl->normalizer, "normalizer", read_normalizer(get(root, "normalizer")));
  READ_SECTION(impl->pre_tokenizer, "pre_tokenizer",
               read_pre_tokenizer(get(root, "pre_tokenizer"), takes_bytes(model), &byte_level));
  READ_SECTION(impl->decoder_config, "decoder", read_decoder(get(root, "decoder")));
  READ_SECTION(impl->post, "post_processor", read_post_processor(get(root, "post_processor")));
  if (auto status = read_added_tokens(get(root, "added_tokens"), &impl->added); !status.ok()) {
    return in_section("added_tokens", status.error());
  }
  READ_SECTION(impl->model, "model", read_model(model, byte_level));
  if (auto status = impl->finish(); !status.ok()) {
    return in_section("added_tokens", status.error());
  }
  return impl;
}

#undef READ_SECTION

}  // namespace trireme::text
