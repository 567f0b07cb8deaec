// `trireme tokenize`: JSON lines to token ids and back, with a model folder's own tokenizer.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/usage_error.h"
#include "parallel/plan/model_spec.h"
#include "text/detokenizer.h"
#include "text/model_text.h"

namespace trireme::cli {
namespace {

constexpr JsonLimits kLineLimits = {.max_bytes = size_t{256} << 20, .max_values = size_t{1} << 26};

Result<bool> flag(const Json& line, const char* name, bool otherwise) {
  const auto found = line.find(name);
  if (found == line.end() || found->is_null()) return otherwise;
  if (!found->is_boolean())
    return invalid_argument(std::string("\"") + name + "\" is not true or false");
  return found->get<bool>();
}

Result<Json> encode_line(const text::Tokenizer& tokenizer, const Json& line) {
  if (!line["text"].is_string()) return invalid_argument("\"text\" is not a string");
  text::EncodeOptions options{.offsets = true};
  ASSIGN_OR_RETURN(options.add_special_tokens, flag(line, "add_special_tokens", true));
  ASSIGN_OR_RETURN(options.parse_special, flag(line, "parse_special", true));
  ASSIGN_OR_RETURN(const text::Encoding encoding,
                   tokenizer.encode(line["text"].get_ref<const std::string&>(), options));
  Json answer;
  answer["ids"] = encoding.ids;
  answer["offsets"] = encoding.offsets;
  return answer;
}

Result<std::vector<int32_t>> read_ids(const Json& line, int32_t vocab_size) {
  const Json& list = line["ids"];
  if (!list.is_array()) return invalid_argument("\"ids\" is not a list");
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= vocab_size) {
      return invalid_argument("\"ids\" holds " + id.dump() + ", which is not in 0.." +
                              std::to_string(vocab_size - 1));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<Json> decode_line(const text::Tokenizer& tokenizer, const Json& line) {
  ASSIGN_OR_RETURN(const bool skip_special, flag(line, "skip_special_tokens", false));
  ASSIGN_OR_RETURN(const bool stream, flag(line, "stream", false));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, read_ids(line, tokenizer.vocab_size()));
  Json answer;
  if (!stream) {
    answer["text"] = tokenizer.decode(ids, skip_special);
    return answer;
  }
  text::Detokenizer detokenizer(tokenizer, skip_special);
  answer["pieces"] = Json::array();
  for (const int32_t id : ids) answer["pieces"].push_back(detokenizer.push(id));
  answer["flush"] = detokenizer.flush();
  return answer;
}

Result<Json> answer_line(const text::Tokenizer& tokenizer, const std::string& input) {
  ASSIGN_OR_RETURN(const Json line, parse_json(input, kLineLimits));
  if (!line.is_object()) return invalid_argument("the line is not a JSON object");
  if (line.contains("text")) return encode_line(tokenizer, line);
  if (line.contains("ids")) return decode_line(tokenizer, line);
  return invalid_argument("the line has neither \"text\" nor \"ids\"");
}

}  // namespace

int run_tokenize(int argc, char** argv) {
  std::string folder;
  CLI::App app{
      "Turns text into token ids and back: JSON lines in, JSON lines out.\n"
      "  {\"text\", \"add_special_tokens\": true}    -> {\"ids\", \"offsets\"} (offsets in code "
      "points)\n"
      "  {\"ids\", \"skip_special_tokens\": false}   -> {\"text\"}\n"
      "  {\"ids\", \"stream\": true}                 -> {\"pieces\", \"flush\"}: what a stream "
      "shows after each id",
      "trireme tokenize"};
  app.footer("Example:\n  echo '{\"text\": \"Hello\"}' | trireme tokenize models/llama-3");
  app.add_option(
         "MODEL_DIR", folder,
         "a folder with tokenizer.json, tokenizer.model, tiktoken.model, tekken.json, a .tiktoken "
         "file, vocab.json with merges.txt, vocab.txt or a GGUF file; or a GGUF file")
      ->required();
  bool as_served = false;
  app.add_flag("--as-served", as_served,
               "obey add_bos_token and add_eos_token of tokenizer_config.json, as serve does");
  bool json = false;
  app.add_flag("--json", json, "JSON lines (always so)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  std::error_code none;
  if (!std::filesystem::exists(folder, none)) {
    std::cerr << "error: " << plan::no_model_at(folder).message << "\n";
    return 1;
  }
  if (std::filesystem::is_regular_file(folder, none) && !folder.ends_with(".gguf")) {
    std::cerr << "error: " << folder << " is a file; give the folder that holds it\n";
    return 1;
  }
  const auto tokenizer = text::ModelText::load_tokenizer(folder, as_served);
  if (!tokenizer.ok()) {
    std::cerr << "error: " << folder << ": " << tokenizer.error().message << "\n";
    return 1;
  }
  bool failed = false;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Result<Json> answer = answer_line(*tokenizer, line);
    failed = failed || !answer.ok();
    std::cout
        << (answer.ok() ? *answer : Json{{"error", answer.error().message}}).dump(-1, ' ', true)
        << std::endl;
  }
  return failed ? 1 : 0;
}

}  // namespace trireme::cli
