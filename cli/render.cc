// `trireme render`: what a chat template makes of conversations.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "parallel/plan/model_spec.h"
#include "text/model_text.h"
#include "text/read_file.h"

namespace trireme::cli {
namespace {

using text::Kind;
using text::Value;

constexpr size_t kMaxLineBytes = size_t{64} << 20;

struct Source {
  text::ChatTemplate chat;
  text::ChatTemplate chat_with_tools;  // the same one, unless the folder has one for tools
  std::vector<std::pair<std::string, Value>> variables;

  const text::ChatTemplate& chat_for(const text::RenderRequest& request) const {
    const bool tools = request.tools.is(Kind::kList) && !request.tools.items().empty();
    return tools ? chat_with_tools : chat;
  }
};

Result<Source> load_source(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error) || path.ends_with(".gguf")) {
    ASSIGN_OR_RETURN(const text::ModelText model, text::ModelText::load(path));
    ASSIGN_OR_RETURN(text::ChatTemplate chat, model.chat_template());
    ASSIGN_OR_RETURN(text::ChatTemplate with_tools, model.chat_template(/*with_tools=*/true));
    return Source{std::move(chat), std::move(with_tools), model.template_variables()};
  }
  ASSIGN_OR_RETURN(const std::string source,
                   text::read_file(path, text::ChatTemplate::kMaxSourceBytes));
  ASSIGN_OR_RETURN(text::ChatTemplate chat, text::ChatTemplate::parse(source));
  return Source{chat, chat, {}};
}

// The machine's local time, as if it were UTC.
int64_t local_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  localtime_r(&now, &local);
  return timegm(&local);
}

// "2024-02-09T07:05:03", with or without a time.
Result<int64_t> parse_now(const std::string& text) {
  std::tm t{};
  const int n = std::sscanf(text.c_str(), "%d-%d-%d%*1[T ]%d:%d:%d", &t.tm_year, &t.tm_mon,
                            &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec);
  if ((n != 3 && n != 5 && n != 6) || t.tm_mon < 1 || t.tm_mon > 12 || t.tm_mday < 1 ||
      t.tm_mday > 31 || t.tm_year < 1 || t.tm_year > 9999) {
    return invalid_argument("\"now\" is not a time such as 2024-02-09T07:05:03");
  }
  t.tm_year -= 1900;
  t.tm_mon -= 1;
  return static_cast<int64_t>(timegm(&t));
}

// A field of a given kind; none when absent or null.
Result<Value> field(const text::Dict& line, const char* name, Kind kind, const char* kind_name) {
  const Value* found = line.find(name);
  if (found == nullptr || found->is_none()) return Value::none();
  if (!found->is(kind))
    return invalid_argument(std::string("\"") + name + "\" is not " + kind_name);
  return *found;
}

Result<text::RenderRequest> read_request(const std::string& input, const Source& source) {
  if (input.size() > kMaxLineBytes) return invalid_argument("the line is longer than 64 MB");
  ASSIGN_OR_RETURN(const Value line, text::value_from_json(input, /*from_request=*/true));
  if (!line.is_dict()) return invalid_argument("the line is not a JSON object");
  const text::Dict& dict = line.as_dict();
  text::RenderRequest request;
  ASSIGN_OR_RETURN(request.messages, field(dict, "messages", Kind::kList, "a list"));
  if (request.messages.is_none()) return invalid_argument("the line has no \"messages\"");
  ASSIGN_OR_RETURN(request.tools, field(dict, "tools", Kind::kList, "a list"));
  ASSIGN_OR_RETURN(request.documents, field(dict, "documents", Kind::kList, "a list"));
  ASSIGN_OR_RETURN(const Value prompt,
                   field(dict, "add_generation_prompt", Kind::kBool, "true or false"));
  ASSIGN_OR_RETURN(const Value open,
                   field(dict, "continue_final_message", Kind::kBool, "true or false"));
  ASSIGN_OR_RETURN(const Value kwargs, field(dict, "kwargs", Kind::kDict, "an object"));
  ASSIGN_OR_RETURN(const Value now, field(dict, "now", Kind::kString, "a string"));
  request.add_generation_prompt = truthy(prompt);
  request.continue_final_message = truthy(open);
  request.variables = source.variables;
  if (kwargs.is_dict()) {
    for (const auto& [name, value] : kwargs.as_dict().entries)
      request.variables.emplace_back(name.str(), value);
  }
  request.now_seconds = local_now();
  if (now.is_string()) {
    ASSIGN_OR_RETURN(request.now_seconds, parse_now(now.str()));
  }
  return request;
}

}  // namespace

int run_render(int argc, char** argv) {
  std::string path;
  CLI::App app{
      "Renders conversations with a chat template: JSON lines in, JSON lines out.\n"
      "  {\"messages\", \"tools\", \"documents\", \"add_generation_prompt\", "
      "\"continue_final_message\",\n"
      "   \"kwargs\": {variables}, \"now\": \"2024-02-09T07:05:03\"}  ->  {\"rendered\"} or "
      "{\"error\"}",
      "trireme render"};
  app.footer(
      "Example:\n  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | trireme "
      "render models/llama-3");
  app.add_option("SOURCE", path, "a model folder, or a file with a Jinja template")->required();
  bool json = false;
  app.add_flag("--json", json, "JSON lines (always so)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  std::error_code none;
  if (!std::filesystem::exists(path, none)) {
    std::cerr << "error: " << plan::no_model_at(path).message << "\n";
    return 1;
  }
  const Result<Source> source = load_source(path);
  if (!source.ok()) {
    std::cerr << "error: " << path << ": " << source.error().message << "\n";
    return 1;
  }
  bool bad_line = false;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json answer;
    const auto request = read_request(line, *source);
    if (!request.ok()) {
      bad_line = true;
      answer["error"] = request.error().message;
    } else if (const auto rendered = source->chat_for(*request).render(*request); rendered.ok()) {
      answer["rendered"] = rendered->text;
    } else {
      answer["error"] = rendered.error().message;  // an answer, as raise_exception is one
    }
    std::cout << answer.dump(-1, ' ', true) << std::endl;  // ASCII: no separator inside a line
  }
  return bad_line ? 1 : 0;
}

}  // namespace trireme::cli
