#include <fmt/format.h>

#include "base/yaml.h"
#include "base/yaml_internal.h"

namespace trireme::yaml {
namespace {

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
