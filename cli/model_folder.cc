#include "cli/model_folder.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/gguf.h"
#include "parallel/plan/format.h"
#include "text/model_text.h"
#include "worker/checkpoint_check.h"

namespace trireme::cli {
namespace {

// A folder may hold a configuration alone.
bool holds_weights(const std::filesystem::path& path) {
  std::error_code error;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (std::filesystem::exists(path / name, error)) return true;
  }
  const auto gguf = find_gguf(path.string());
  return gguf.ok() && gguf->has_value();
}

void look_at_weights(const std::string& model, const plan::ModelSpec& spec, ModelFolder* out) {
  const auto found = worker::check_checkpoint(model, spec);
  if (found.ok()) {
    out->n_tensors = found->n_tensors;
    out->weights = fmt::format("{} tensors, all as the configuration says",
                               plan::format_grouped(static_cast<int64_t>(found->n_tensors)));
    if (!found->note.empty()) out->weights += "; " + found->note;
  } else {
    out->weights = found.error().message;
    if (holds_weights(model)) out->wrong = found.error().message;
  }
}

void look_at_text(const std::string& model, const plan::ModelSpec& spec, ModelFolder* out) {
  const auto text = text::ModelText::load(model);
  if (!text.ok()) {
    out->tokenizer = text.error().message;
    if (!out->wrong) out->wrong = text.error().message;
    return;
  }
  out->eos_ids = text->eos_ids().empty() ? spec.eos_ids : text->eos_ids();
  if (!text->has_tokenizer()) {
    out->tokenizer = "none: prompts of token ids alone";
    return;
  }
  out->n_tokens = text->tokenizer().vocab_size();
  out->tokenizer = plan::format_grouped(*out->n_tokens) + " tokens";
  if (!text->has_chat_template()) {
    out->tokenizer += ", no chat template";
  } else if (const auto chat = text->chat_template(); !chat.ok()) {
    out->tokenizer += ", a chat template that cannot be used: " + chat.error().message;
  } else {
    out->chat_template = true;
    out->tokenizer += ", chat template";
  }
}

}  // namespace

std::optional<ModelFolder> look_into(const std::string& model, const plan::ModelSpec& spec) {
  std::error_code error;
  const std::filesystem::path path(model);
  if (!std::filesystem::is_directory(path, error) && path.extension() != ".gguf") {
    return std::nullopt;
  }
  ModelFolder folder;
  look_at_weights(model, spec, &folder);
  look_at_text(model, spec, &folder);
  return folder;
}

Json folder_json(const ModelFolder& folder) {
  return {{"tensors", folder.n_tensors ? Json(*folder.n_tensors) : Json(nullptr)},
          {"wrong", folder.wrong ? Json(*folder.wrong) : Json(nullptr)},
          {"tokens", folder.n_tokens ? Json(*folder.n_tokens) : Json(nullptr)},
          {"chat_template", folder.chat_template},
          {"eos_token_ids", folder.eos_ids}};
}

}  // namespace trireme::cli
