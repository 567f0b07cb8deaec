#include "text/tokenizer_files.h"

#include <algorithm>
#include <optional>

#include "text/config_files.h"
#include "text/read_file.h"
#include "text/tokenize/bpe.h"
#include "text/tokenize/tokenizer_impl.h"
#include "text/tokenize/vocab_files.h"

namespace trireme::text {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxListedTokens = 1 << 18;
constexpr size_t kMaxTokenBytes = 4096;

// What tokenizer_config.json says of the tokenizer.
struct Settings {
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::string bos;
  std::string eos;
  std::string tokenizer_class;
  std::string python_class;  // python_tokenizer()
  bool clean_up = false;
  WordListOptions word_list;
  std::vector<std::string> special;  // spellings of the named special tokens
  std::vector<AddedToken> listed;    // added_tokens_decoder
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
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (std::string token = token_text(config, key); !token.empty()) {
      settings.special.push_back(std::move(token));
    }
  }
  ASSIGN_OR_RETURN(settings.word_list.lowercase, get_bool(config, "do_lower_case", true));
  ASSIGN_OR_RETURN(settings.word_list.split_chinese,
                   get_bool(config, "tokenize_chinese_chars", true));
  ASSIGN_OR_RETURN(settings.tokenizer_class, get_string(config, "tokenizer_class", ""));
  settings.python_class = python_tokenizer(config);
  ASSIGN_OR_RETURN(settings.clean_up, get_bool(config, "clean_up_tokenization_spaces", false));
  TRY(read_listed(get(config, "added_tokens_decoder"), &settings.listed));
  return settings;
}

// {"content": id}, as releases had it before "added_tokens_decoder".
Status read_added_json(const fs::path& folder, std::vector<AddedToken>* out) {
  ASSIGN_OR_RETURN(const Json list, read_json_file(folder / "added_tokens.json"));
  if (list.size() > kMaxListedTokens) return invalid_argument("added_tokens.json is too large");
  for (const auto& [content, id] : list.items()) {
    if (content.empty() || content.size() > kMaxTokenBytes || !id.is_number_unsigned() ||
        id.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocab)) {
      return invalid_argument(fmt::format("added_tokens.json: \"{}\" has no id of a vocabulary",
                                          content.substr(0, 80)));
    }
    out->push_back({.id = id.get<int32_t>(), .content = content});
  }
  return {};
}

Result<Settings> load_settings(const fs::path& folder) {
  ASSIGN_OR_RETURN(const Json config, read_tokenizer_config(folder));
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

constexpr const char* kTiktokenModel = "tiktoken.model";

// Ranks whose pattern stands in Python code of the folder: known by the code's name.
Loaded load_tiktoken_model(const fs::path& folder, const Settings& settings) {
  if (settings.python_class == kKimiPython || settings.python_class == kMoonshotPython) {
    ASSIGN_OR_RETURN(const std::string bytes,
                     read_file(folder / kTiktokenModel, Tokenizer::kMaxFileBytes));
    return load_ranks(bytes, RankFamily::kKimi, settings.listed);
  }
  return unimplemented(fmt::format(
      "{} of the tokenizer '{}' does not say how text is split, and code of a folder is never run",
      kTiktokenModel, settings.python_class.substr(0, 80)));
}

bool has_merges(const fs::path& folder) {
  return file_exists(folder / "vocab.json") && file_exists(folder / "merges.txt");
}

// The class of a tokenizer whose files do not say what it is: the config's word for it, else what
// the model's kind implies.
Result<std::string> class_of(const fs::path& folder, const Settings& settings) {
  std::string name = settings.tokenizer_class;
  if (name.ends_with("Fast")) name.resize(name.size() - std::string_view("Fast").size());
  if (!name.empty()) return name;
  ASSIGN_OR_RETURN(const Json config, read_json_file(folder / "config.json"));
  ASSIGN_OR_RETURN(const std::string kind, get_string(config, "model_type", "gpt2"));
  if (kind == "gpt2") return std::string("GPT2Tokenizer");
  if (kind == "bert") return std::string("BertTokenizer");
  if (kind.starts_with("qwen")) return std::string("Qwen2Tokenizer");
  return kind;
}

// vocab.json with merges.txt, or vocab.txt.
Loaded load_vocab_files(const fs::path& folder, const Settings& settings) {
  constexpr size_t kMax = Tokenizer::kMaxFileBytes;
  ASSIGN_OR_RETURN(const std::string kind, class_of(folder, settings));
  std::vector<AddedToken> added = settings.listed;
  if (added.empty()) TRY(read_added_json(folder, &added));
  const bool merges = has_merges(folder);
  if (!merges && kind == "BertTokenizer") {
    ASSIGN_OR_RETURN(const std::string words, read_file(folder / "vocab.txt", kMax));
    ASSIGN_OR_RETURN(const std::string json,
                     word_list_tokenizer_json(words, settings.word_list, std::move(added)));
    return load_tokenizer_json(json);
  }
  const bool qwen = kind == "Qwen2Tokenizer";
  if (!merges || (!qwen && kind != "GPT2Tokenizer")) {
    return unimplemented(fmt::format(
        "the folder has no tokenizer.json, and {} of a '{}' does not say how text is split",
        merges ? "vocab.json" : "vocab.txt", kind.substr(0, 60)));
  }
  ASSIGN_OR_RETURN(const std::string vocab, read_file(folder / "vocab.json", kMax));
  ASSIGN_OR_RETURN(const std::string pairs, read_file(folder / "merges.txt", kMax));
  std::vector<std::string> special = settings.special;
  special.emplace_back("<|endoftext|>");
  ASSIGN_OR_RETURN(
      const std::string json,
      merges_tokenizer_json(vocab, pairs, qwen ? MergesFamily::kQwen2 : MergesFamily::kGpt2,
                            std::move(added), special));
  return load_tokenizer_json(json);
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
  if (file_exists(folder / kTiktokenModel)) return load_tiktoken_model(folder, settings);
  if (const fs::path ranks = rank_file(folder); !ranks.empty()) {
    ASSIGN_OR_RETURN(const std::string bytes, read_file(ranks, kMax));
    return load_ranks(bytes, RankFamily::kQwen, settings.listed);
  }
  if (has_merges(folder) || file_exists(folder / "vocab.txt")) {
    return load_vocab_files(folder, settings);
  }
  return not_found(
      "the folder has no tokenizer: neither tokenizer.json nor tokenizer.model nor vocab.json with "
      "merges.txt");
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
  for (const char* name : {"tokenizer.json", "tekken.json", "tokenizer.model", kTiktokenModel}) {
    if (file_exists(folder / name)) return true;
  }
  return has_merges(folder) || file_exists(folder / "vocab.txt") || !rank_file(folder).empty();
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
