#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/yaml.h"
#include "base/yaml_internal.h"

namespace trireme::yaml {
namespace {

std::string found(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kScalar:
      return fmt::format("\"{}\"", clipped(node.text));
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMapping:
      return "a mapping";
  }
  return "nothing";
}

}  // namespace

MapReader::MapReader(const Node& node, std::string path, bool with_lines)
    : node_(node), path_(std::move(path)), with_lines_(with_lines) {
  if (node.kind != Node::Kind::kMapping && node.kind != Node::Kind::kNull) {
    const std::string who = path_.empty() ? "the file" : fmt::format("`{}`", path_);
    fail(node.line,
         fmt::format("{} must be a mapping of keys to values, not {}", who, found(node)));
  }
}

std::string MapReader::path_of(const char* key) const {
  return path_.empty() ? std::string(key) : path_ + "." + key;
}

std::string MapReader::item_path(const char* key, size_t index) const {
  return fmt::format("{}[{}]", path_of(key), index);
}

void MapReader::fail(int line, std::string message) {
  if (!status_.ok()) return;
  if (with_lines_) message = fmt::format("line {}: {}", line, message);
  status_ = invalid_argument(std::move(message));
}

void MapReader::fail_expected(const char* key, const Node& node, const std::string& expected) {
  fail(node.line, fmt::format("`{}` must be {}, not {}", path_of(key), expected, found(node)));
}

void MapReader::merge(const Status& status) {
  if (status_.ok() && !status.ok()) status_ = status.error();
}

const Node* MapReader::find(const char* key) {
  known_.emplace_back(key);
  if (!status_.ok()) return nullptr;
  for (const Node::Entry& entry : node_.entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

const Node* MapReader::scalar(const char* key, const char* expected, bool plain) {
  const Node* node = find(key);
  if (node == nullptr) return nullptr;
  if (node->kind == Node::Kind::kScalar && !(plain && node->quoted)) return node;
  if (node->kind == Node::Kind::kScalar) {
    fail(node->line, fmt::format("`{}` must be {}, not the quoted text {}", path_of(key), expected,
                                 found(*node)));
  } else {
    fail_expected(key, *node, expected);
  }
  return nullptr;
}

template <typename T>
void MapReader::integer_as(const char* key, T* value, int64_t min, int64_t max) {
  const std::string expected = fmt::format("an integer from {} to {}", min, max);
  const Node* node = scalar(key, expected.c_str(), true);
  if (node == nullptr) return;
  int64_t parsed = 0;
  const char* end = node->text.data() + node->text.size();
  const auto [stop, error] = std::from_chars(node->text.data(), end, parsed);
  if (error != std::errc() || stop != end || parsed < min || parsed > max) {
    fail_expected(key, *node, expected);
    return;
  }
  *value = static_cast<T>(parsed);
}

void MapReader::integer(const char* key, int32_t* value, int64_t min, int64_t max) {
  integer_as(key, value, min, std::min<int64_t>(max, INT32_MAX));
}
void MapReader::integer(const char* key, int64_t* value, int64_t min, int64_t max) {
  integer_as(key, value, min, max);
}

void MapReader::number(const char* key, double* value, double min, double max) {
  const std::string expected = fmt::format("a number from {} to {}", min, max);
  const Node* node = scalar(key, expected.c_str(), true);
  if (node == nullptr) return;
  double parsed = 0;
  const char* end = node->text.data() + node->text.size();
  const auto [stop, error] = std::from_chars(node->text.data(), end, parsed);
  // Written so that NaN fails too.
  if (error != std::errc() || stop != end || !(parsed >= min && parsed <= max)) {
    fail_expected(key, *node, expected);
    return;
  }
  *value = parsed;
}

void MapReader::boolean(const char* key, bool* value) {
  const Node* node = scalar(key, "true or false", true);
  if (node == nullptr) return;
  if (node->text != "true" && node->text != "false") {
    fail_expected(key, *node, "true or false");
    return;
  }
  *value = node->text == "true";
}

void MapReader::text(const char* key, std::string* value) {
  const Node* node = scalar(key, "a text", false);
  if (node != nullptr) *value = node->text;
}

void MapReader::choice(const char* key, std::string* value,
                       std::initializer_list<const char*> words) {
  const Node* node = scalar(key, "one word", false);
  if (node == nullptr) return;
  const std::vector<std::string> known(words.begin(), words.end());
  if (std::find(known.begin(), known.end(), node->text) == known.end()) {
    std::string message = fmt::format("one of {}", fmt::join(known, ", "));
    fail_expected(key, *node, message);
    return;
  }
  *value = node->text;
}

void MapReader::duration(const char* key, int64_t* value_ns, int64_t min_ns, int64_t max_ns) {
  const std::string expected =
      fmt::format("a duration from {} to {} (seconds, or \"500ms\", \"2m\")",
                  format_duration(min_ns), format_duration(max_ns));
  const Node* node = scalar(key, expected.c_str(), false);
  if (node == nullptr) return;
  const Result<int64_t> parsed = parse_duration_ns(node->text);
  if (!parsed.ok() || *parsed < min_ns || *parsed > max_ns) {
    fail_expected(key, *node, expected);
    return;
  }
  *value_ns = *parsed;
}

template <typename T>
void MapReader::size_as(const char* key, T* value, int64_t min, int64_t max) {
  const std::string expected = fmt::format("a size from {} to {} (bytes, or \"64KiB\", \"8MiB\")",
                                           format_size(min), format_size(max));
  const Node* node = scalar(key, expected.c_str(), false);
  if (node == nullptr) return;
  const Result<int64_t> parsed = parse_size_bytes(node->text);
  if (!parsed.ok() || *parsed < min || *parsed > max) {
    fail_expected(key, *node, expected);
    return;
  }
  *value = static_cast<T>(*parsed);
}

void MapReader::size(const char* key, int32_t* value, int64_t min, int64_t max) {
  size_as(key, value, min, std::min<int64_t>(max, INT32_MAX));
}
void MapReader::size(const char* key, int64_t* value, int64_t min, int64_t max) {
  size_as(key, value, min, max);
}

const Node* MapReader::list_of(const char* key, size_t max_items) {
  const Node* node = find(key);
  if (node == nullptr) return nullptr;
  if (node->kind != Node::Kind::kSequence && node->kind != Node::Kind::kNull) {
    fail_expected(key, *node, "a list");
    return nullptr;
  }
  if (node->items.size() > max_items) {
    fail(node->line, fmt::format("`{}` has {} entries; the limit is {}", path_of(key),
                                 node->items.size(), max_items));
    return nullptr;
  }
  return node;
}

void MapReader::integers(const char* key, std::vector<int32_t>* values, int64_t min, int64_t max,
                         size_t max_items) {
  const Node* list = list_of(key, max_items);
  if (list == nullptr) return;
  values->clear();
  for (const Node& item : list->items) {
    int64_t parsed = 0;
    const char* end = item.text.data() + item.text.size();
    const auto [stop, error] = std::from_chars(item.text.data(), end, parsed);
    if (item.kind != Node::Kind::kScalar || item.quoted || error != std::errc() || stop != end ||
        parsed < min || parsed > max) {
      fail_expected(key, item, fmt::format("a list of integers from {} to {}", min, max));
      return;
    }
    values->push_back(static_cast<int32_t>(parsed));
  }
}

void MapReader::texts(const char* key, std::vector<std::string>* values, size_t max_items) {
  const Node* list = list_of(key, max_items);
  if (list == nullptr) return;
  values->clear();
  for (const Node& item : list->items) {
    if (item.kind != Node::Kind::kScalar) {
      fail_expected(key, item, "a list of texts");
      return;
    }
    values->push_back(item.text);
  }
}

void MapReader::map(const char* key, const std::function<void(MapReader&)>& read) {
  const Node* node = find(key);
  if (node == nullptr) return;
  MapReader reader(*node, path_of(key), with_lines_);
  read(reader);
  merge(reader.finish());
}

Status MapReader::finish() {
  for (const Node::Entry& entry : node_.entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const std::string where = path_.empty() ? "at the top level" : fmt::format("in `{}`", path_);
    const std::string near = nearest_word(entry.key, known_);
    const std::string hint = near.empty()
                                 ? fmt::format("known keys are {}", fmt::join(known_, ", "))
                                 : fmt::format("did you mean \"{}\"?", near);
    fail(entry.line, fmt::format("unknown key \"{}\" {}; {}", clipped(entry.key), where, hint));
  }
  return status_;
}

}  // namespace trireme::yaml
