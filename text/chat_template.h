// Chat templates: the Jinja of published models, interpreted, never executed as anything else.
//
// Renders as the reference library does: trim_blocks, lstrip_blocks, loop controls, generation
// blocks, tojson, raise_exception, strftime_now with a clock that is handed in, an immutable
// sandbox. Not supported, with a clear error: include, import, extends and block.
//
// The result says which of its bytes came from the request (message texts, tool descriptions ...),
// so that control tokens spelled in them are not mistaken for the template's own:
// Tokenizer::encode_spans.
//
// A ChatTemplate is immutable and thread-safe; each render is bounded in steps, depth and bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/value.h"

namespace trireme::text {

struct RenderLimits {
  uint64_t max_steps = 4'000'000;      // nodes evaluated, and bytes made / 16
  int max_depth = 1000;                // evaluations inside each other, macro calls included
  size_t max_output_bytes = 32 << 20;  // of the result, and of any string on the way
};

// What a render is given. All but bos_token, eos_token and the like is the request's.
struct RenderRequest {
  Value messages;   // list of dicts
  Value tools;      // list, or none
  Value documents;  // list, or none
  bool add_generation_prompt = false;
  // The last message is left open: the text ends where that message's content ends.
  bool continue_final_message = false;
  // Further variables: special tokens of the model, and the request's own. Later ones win.
  std::vector<std::pair<std::string, Value>> variables;
  int64_t now_seconds = 0;  // local time as seconds since 1970, what strftime_now shows
};

struct Rendered {
  std::string text;
  // Byte ranges of `text` that came from the request: sorted, disjoint.
  std::vector<std::pair<size_t, size_t>> content_spans;
  // Byte ranges that the template marks as the assistant's.
  std::vector<std::pair<size_t, size_t>> generation_spans;
};

class ChatTemplate {
 public:
  static constexpr size_t kMaxSourceBytes = size_t{1} << 20;

  // Errors name the line: "line 3: expected ...". `sort_tools`: the keys of tools come in order, as
  // the tokenizers of some models have it.
  static Result<ChatTemplate> parse(std::string_view source, bool sort_tools = false);

  // Errors: invalid_argument for what the template or the request does wrong (raise_exception's
  // message comes as it is), resource_exhausted for a limit.
  Result<Rendered> render(const RenderRequest& request, const RenderLimits& limits = {}) const;

 private:
  struct Tree;
  explicit ChatTemplate(std::shared_ptr<const Tree> tree) : tree_(std::move(tree)) {}
  std::shared_ptr<const Tree> tree_;
};

}  // namespace trireme::text
