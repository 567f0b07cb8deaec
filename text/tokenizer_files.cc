#include "text/tokenizer_files.h"

#include <algorithm>
#include <optional>

#include "text/json_read.h"
#include "text/read_file.h"
#include "text/tokenize/bpe.h"
#include "text/tokenize/tokenizer_impl.h"

namespace trireme::text {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxConfigBytes = 64 << 20;
constexpr size_t kMaxListedTokens = 1 << 18;
constexpr size_t kMaxTokenBytes = 4096;

// What tokenizer_config.json says of the tokenizer.
struct Settings {
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::string bos;
  std::string eos;
  std::string tokenizer_class;
  bool clean_up = false;
  std::vector<AddedToken> listed;  // added_tokens_decoder
};

bool file_exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// The first *.tiktoken by name; empty when there is none.
fs::path rank_file(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error)) {
    if (file->path().extension() == ".tiktoken") found.push_back(file->path());
  }
  return found.empty() ? fs::path() : *std::min_element(found.begin(), found.end());
}

std::string token_text(const Json& config, const char* key) {
  const Json& token = get(config, key);
  const Json& text = token.is_object() ? get(token, "content") : token;
  return text.is_string() ? text.get<std::string>() : std::string();
}

// {"id": {"content", "lstrip", ...}}
Status read_listed(const Json& list, std::vector<AddedToken>* out) {
  if (list.is_null()) return {};
  if (!list.is_object() || list.size() > kMaxListedTokens) {
    return invalid_argument("\"added_tokens_decoder\" is not an object, or too large");
  }
  for (const auto& [key, item] : list.items()) {
    AddedToken token;
    const bool digits =
        !key.empty() && key.size() < 9 &&
        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    token.id = digits ? std::stoi(key) : -1;
    if (token.id < 0 || token.id >= kMaxVocab) {
      return invalid_argument(fmt::format("\"added_tokens_decoder\": \"{}\" is not an id", key));
    }
    ASSIGN_OR_RETURN(token.content, get_string(item, "content"));
    if (token.content.empty() || token.content.size() > kMaxTokenBytes) {
      return invalid_argument(
          fmt::format("\"added_tokens_decoder\": token {} is empty or too long", key));
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

Result<Settings> read_settings(const Json& config) {
  Settings settings;
  if (!get(config, "add_bos_token").is_null()) {
    ASSIGN_OR_RETURN(settings.add_bos, get_bool(config, "add_bos_token", false));
  }
  if (!get(config, "add_eos_token").is_null()) {
    ASSIGN_OR_RETURN(settings.add_eos, get_bool(config, "add_eos_token", false));
  }
  settings.bos = token_text(config, "bos_token");
  settings.eos = token_text(config, "eos_token");
  ASSIGN_OR_RETURN(settings.tokenizer_class, get_string(config, "tokenizer_class", ""));
  ASSIGN_OR_RETURN(settings.clean_up, get_bool(config, "clean_up_tokenization_spaces", false));
  TRY(read_listed(get(config, "added_tokens_decoder"), &settings.listed));
  return settings;
}

Result<Settings> load_settings(const fs::path& folder) {
  const fs::path path = folder / "tokenizer_config.json";
  if (!file_exists(path)) return Settings();
  ASSIGN_OR_RETURN(const std::string bytes, read_file(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(const Json config, parse_json(bytes, "tokenizer_config.json"));
  if (!config.is_object()) return invalid_argument("tokenizer_config.json is not an object");
  auto settings = read_settings(config);
  if (!settings.ok()) {
    return Error{settings.error().code, "tokenizer_config.json: " + settings.error().message};
  }
  return settings;
}

using Loaded = Result<std::shared_ptr<TokenizerImpl>>;

Loaded load_model_file(const std::string& bytes, const Settings& settings) {
  if (looks_like_ranks(bytes)) {
    const bool qwen =
        settings.tokenizer_class.starts_with("Q") || settings.tokenizer_class.starts_with("q");
    return load_ranks(bytes, qwen ? RankFamily::kQwen : RankFamily::kLlama3, settings.listed);
  }
  // A SentencePiece file alone does not say whether a BOS is wanted; the config does, with Llama's
  // default.
  SentencePieceOptions options;
  options.add_bos = settings.add_bos.value_or(true);
  options.add_eos = settings.add_eos.value_or(false);
  return load_sentencepiece(bytes, options, settings.listed);
}

Loaded load_files(const fs::path& folder, const Settings& settings) {
  constexpr size_t kMax = Tokenizer::kMaxFileBytes;
  if (file_exists(folder / "tokenizer.json")) {
    ASSIGN_OR_RETURN(const std::string json, read_file(folder / "tokenizer.json", kMax));
    return load_tokenizer_json(json);
  }
  if (file_exists(folder / "tekken.json")) {
    ASSIGN_OR_RETURN(const std::string json, read_file(folder / "tekken.json", kMax));
    return load_tekken(json);
  }
  if (file_exists(folder / "tokenizer.model")) {
    ASSIGN_OR_RETURN(const std::string bytes, read_file(folder / "tokenizer.model", kMax));
    return load_model_file(bytes, settings);
  }
  if (const fs::path ranks = rank_file(folder); !ranks.empty()) {
    ASSIGN_OR_RETURN(const std::string bytes, read_file(ranks, kMax));
    return load_ranks(bytes, RankFamily::kQwen, settings.listed);
  }
  return not_found("the folder has neither tokenizer.json nor tokenizer.model");
}

// These classes of the reference take the config's word over the file's.
bool config_may_remove(const std::string& tokenizer_class) {
  for (const char* name : {"Llama", "CodeLlama", "Gemma", "Cohere"}) {
    if (tokenizer_class.starts_with(name)) return true;
  }
  return false;
}

// Puts the id of `token` at one end of what is added to a text, or takes it away.
void obey(std::optional<bool> wanted, const std::string& token, const Settings& settings,
          bool in_front, TokenizerImpl* impl) {
  if (!wanted || token.empty()) return;
  const auto found = impl->added_by_content.find(token);
  const int32_t id =
      found != impl->added_by_content.end() ? found->second : impl->model->token_to_id(token);
  if (id < 0) return;
  auto& ids = in_front ? impl->post.prefix : impl->post.suffix;
  const bool there = std::find(ids.begin(), ids.end(), id) != ids.end();
  if (*wanted && !there) {
    ids.insert(in_front ? ids.begin() : ids.end(), id);
  } else if (!*wanted && there && config_may_remove(settings.tokenizer_class)) {
    std::erase(ids, id);
  }
}

}  // namespace

bool has_tokenizer_files(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tekken.json", "tokenizer.model"}) {
    if (file_exists(folder / name)) return true;
  }
  return !rank_file(folder).empty();
}

Result<Tokenizer> load_tokenizer_files(const fs::path& folder, BosRule rule) {
  ASSIGN_OR_RETURN(const Settings settings, load_settings(folder));
  ASSIGN_OR_RETURN(auto impl, load_files(folder, settings));
  if (rule == BosRule::kConfig) {
    obey(settings.add_bos, settings.bos, settings, true, impl.get());
    obey(settings.add_eos, settings.eos, settings, false, impl.get());
  }
  // The reference's Python layer tidies spaces for every model but BPE.
  const bool bpe = dynamic_cast<const Bpe*>(impl->model.get()) != nullptr;
  impl->decoder.set_clean_up(settings.clean_up && !bpe);
  return Tokenizer::from_impl(std::move(impl));
}

}  // namespace trireme::text
