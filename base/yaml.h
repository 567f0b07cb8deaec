// YAML from outside: bounded before it is built, then read key by key without mercy for typos.
//
// parse() refuses, with a sentence that names the line: more bytes, depth or nodes than the limits,
// aliases, tags, duplicate keys, several documents, invalid UTF-8 and control characters. Aliases
// are refused altogether, so that no document is larger than its text. MapReader takes typed values
// with ranges out of a mapping and refuses keys that nobody asked for. MapWriter has the same
// methods and writes what MapReader reads: one visitor describes a section for both ways. Nothing
// here throws; yaml-cpp stays behind yaml.cc. Not thread-safe; no state outlives a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace trireme::yaml {

struct Limits {
  size_t max_bytes = 1 << 20;
  int max_depth = 16;
  size_t max_nodes = 100'000;
  size_t max_text_bytes = 4096;  // of one key or value
};

struct Node {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  struct Entry;
  Kind kind = Kind::kNull;
  int line = 1;         // from 1
  bool quoted = false;  // scalar: "8" is a text, 8 is a number
  std::string text;     // scalar
  std::vector<Node> items;
  std::vector<Entry> entries;  // in the file's order
};
struct Node::Entry {
  std::string key;
  int line = 1;
  Node value;
};

// The one document of `text`; an empty text is a null node. invalid_argument or resource_exhausted:
// "line 3: ...".
Result<Node> parse(std::string_view text, const Limits& limits = {});

// "500ms", "1.5s", "2m", "1h", "250us", "7ns", or a number of seconds: nanoseconds, exactly.
Result<int64_t> parse_duration_ns(std::string_view text);
// "8MiB", "64KiB", "1.5GiB", "10kB", "10MB", "2GB", "512B", or a number: bytes, exactly.
Result<int64_t> parse_size_bytes(std::string_view text);

// The words of `known` that a mistyped `word` most likely meant, or empty when none is near.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

// Reads one mapping. A key that is not there leaves its value as it is. The first error is kept,
// the rest is skipped; finish() returns it, or names an unknown key. A null node ("limits:" with
// nothing behind it) is an empty mapping.
class MapReader {
 public:
  // `path` names the mapping in messages: "replicas", "keys[2]"; empty: the top level. Without
  // lines, messages name keys only: for texts that no person wrote.
  MapReader(const Node& node, std::string path, bool with_lines = true);

  void integer(const char* key, int32_t* value, int64_t min, int64_t max);
  void integer(const char* key, int64_t* value, int64_t min, int64_t max);
  void number(const char* key, double* value, double min, double max);
  void boolean(const char* key, bool* value);
  void text(const char* key, std::string* value);
  void choice(const char* key, std::string* value, std::initializer_list<const char*> words);
  void duration(const char* key, int64_t* value_ns, int64_t min_ns, int64_t max_ns);
  void size(const char* key, int32_t* value_bytes, int64_t min, int64_t max);
  void size(const char* key, int64_t* value_bytes, int64_t min, int64_t max);
  void integers(const char* key, std::vector<int32_t>* values, int64_t min, int64_t max,
                size_t max_items);
  void texts(const char* key, std::vector<std::string>* values, size_t max_items);
  void map(const char* key, const std::function<void(MapReader&)>& read);

  // A list of mappings, one T each: read(reader, item).
  template <typename T, typename Fn>
  void maps(const char* key, std::vector<T>* values, size_t max_items, Fn read) {
    const Node* list = list_of(key, max_items);
    if (list == nullptr) return;
    values->clear();
    for (size_t i = 0; i < list->items.size(); ++i) {
      MapReader reader(list->items[i], item_path(key, i), with_lines_);
      T item;
      read(reader, item);
      merge(reader.finish());
      values->push_back(std::move(item));
    }
  }

  Status finish();

 private:
  const Node* find(const char* key);
  const Node* scalar(const char* key, const char* expected, bool plain);
  const Node* list_of(const char* key, size_t max_items);
  std::string path_of(const char* key) const;
  std::string item_path(const char* key, size_t index) const;
  void fail(int line, std::string message);
  void fail_expected(const char* key, const Node& node, const std::string& expected);
  void merge(const Status& status);
  template <typename T>
  void integer_as(const char* key, T* value, int64_t min, int64_t max);
  template <typename T>
  void size_as(const char* key, T* value, int64_t min, int64_t max);

  const Node& node_;
  const std::string path_;
  const bool with_lines_;
  std::vector<std::string> known_;
  Status status_;
};

// Writes what MapReader reads, value for value. The pointers are only read.
class MapWriter {
 public:
  void integer(const char* key, const int32_t* value, int64_t min, int64_t max);
  void integer(const char* key, const int64_t* value, int64_t min, int64_t max);
  void number(const char* key, const double* value, double min, double max);
  void boolean(const char* key, const bool* value);
  void text(const char* key, const std::string* value);
  void choice(const char* key, const std::string* value, std::initializer_list<const char*> words);
  void duration(const char* key, const int64_t* value_ns, int64_t min_ns, int64_t max_ns);
  void size(const char* key, const int32_t* value_bytes, int64_t min, int64_t max);
  void size(const char* key, const int64_t* value_bytes, int64_t min, int64_t max);
  void integers(const char* key, const std::vector<int32_t>* values, int64_t min, int64_t max,
                size_t max_items);
  void texts(const char* key, const std::vector<std::string>* values, size_t max_items);
  void map(const char* key, const std::function<void(MapWriter&)>& write);

  template <typename T, typename Fn>
  void maps(const char* key, std::vector<T>* values, size_t, Fn write) {
    if (values->empty()) {
      line(key, "[]");
      return;
    }
    line(key, "");
    for (T& value : *values) {
      indent_ += 4;
      begin_item_ = true;
      write(*this, value);
      indent_ -= 4;
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void line(const char* key, std::string_view value);

  std::string out_;
  int indent_ = 0;
  bool begin_item_ = false;  // the next line starts a list item with "- "
};

}  // namespace trireme::yaml
