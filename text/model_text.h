// Everything textual in a model folder or a GGUF file: tokenizer, chat template, special tokens,
// ids that end a generation.
//
// A folder without a tokenizer is fine (`has_tokenizer()` is false): such a model is served for
// token ids only. Immutable after load and thread-safe; copies share everything.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trireme::text {

// The parts of a chat request that a template sees, each as JSON text; empty means absent.
struct ChatRequest {
  std::string messages_json;   // a list
  std::string tools_json;      // a list
  std::string documents_json;  // a list
  std::string kwargs_json;     // an object: chat_template_kwargs
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  // True: control tokens that are spelled in the request's own text count as such.
  bool parse_content = false;
  int64_t now_seconds = 0;  // local time, seconds since 1970
};

class ModelText {
 public:
  // Errors: a file that is there but wrong. Missing files are no error, and a chat template that
  // cannot be parsed is one only for who asks for it: the model can still complete plain prompts.
  static Result<ModelText> load(const std::string& folder);
  // The tokenizer alone. kNotFound when the folder has none. `as_served`: with the BOS and EOS that
  // tokenizer_config.json asks for, as `load` has it; else what the tokenizer's own file says.
  static Result<Tokenizer> load_tokenizer(const std::string& folder, bool as_served = false);

  bool has_tokenizer() const;
  // Requires has_tokenizer().
  const Tokenizer& tokenizer() const;
  // True also for a template that cannot be parsed: who asks for it is told where it is wrong.
  bool has_chat_template() const;
  // The template of a chat with or without tools: a folder may have one of its own for tools.
  // failed_precondition when there is none, or what is wrong with it.
  Result<ChatTemplate> chat_template(bool with_tools = false) const;
  // bos_token and the like, as a template sees them.
  std::vector<std::pair<std::string, Value>> template_variables() const;

  // The template's text of a conversation.
  Result<Rendered> render_chat(const ChatRequest& request, const RenderLimits& limits = {}) const;
  // Its ids: control tokens are those of the template, never those spelled in the request. Nothing
  // is added to them.
  Result<std::vector<int32_t>> encode_chat(const ChatRequest& request,
                                           const RenderLimits& limits = {}) const;

  // As tokenizer_config.json spells them; empty when there is none.
  const std::string& bos_token() const;
  const std::string& eos_token() const;
  const std::string& pad_token() const;
  // Ids that end a generation: generation_config.json's, else config.json's, else the tokenizer's
  // eos token. Sorted.
  const std::vector<int32_t>& eos_ids() const;

 private:
  struct Parts;
  static Result<ModelText> load_gguf(const std::string& file);
  explicit ModelText(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

}  // namespace trireme::text
