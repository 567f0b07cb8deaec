#include "base/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/emitterstyle.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <unordered_map>

namespace trireme::yaml {
namespace {

// Thrown by the builder through yaml-cpp's parser and caught in parse(): the only way to stop it early.
struct Refusal {
  Error error;
};

[[noreturn]] void refuse(int line, const std::string& message,
                         ErrorCode code = ErrorCode::kInvalidArgument) {
  throw Refusal{{code, fmt::format("line {}: {}", line, message)}};
}

std::string clipped(std::string_view text) {
  constexpr size_t kShown = 60;
  return text.size() <= kShown ? std::string(text) : std::string(text.substr(0, kShown)) + "...";
}

// Builds the tree from the parser's events, within the limits.
class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(const Limits& limits) : limits_(limits) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    add(mark, Node::Kind::kNull);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark.line + 1, "aliases are not supported; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    check_tag(mark, tag);
    if (value.size() > limits_.max_text_bytes) {
      refuse(mark.line + 1,
             fmt::format("a text has {} bytes; the limit is {}", value.size(),
                         limits_.max_text_bytes),
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

// Length of the UTF-8 character at text[i], or 0 when it is none. Overlong forms, surrogates and values beyond U+10FFFF
// are none.
size_t utf8_length(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) -> unsigned {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : 0;
  };
  const auto follows = [&](size_t k) { return (byte(k) & 0xc0) == 0x80; };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return follows(i + 1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (lead == 0xe0 && byte(i + 1) < 0xa0) return 0;
    if (lead == 0xed && byte(i + 1) > 0x9f) return 0;
    return follows(i + 1) && follows(i + 2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (lead == 0xf0 && byte(i + 1) < 0x90) return 0;
    if (lead == 0xf4 && byte(i + 1) > 0x8f) return 0;
    return follows(i + 1) && follows(i + 2) && follows(i + 3) ? 4 : 0;
  }
  return 0;
}

// yaml-cpp guesses other encodings and ends a document at some control characters: neither gets that far.
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

struct Unit {
  std::string_view name;
  int64_t scale;
};

// "<digits>[.<digits>]<unit>" times the unit's scale, exactly or not at all: no rounding, no overflow.
Result<int64_t> parse_scaled(std::string_view text, const std::vector<Unit>& units,
                             const char* what) {
  const Error wrong = invalid_argument(fmt::format("\"{}\" is not {}", clipped(text), what));
  size_t i = 0;
  int64_t whole = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    if (__builtin_mul_overflow(whole, 10, &whole) ||
        __builtin_add_overflow(whole, text[i] - '0', &whole)) {
      return wrong;
    }
  }
  if (i == 0) return wrong;
  std::string_view fraction;
  if (i < text.size() && text[i] == '.') {
    const size_t begin = ++i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    fraction = text.substr(begin, i - begin);
    if (fraction.empty() || fraction.size() > 30) return wrong;
  }
  const std::string_view name = text.substr(i);
  const auto unit =
      std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == name; });
  if (unit == units.end()) return wrong;
  int64_t value = 0;
  if (__builtin_mul_overflow(whole, unit->scale, &value)) return wrong;
  // The fraction times the scale by long multiplication: what is left over after its last digit must be zero.
  std::string digits(fraction);
  int64_t part = 0;
  __int128 numerator = 0;
  __int128 denominator = 1;
  while (!digits.empty() && digits.back() == '0') digits.pop_back();
  if (digits.size() > 18) return wrong;
  for (const char c : digits) {
    numerator = numerator * 10 + (c - '0');
    denominator *= 10;
  }
  if (numerator * unit->scale % denominator != 0) {
    return invalid_argument(fmt::format("\"{}\" is finer than the smallest unit", clipped(text)));
  }
  part = static_cast<int64_t>(numerator * unit->scale / denominator);
  if (__builtin_add_overflow(value, part, &value)) return wrong;
  return value;
}

// Edit distance with transpositions; the words are short (keys).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1,
                          d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

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

std::string format_duration(int64_t ns) {
  if (ns % 1'000'000'000 == 0) return fmt::format("{}s", ns / 1'000'000'000);
  if (ns % 1'000'000 == 0) return fmt::format("{}ms", ns / 1'000'000);
  return fmt::format("{}ns", ns);
}

std::string format_size(int64_t bytes) {
  if (bytes != 0 && bytes % (1 << 20) == 0) return fmt::format("{}MiB", bytes >> 20);
  if (bytes != 0 && bytes % (1 << 10) == 0) return fmt::format("{}KiB", bytes >> 10);
  return fmt::format("{}", bytes);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

Result<Node> parse(std::string_view text, const Limits& limits) {
  if (text.size() > limits.max_bytes) {
    return resource_exhausted(fmt::format("the YAML text has {} bytes; the limit is {}",
                                          text.size(), limits.max_bytes));
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

Result<int64_t> parse_duration_ns(std::string_view text) {
  return parse_scaled(text,
                      {{"", 1'000'000'000},
                       {"s", 1'000'000'000},
                       {"ms", 1'000'000},
                       {"us", 1'000},
                       {"ns", 1},
                       {"m", 60'000'000'000},
                       {"h", 3'600'000'000'000}},
                      "a duration such as 5, \"500ms\", \"5s\" or \"2m\"");
}

Result<int64_t> parse_size_bytes(std::string_view text) {
  return parse_scaled(text,
                      {{"", 1},
                       {"B", 1},
                       {"KiB", 1LL << 10},
                       {"MiB", 1LL << 20},
                       {"GiB", 1LL << 30},
                       {"TiB", 1LL << 40},
                       {"kB", 1'000},
                       {"MB", 1'000'000},
                       {"GB", 1'000'000'000}},
                      "a size such as 4096, \"64KiB\" or \"8MiB\"");
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 100) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    // A word of which every letter would change is no correction of it.
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

MapReader::MapReader(const Node& node, std::string path, bool with_lines)
    : node_(node), path_(std::move(path)), with_lines_(with_lines) {
  if (node.kind != Node::Kind::kMapping && node.kind != Node::Kind::kNull) {
    const std::string who = path_.empty() ? "the file" : fmt::format("`{}`", path_);
    fail(node.line, fmt::format("{} must be a mapping of keys to values, not {}", who, found(node)));
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
  const std::string expected = fmt::format("a duration from {} to {} (seconds, or \"500ms\", \"2m\")",
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

void MapWriter::line(const char* key, std::string_view value) {
  std::string prefix(static_cast<size_t>(indent_), ' ');
  if (begin_item_) prefix[prefix.size() - 2] = '-';
  begin_item_ = false;
  out_ += fmt::format("{}{}:{}{}\n", prefix, key, value.empty() ? "" : " ", value);
}

void MapWriter::integer(const char* key, const int32_t* value, int64_t, int64_t) {
  line(key, fmt::format("{}", *value));
}
void MapWriter::integer(const char* key, const int64_t* value, int64_t, int64_t) {
  line(key, fmt::format("{}", *value));
}
void MapWriter::number(const char* key, const double* value, double, double) {
  line(key, fmt::format("{}", *value));  // the shortest text that reads back as the same double
}
void MapWriter::boolean(const char* key, const bool* value) {
  line(key, *value ? "true" : "false");
}
void MapWriter::text(const char* key, const std::string* value) { line(key, quoted(*value)); }
void MapWriter::choice(const char* key, const std::string* value,
                       std::initializer_list<const char*>) {
  line(key, quoted(*value));
}
void MapWriter::duration(const char* key, const int64_t* value_ns, int64_t, int64_t) {
  line(key, format_duration(*value_ns));
}
void MapWriter::size(const char* key, const int32_t* value_bytes, int64_t, int64_t) {
  line(key, format_size(*value_bytes));
}
void MapWriter::size(const char* key, const int64_t* value_bytes, int64_t, int64_t) {
  line(key, format_size(*value_bytes));
}

void MapWriter::integers(const char* key, const std::vector<int32_t>* values, int64_t, int64_t,
                         size_t) {
  line(key, fmt::format("[{}]", fmt::join(*values, ", ")));
}

void MapWriter::texts(const char* key, const std::vector<std::string>* values, size_t) {
  std::vector<std::string> items;
  for (const std::string& value : *values) items.push_back(quoted(value));
  line(key, fmt::format("[{}]", fmt::join(items, ", ")));
}

void MapWriter::map(const char* key, const std::function<void(MapWriter&)>& write) {
  line(key, "");
  indent_ += 2;
  write(*this);
  indent_ -= 2;
}

}  // namespace trireme::yaml
