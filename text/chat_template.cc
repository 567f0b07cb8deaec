#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/jinja/text_ops.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

struct ChatTemplate::Tree {
  jinja::Body body;
  bool sort_tools = false;
};

namespace {

Error to_error(const jinja::TemplateFailure& failure) {
  if (failure.raised) return invalid_argument(failure.message);
  const std::string message =
      failure.line > 0 ? fmt::format("chat template, line {}: {}", failure.line, failure.message)
                       : fmt::format("chat template: {}", failure.message);
  return failure.limit ? resource_exhausted(message) : invalid_argument(message);
}

// The reference gives templates one text under both names of the field: what is missing is put in
// front.
Value with_reasoning_names(const Value& message) {
  if (!message.is_dict()) return message;
  const Dict& dict = message.as_dict();
  const Value* text = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* found = dict.find(name);
    if (found != nullptr && !found->is_none() && text == nullptr) text = found;
  }
  if (text == nullptr) return message;
  Dict out;
  for (const char* name : {"thinking", "reasoning_content"}) {
    if (dict.find(name) == nullptr) out.set(Value::string(name), *text);
  }
  for (const auto& [key, value] : dict.entries) out.set(key, value);
  return Value::dict(std::move(out));
}

// With the keys of every dict in it in order.
Value sorted_by_key(const Value& value) {
  if (value.is(Kind::kList)) {
    std::vector<Value> items;
    for (const Value& item : value.items()) items.push_back(sorted_by_key(item));
    return Value::list(std::move(items));
  }
  if (!value.is_dict()) return value;
  auto entries = value.as_dict().entries;
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.first.str() < b.first.str(); });
  Dict sorted;
  for (auto& [key, item] : entries) sorted.set(key, sorted_by_key(item));
  return Value::dict(std::move(sorted));
}

// Stands at the end of an open last message while it is rendered. Its blank shows whether the
// template trims.
constexpr std::string_view kFinalMark = "CONTINUE_FINAL_MESSAGE_TAG ";

Value with_mark(const Value& text) {
  Text marked = text.as_text();
  append_text(Value::content(std::string(kFinalMark)).as_text(), &marked);
  return Value::text(std::move(marked));
}

Value with_entry(const Value& dict, std::string_view key, Value value) {
  Dict copy = dict.as_dict();
  copy.set(Value::string(std::string(key)), std::move(value));
  return Value::dict(std::move(copy));
}

// The last message with the mark behind its text: behind its content, or behind its last part that
// has a text.
Result<Value> mark_final(const Value& message) {
  const Value* content = message.is_dict() ? message.as_dict().find("content") : nullptr;
  if (content != nullptr && content->is_string())
    return with_entry(message, "content", with_mark(*content));
  if (content != nullptr && content->is_sequence()) {
    std::vector<Value> parts = content->items();
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      const Value* text = part->is_dict() ? part->as_dict().find("text") : nullptr;
      if (text == nullptr || !text->is_string()) continue;
      *part = with_entry(*part, "text", with_mark(*text));
      return with_entry(message, "content", Value::list(std::move(parts)));
    }
  }
  return invalid_argument(
      "continue_final_message is set but the final message has no text to continue");
}

// Cuts the rendered text where the final message ends.
Status cut_at_mark(Text* text) {
  const std::string_view mark = kFinalMark.substr(0, kFinalMark.size() - 1);
  const size_t at = text->bytes.rfind(mark);
  if (at == std::string::npos) {
    return invalid_argument(
        "continue_final_message is set but the final message does not appear in the rendered chat");
  }
  const bool trimmed = text->bytes.compare(at, kFinalMark.size(), kFinalMark) != 0;
  *text = jinja::sub_text(*text, 0, at);
  if (trimmed) *text = jinja::strip(*text, nullptr, false, true);
  return {};
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, bool sort_tools) {
  if (source.size() > kMaxSourceBytes) {
    return invalid_argument(
        fmt::format("a chat template of {} bytes is longer than the limit of {}", source.size(),
                    kMaxSourceBytes));
  }
  if (!is_valid_utf8(source)) return invalid_argument("the chat template is not valid UTF-8");
  try {
    auto tree = std::make_shared<Tree>();
    tree->body = jinja::parse_template(source);
    tree->sort_tools = sort_tools;
    return ChatTemplate(std::move(tree));
  } catch (const jinja::TemplateFailure& failure) {
    return to_error(failure);
  }
}

Result<Rendered> ChatTemplate::render(const RenderRequest& request,
                                      const RenderLimits& limits) const {
  if (!request.messages.is(Kind::kList)) return invalid_argument("the messages are not a list");
  std::vector<Value> messages;
  for (const Value& message : request.messages.items())
    messages.push_back(with_reasoning_names(message));
  if (request.continue_final_message) {
    if (request.add_generation_prompt) {
      return invalid_argument(
          "continue_final_message and add_generation_prompt exclude each other");
    }
    if (messages.empty()) {
      return invalid_argument("continue_final_message is set but the conversation is empty");
    }
    ASSIGN_OR_RETURN(messages.back(), mark_final(messages.back()));
  }
  Value tools = request.tools.is_undefined() ? Value::none() : request.tools;
  if (tree_->sort_tools) tools = sorted_by_key(tools);
  std::vector<std::pair<std::string, Value>> variables = {
      {"messages", Value::list(std::move(messages))},
      {"tools", std::move(tools)},
      {"documents", request.documents.is_undefined() ? Value::none() : request.documents},
      {"add_generation_prompt", Value::boolean(request.add_generation_prompt)},
  };
  variables.insert(variables.end(), request.variables.begin(), request.variables.end());
  try {
    jinja::Interpreter interpreter(limits, request.now_seconds);
    Text text = interpreter.run(tree_->body, std::move(variables));
    if (request.continue_final_message) TRY(cut_at_mark(&text));
    return Rendered{std::move(text.bytes), std::move(text.content), interpreter.generation_spans()};
  } catch (const jinja::TemplateFailure& failure) {
    return to_error(failure);
  }
}

}  // namespace trireme::text
