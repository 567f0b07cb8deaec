#include "text/model_text.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "base/gguf.h"
#include "text/config_files.h"
#include "text/read_file.h"
#include "text/tokenize/gguf_tokenizer.h"
#include "text/tokenize/model.h"
#include "text/tokenizer_files.h"

namespace trireme::text {

struct ModelText::Parts {
  std::optional<Tokenizer> tokenizer;
  std::map<std::string, Result<ChatTemplate>> templates;  // by name: "default", "tool_use", ...
  std::string bos;
  std::string eos;
  std::string pad;
  std::string unk;
  std::vector<int32_t> eos_ids;
};

namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxEosIds = 1024;
constexpr size_t kMaxTemplates = 64;

bool file_exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

using Sources = std::map<std::string, std::string>;

// "chat_template" is a string, or a list of named ones. The first stands in for a missing default.
Status add_config_templates(const Json& config, Sources* out) {
  const Json& entry = get(config, "chat_template");
  if (entry.is_null()) return {};
  if (entry.is_string()) {
    (*out)["default"] = entry.get<std::string>();
    return {};
  }
  if (!entry.is_array() || entry.size() > kMaxTemplates)
    return invalid_argument("tokenizer_config.json: \"chat_template\" is neither text nor list");
  std::string first;
  for (const Json& named : entry) {
    ASSIGN_OR_RETURN(const std::string name, get_string(named, "name"));
    ASSIGN_OR_RETURN(const std::string text, get_string(named, "template"));
    if (first.empty()) first = text;
    (*out)[name] = text;
  }
  out->try_emplace("default", first);
  return {};
}

// Files beside the config win over what it holds. chat_template.json is what a multimodal model's
// processor reads: it counts where nothing else says how to chat.
Status add_template_files(const fs::path& folder, Sources* out) {
  if (out->empty()) {
    ASSIGN_OR_RETURN(const Json processor, read_json_file(folder / "chat_template.json"));
    ASSIGN_OR_RETURN(const std::string text, get_string(processor, "chat_template", ""));
    if (!text.empty()) (*out)["default"] = text;
  }
  if (file_exists(folder / "chat_template.jinja")) {
    ASSIGN_OR_RETURN((*out)["default"],
                     read_file(folder / "chat_template.jinja", ChatTemplate::kMaxSourceBytes));
  }
  std::error_code error;
  size_t n = 0;
  for (fs::directory_iterator file(folder / "additional_chat_templates", error), end;
       !error && file != end && n < kMaxTemplates; file.increment(error), ++n) {
    if (file->path().extension() != ".jinja") continue;
    ASSIGN_OR_RETURN((*out)[file->path().stem().string()],
                     read_file(file->path(), ChatTemplate::kMaxSourceBytes));
  }
  return {};
}

// "eos_token_id" is an id or a list of ids.
Status read_eos_ids(const Json& config, const char* file, std::vector<int32_t>* out) {
  const Json& entry = get(config, "eos_token_id");
  if (entry.is_null()) return {};
  const Json list = entry.is_array() ? entry : Json::array({entry});
  if (static_cast<int64_t>(list.size()) > kMaxEosIds)
    return invalid_argument(fmt::format("{}: too many eos ids", file));
  for (const Json& id : list) {
    // A number beyond 63 bits would read as a negative one.
    const bool huge = id.is_number_unsigned() && id.get<uint64_t>() > INT32_MAX;
    if (!id.is_number_integer() || huge || id.get<int64_t>() < -1 ||
        id.get<int64_t>() >= kMaxVocab) {
      return invalid_argument(
          fmt::format("{}: \"eos_token_id\" is not an id or a list of ids", file));
    }
    if (id.get<int64_t>() >= 0) out->push_back(id.get<int32_t>());
  }
  return {};
}

void sort_and_unique(std::vector<int32_t>* ids) {
  std::sort(ids->begin(), ids->end());
  ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
}

Result<Value> parse_part(const std::string& json, const char* what, Kind kind) {
  if (json.empty()) return Value::none();
  auto value = value_from_json(json, /*from_request=*/true);
  if (!value.ok()) return invalid_argument(fmt::format("\"{}\": {}", what, value.error().message));
  if (!value->is(kind) && !value->is_none()) {
    return invalid_argument(
        fmt::format("\"{}\" is not {}", what, kind == Kind::kList ? "a list" : "an object"));
  }
  return value;
}

}  // namespace

Result<ModelText> ModelText::load_gguf(const std::string& file) {
  auto parts = std::make_shared<Parts>();
  ASSIGN_OR_RETURN(const std::shared_ptr<const Gguf> gguf, Gguf::open(file));
  auto text = load_gguf_text(*gguf);
  if (!text.ok() && text.error().code == ErrorCode::kNotFound) return ModelText(std::move(parts));
  if (!text.ok()) return text.error();
  parts->tokenizer = std::move(text->tokenizer);
  parts->bos = std::move(text->bos);
  parts->eos = std::move(text->eos);
  parts->pad = std::move(text->pad);
  parts->unk = std::move(text->unk);
  parts->eos_ids = std::move(text->eos_ids);
  sort_and_unique(&parts->eos_ids);
  if (!text->chat_template.empty()) {
    parts->templates.emplace("default", ChatTemplate::parse(text->chat_template));
  }
  return ModelText(std::move(parts));
}

Result<ModelText> ModelText::load(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::optional<std::string> gguf, find_gguf(folder));
  if (gguf.has_value()) return load_gguf(*gguf);
  const fs::path path(folder);
  auto parts = std::make_shared<Parts>();
  ASSIGN_OR_RETURN(const Json config, read_tokenizer_config(path));
  parts->bos = token_text(config, "bos_token");
  parts->eos = token_text(config, "eos_token");
  parts->pad = token_text(config, "pad_token");
  parts->unk = token_text(config, "unk_token");
  if (has_tokenizer_files(path)) {
    ASSIGN_OR_RETURN(parts->tokenizer, load_tokenizer_files(path, BosRule::kConfig));
  }
  Sources sources;
  TRY(add_config_templates(config, &sources));
  TRY(add_template_files(path, &sources));
  const bool sort_tools = python_tokenizer(config) == kKimiPython;
  for (const auto& [name, source] : sources) {
    if (!source.empty()) parts->templates.emplace(name, ChatTemplate::parse(source, sort_tools));
  }
  for (const char* file : {"generation_config.json", "config.json"}) {
    if (!parts->eos_ids.empty()) break;
    ASSIGN_OR_RETURN(const Json json, read_json_file(path / file));
    TRY(read_eos_ids(json, file, &parts->eos_ids));
  }
  if (parts->eos_ids.empty() && parts->tokenizer && !parts->eos.empty()) {
    const int32_t id = parts->tokenizer->token_to_id(parts->eos);
    if (id >= 0) parts->eos_ids.push_back(id);
  }
  sort_and_unique(&parts->eos_ids);
  return ModelText(std::move(parts));
}

Result<Tokenizer> ModelText::load_tokenizer(const std::string& folder, bool as_served) {
  ASSIGN_OR_RETURN(const std::optional<std::string> gguf_path, find_gguf(folder));
  if (gguf_path.has_value()) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Gguf> gguf, Gguf::open(*gguf_path));
    ASSIGN_OR_RETURN(GgufText text, load_gguf_text(*gguf));
    return std::move(text.tokenizer);
  }
  return load_tokenizer_files(folder, as_served ? BosRule::kConfig : BosRule::kTokenizerFile);
}

Result<ChatTemplate> ModelText::chat_template(bool with_tools) const {
  const auto& templates = parts_->templates;
  auto found = with_tools ? templates.find("tool_use") : templates.end();
  if (found == templates.end()) found = templates.find("default");
  if (found == templates.end()) return failed_precondition("the model has no chat template");
  return found->second;
}

std::vector<std::pair<std::string, Value>> ModelText::template_variables() const {
  std::vector<std::pair<std::string, Value>> variables;
  const std::pair<const char*, const std::string&> tokens[] = {{"bos_token", parts_->bos},
                                                               {"eos_token", parts_->eos},
                                                               {"pad_token", parts_->pad},
                                                               {"unk_token", parts_->unk}};
  for (const auto& [name, token] : tokens) {
    if (!token.empty()) variables.emplace_back(name, Value::string(token));
  }
  return variables;
}

bool ModelText::has_tokenizer() const { return parts_->tokenizer.has_value(); }
bool ModelText::has_chat_template() const { return parts_->templates.contains("default"); }
const std::string& ModelText::bos_token() const { return parts_->bos; }
const std::string& ModelText::eos_token() const { return parts_->eos; }
const std::string& ModelText::pad_token() const { return parts_->pad; }
const std::vector<int32_t>& ModelText::eos_ids() const { return parts_->eos_ids; }

const Tokenizer& ModelText::tokenizer() const {
  CHECK(has_tokenizer()) << "the model folder has no tokenizer";
  return *parts_->tokenizer;
}

Result<Rendered> ModelText::render_chat(const ChatRequest& request,
                                        const RenderLimits& limits) const {
  RenderRequest render;
  ASSIGN_OR_RETURN(render.messages, parse_part(request.messages_json, "messages", Kind::kList));
  ASSIGN_OR_RETURN(render.tools, parse_part(request.tools_json, "tools", Kind::kList));
  ASSIGN_OR_RETURN(render.documents, parse_part(request.documents_json, "documents", Kind::kList));
  ASSIGN_OR_RETURN(const Value kwargs,
                   parse_part(request.kwargs_json, "chat_template_kwargs", Kind::kDict));
  render.add_generation_prompt = request.add_generation_prompt;
  render.continue_final_message = request.continue_final_message;
  render.now_seconds = request.now_seconds;
  render.variables = template_variables();
  if (kwargs.is_dict()) {
    for (const auto& [name, value] : kwargs.as_dict().entries) {
      // What the render itself supplies is not the request's to replace.
      for (const char* own : {"messages", "tools", "documents", "add_generation_prompt"}) {
        if (name.str() == own)
          return invalid_argument(fmt::format("chat_template_kwargs may not set \"{}\"", own));
      }
      render.variables.emplace_back(name.str(), value);
    }
  }
  const bool with_tools = render.tools.is(Kind::kList) && !render.tools.items().empty();
  ASSIGN_OR_RETURN(const ChatTemplate chat, chat_template(with_tools));
  return chat.render(render, limits);
}

Result<std::vector<int32_t>> ModelText::encode_chat(const ChatRequest& request,
                                                    const RenderLimits& limits) const {
  if (!has_tokenizer()) return failed_precondition("the model has no tokenizer");
  ASSIGN_OR_RETURN(const Rendered rendered, render_chat(request, limits));
  ASSIGN_OR_RETURN(
      Encoding encoding,
      tokenizer().encode_spans(rendered.text, request.parse_content ? std::vector<ContentSpan>()
                                                                    : rendered.content_spans));
  return std::move(encoding.ids);
}

}  // namespace trireme::text
