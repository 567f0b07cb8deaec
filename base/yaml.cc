#include "base/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/emitterstyle.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>
#include <unordered_map>

#include "base/utf8.h"
#include "base/yaml_internal.h"

namespace trireme::yaml {
namespace {

// Thrown by the builder through yaml-cpp's parser and caught in parse(): the only way to stop it
// early.
struct Refusal {
  Error error;
};

[[noreturn]] void refuse(int line, const std::string& message,
                         ErrorCode code = ErrorCode::kInvalidArgument) {
  throw Refusal{{code, fmt::format("line {}: {}", line, message)}};
}

// Builds the tree from the parser's events, within the limits.
class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(const Limits& limits) : limits_(limits) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { add(mark, Node::Kind::kNull); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark.line + 1, "aliases are not supported; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    check_tag(mark, tag);
    if (value.size() > limits_.max_text_bytes) {
      refuse(
          mark.line + 1,
          fmt::format("a text has {} bytes; the limit is {}", value.size(), limits_.max_text_bytes),
          ErrorCode::kResourceExhausted);
    }
    for (const char c : value) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        refuse(mark.line + 1, "a text holds a line break or another control character");
      }
    }
    if (!open_.empty() && open_.back()->kind == Node::Kind::kMapping && !awaits_value_.back()) {
      add_key(mark, value);
      return;
    }
    Node* node = add(mark, Node::Kind::kScalar);
    node->quoted = tag == "!";
    node->text = value;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    open(mark, Node::Kind::kSequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    open(mark, Node::Kind::kMapping);
  }
  void OnMapEnd() override { close(); }

  Node take() { return std::move(root_); }

 private:
  static void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      refuse(mark.line + 1, fmt::format("the tag {} is not supported", clipped(tag)));
    }
  }

  void add_key(const YAML::Mark& mark, const std::string& key) {
    Node& map = *open_.back();
    const auto [it, is_new] = keys_.back().emplace(key, mark.line + 1);
    if (!is_new) {
      refuse(mark.line + 1, fmt::format("the key \"{}\" occurs twice; the first is on line {}",
                                        clipped(key), it->second));
    }
    map.entries.push_back({key, mark.line + 1, {}});
    awaits_value_.back() = true;
  }

  // The place of the next node: the root, a new item, or the value of the key read last.
  Node* add(const YAML::Mark& mark, Node::Kind kind) {
    const int line = mark.line + 1;
    if (++n_nodes_ > limits_.max_nodes) {
      refuse(line, fmt::format("there are more than {} values", limits_.max_nodes),
             ErrorCode::kResourceExhausted);
    }
    Node* node = &root_;
    if (!open_.empty()) {
      Node& parent = *open_.back();
      if (parent.kind == Node::Kind::kSequence) {
        node = &parent.items.emplace_back();
      } else {
        if (!awaits_value_.back()) refuse(line, "a key must be a plain text");
        node = &parent.entries.back().value;
        awaits_value_.back() = false;
      }
    }
    node->kind = kind;
    node->line = line;
    return node;
  }

  void open(const YAML::Mark& mark, Node::Kind kind) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) {
      refuse(mark.line + 1, fmt::format("values are nested deeper than {}", limits_.max_depth),
             ErrorCode::kResourceExhausted);
    }
    // The pointer stays good: a parent gets no further child before this one is closed.
    open_.push_back(add(mark, kind));
    awaits_value_.push_back(false);
    keys_.emplace_back();
  }

  void close() {
    open_.pop_back();
    awaits_value_.pop_back();
    keys_.pop_back();
  }

  const Limits& limits_;
  Node root_;
  size_t n_nodes_ = 0;
  std::vector<Node*> open_;
  std::vector<bool> awaits_value_;
  std::vector<std::unordered_map<std::string, int>> keys_;  // key -> line, per open mapping
};

// yaml-cpp guesses other encodings and ends a document at some control characters: neither gets
// that far.
void check_characters(std::string_view text) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '\n') ++line;
    if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
      refuse(line, fmt::format("the control character 0x{:02x} is not allowed", c));
    }
    const size_t length = utf8_length(text, i);
    if (length == 0) refuse(line, "the text is not valid UTF-8");
    i += length;
  }
}

}  // namespace

Result<Node> parse(std::string_view text, const Limits& limits) {
  if (text.size() > limits.max_bytes) {
    return resource_exhausted(
        fmt::format("the YAML text has {} bytes; the limit is {}", text.size(), limits.max_bytes));
  }
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  try {
    check_characters(text);
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder(limits);
    parser.HandleNextDocument(builder);
    Builder second(limits);
    if (parser.HandleNextDocument(second)) {
      return invalid_argument("the YAML text holds more than one document");
    }
    return builder.take();
  } catch (const Refusal& refusal) {
    return refusal.error;
  } catch (const YAML::Exception& e) {
    return invalid_argument(fmt::format("line {}: not valid YAML: {}", e.mark.line + 1, e.msg));
  } catch (const std::exception& e) {
    return invalid_argument(fmt::format("not valid YAML: {}", e.what()));
  }
}

}  // namespace trireme::yaml
