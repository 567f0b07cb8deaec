#include <fmt/format.h>

#include "router/api/parse_fields.h"

namespace trireme::router {
namespace {

// Content is a string, null, or text parts; parts are joined by line ends, as templates for text
// expect one string.
bool read_content(FieldReader& reader, size_t index, const Json& content, Json* out) {
  const std::string where = fmt::format("messages[{}].content", index);
  if (content.is_string() || content.is_null()) {
    *out = content;
    return true;
  }
  const auto refuse = [&](ApiError error) {
    reader.fail(std::move(error));
    return false;
  };
  if (!content.is_array()) {
    return refuse(bad_request(where + " must be a string or a list of parts", "messages"));
  }
  std::string joined;
  bool first = true;
  for (const Json& part : content) {
    const auto type = part.is_object() ? part.find("type") : part.end();
    if (!part.is_object() || type == part.end() || !type->is_string()) {
      return refuse(bad_request(where + " must hold parts with a type", "messages"));
    }
    const auto& name = type->get_ref<const std::string&>();
    if (name != "text" && name != "input_text" && name != "output_text") {
      return refuse(
          not_implemented(where + " may hold text parts only: this model reads text", "messages"));
    }
    const auto text = part.find("text");
    if (text == part.end() || !text->is_string()) {
      return refuse(bad_request(where + " has a text part without text", "messages"));
    }
    if (!first) joined += '\n';
    first = false;
    joined += text->get_ref<const std::string&>();
  }
  *out = std::move(joined);
  return true;
}

// Templates walk a call's arguments as an object; clients send them as JSON text.
bool read_tool_calls(FieldReader& reader, size_t index, const RequestBounds& bounds,
                     Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return true;
  const std::string where = fmt::format("messages[{}].tool_calls", index);
  if (!calls->is_array()) {
    reader.fail(bad_request(where + " must be a list", "messages"));
    return false;
  }
  for (Json& call : *calls) {
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (!call.is_object() || function == call.end() || !function->is_object()) {
      reader.fail(bad_request(where + " must hold objects with a function", "messages"));
      return false;
    }
    const auto arguments = function->find("arguments");
    if (arguments == function->end() || !arguments->is_string()) continue;
    JsonLimits limits;
    limits.max_bytes = static_cast<size_t>(bounds.limits.body_bytes);
    limits.max_depth = bounds.limits.json_depth;
    limits.max_keys = static_cast<size_t>(bounds.limits.json_keys);
    auto parsed = parse_json(arguments->get_ref<const std::string&>(), limits);
    if (parsed.ok()) *arguments = std::move(*parsed);
  }
  return true;
}

void read_messages(FieldReader& reader, const RequestBounds& bounds, GenerationRequest* out) {
  const Json* messages = reader.ok() ? reader.find("messages") : nullptr;
  if (!reader.ok()) return;
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return reader.fail(bad_request("messages must be a list of at least one message", "messages"));
  }
  if (messages->size() > static_cast<size_t>(bounds.limits.messages)) {
    return reader.fail(bad_request(
        fmt::format("there are more than {} messages", bounds.limits.messages), "messages"));
  }
  Json checked = Json::array();
  for (size_t i = 0; i < messages->size(); ++i) {
    const Json& message = (*messages)[i];
    const auto role = message.is_object() ? message.find("role") : message.end();
    if (!message.is_object() || role == message.end() || !role->is_string()) {
      return reader.fail(
          bad_request(fmt::format("messages[{}] must be an object with a role", i), "messages"));
    }
    if (role->get_ref<const std::string&>().size() > 64) {
      return reader.fail(bad_request(fmt::format("messages[{}].role is too long", i), "messages"));
    }
    const bool has_calls = message.contains("tool_calls") && !message["tool_calls"].is_null();
    const auto content = message.find("content");
    if (!has_calls && (content == message.end() || content->is_null())) {
      return reader.fail(bad_request(fmt::format("messages[{}] has no content", i), "messages"));
    }
    Json copy = message;
    if (content != message.end() && !read_content(reader, i, *content, &copy["content"])) return;
    if (!read_tool_calls(reader, i, bounds, copy)) return;
    checked.push_back(std::move(copy));
  }
  out->messages_json = checked.dump();
}

void read_tools(FieldReader& reader, GenerationRequest* out) {
  const Json* choice = reader.find("tool_choice");
  const Json* tools = reader.find("tools");
  if (tools != nullptr && !tools->is_array()) {
    return reader.fail(bad_request("tools must be a list", "tools"));
  }
  if (choice != nullptr && !(choice->is_string() && (*choice == "none" || *choice == "auto"))) {
    return reader.fail(not_implemented(
        "tool_choice other than none or auto is not served: tool calls are not parsed here, the "
        "model's answer is returned as text",
        "tool_choice"));
  }
  if (tools == nullptr || tools->empty()) return;
  for (const Json& tool : *tools) {
    const auto function = tool.is_object() ? tool.find("function") : tool.end();
    if (!tool.is_object() || function == tool.end() || !function->is_object() ||
        !function->contains("name") || !(*function)["name"].is_string()) {
      return reader.fail(bad_request("each tool must have a function with a name", "tools"));
    }
  }
  out->tools_json = tools->dump();
}

}  // namespace

void read_chat_fields(FieldReader& reader, const RequestBounds& bounds, GenerationRequest* out) {
  read_messages(reader, bounds, out);
  read_tools(reader, out);
  if (reader.find("chat_template") != nullptr) {
    reader.fail(not_implemented("a chat template in a request is not served; the model's is used",
                                "chat_template"));
  }
  if (const Json* documents = reader.find("documents")) {
    if (!documents->is_array()) {
      reader.fail(bad_request("documents must be a list", "documents"));
    } else if (!documents->empty()) {
      out->documents_json = documents->dump();
    }
  }
  Json kwargs = Json::object();
  if (const Json* given = reader.find("chat_template_kwargs")) {
    if (!given->is_object()) {
      reader.fail(bad_request("chat_template_kwargs must be an object", "chat_template_kwargs"));
    } else {
      kwargs = *given;
    }
  }
  if (const auto effort = reader.string("reasoning_effort", 64)) {
    kwargs["reasoning_effort"] = *effort;
  }
  if (!kwargs.empty()) out->template_kwargs_json = kwargs.dump();
  out->continue_final_message = reader.boolean("continue_final_message").value_or(false);
  out->parse_special_tokens = reader.boolean("parse_special_tokens").value_or(false);
  out->add_generation_prompt =
      reader.boolean("add_generation_prompt").value_or(!out->continue_final_message);
  if (out->continue_final_message && out->add_generation_prompt) {
    reader.fail(bad_request("continue_final_message and add_generation_prompt exclude each other",
                            "continue_final_message"));
  }
}

}  // namespace trireme::router
