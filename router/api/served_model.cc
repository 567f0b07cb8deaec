#include "router/api/served_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "base/log.h"
#include "parallel/plan/model_spec.h"
#include "router/api/field_reader.h"
#include "text/model_text.h"

namespace trireme::router {
namespace {

constexpr size_t kMaxGenerationConfigBytes = 1 << 20;

}  // namespace

Result<GenerationDefaults> load_generation_defaults(const std::string& folder) {
  GenerationDefaults defaults;
  std::ifstream file(folder + "/generation_config.json", std::ios::binary);
  if (!file) return defaults;
  std::ostringstream text;
  text << file.rdbuf();
  JsonLimits limits;
  limits.max_bytes = kMaxGenerationConfigBytes;
  const auto parsed = parse_json(text.str(), limits);
  if (!parsed.ok()) return invalid_argument("generation_config.json is " + parsed.error().message);
  if (!parsed->is_object()) return invalid_argument("generation_config.json is no JSON object");
  FieldReader reader(*parsed);
  defaults.temperature = reader.number("temperature", 0, 100);
  defaults.top_p = reader.number("top_p", 0, 1);
  defaults.min_p = reader.number("min_p", 0, 1);
  defaults.repetition_penalty = reader.number("repetition_penalty", 1e-3, 100);
  defaults.top_k = reader.integer("top_k", -1, std::numeric_limits<int32_t>::max());
  defaults.max_new_tokens =
      reader.integer("max_new_tokens", 1, std::numeric_limits<int32_t>::max());
  if (!reader.ok()) {
    return invalid_argument("generation_config.json: " + reader.error()->message);
  }
  return defaults;
}

Result<ServedModel> load_served_model(const ModelConfig& config) {
  ASSIGN_OR_RETURN(const plan::ModelSpec spec, plan::load_model_spec(config.path));
  // A path to config.json itself serves made-up weights: there is no folder of files around it. A
  // GGUF file is all there is of a model.
  std::error_code ec;
  const std::filesystem::path path(config.path);
  const bool is_whole = std::filesystem::is_directory(path, ec) || path.extension() == ".gguf";
  const std::string folder = is_whole ? config.path : path.parent_path().string();
  ASSIGN_OR_RETURN(const text::ModelText text, text::ModelText::load(folder));
  ServedModel model;
  ASSIGN_OR_RETURN(model.defaults, load_generation_defaults(folder));
  model.name = config.served_name;
  if (model.name.empty()) model.name = std::filesystem::path(folder + "/").parent_path().filename();
  model.context =
      config.max_context > 0 ? std::min(config.max_context, spec.context) : spec.context;
  model.vocab = spec.vocab;
  model.encoder = spec.encoder.has_value();
  model.created_s = std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count();
  model.eos_ids = text.eos_ids().empty() ? spec.eos_ids : text.eos_ids();
  // An id that the model cannot produce ends nothing, and a replica would refuse it.
  std::erase_if(model.eos_ids, [&](int32_t id) { return id < 0 || id >= spec.vocab; });
  if (text.has_tokenizer()) model.tokenizer = text.tokenizer();
  if (!model.tokenizer) log::info("the model has no tokenizer: prompts are token ids");
  if (text.has_chat_template()) {
    if (const auto chat = text.chat_template(); !chat.ok()) {
      log::warn("chat requests will be refused: {}", chat.error().message);
    }
  }
  if (text.has_tokenizer() && text.has_chat_template()) {
    model.encode_chat = [text](const GenerationRequest& request, int64_t now_s) {
      text::ChatRequest chat;
      chat.messages_json = request.messages_json;
      chat.tools_json = request.tools_json;
      chat.documents_json = request.documents_json;
      chat.kwargs_json = request.template_kwargs_json;
      chat.add_generation_prompt = request.add_generation_prompt;
      chat.continue_final_message = request.continue_final_message;
      chat.parse_content = request.parse_special_tokens;
      chat.now_seconds = now_s;
      return text.encode_chat(chat);
    };
  }
  return model;
}

}  // namespace trireme::router
