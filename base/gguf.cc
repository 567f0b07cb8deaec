#include "base/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxParts = 4096;
constexpr size_t kMaxListedFiles = 8;
constexpr std::string_view kExtension = ".gguf";

Error about_key(std::string_view key, std::string_view what) {
  return invalid_argument(fmt::format("GGUF key \"{}\" {}", key, what));
}

// NAME of NAME-00001-of-00003.gguf; empty for another spelling.
struct PartName {
  std::string stem;
  int64_t index = 0;  // from 0
  int64_t count = 0;
};

std::optional<PartName> parse_part_name(const std::string& file) {
  constexpr size_t kDigits = 5;
  constexpr std::string_view kOf = "-of-";
  constexpr size_t kTail = 1 + kDigits + kOf.size() + kDigits + kExtension.size();
  if (file.size() <= kTail || !file.ends_with(kExtension)) return std::nullopt;
  const std::string tail = file.substr(file.size() - kTail);
  const auto digits = [&](size_t at) {
    int64_t value = 0;
    for (size_t i = at; i < at + kDigits; ++i) {
      if (tail[i] < '0' || tail[i] > '9') return int64_t{-1};
      value = value * 10 + (tail[i] - '0');
    }
    return value;
  };
  const int64_t number = digits(1);
  const int64_t count = digits(1 + kDigits + kOf.size());
  if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf) return std::nullopt;
  if (number < 1 || count < 1 || number > count) return std::nullopt;
  return PartName{file.substr(0, file.size() - kTail), number - 1, count};
}

std::string part_file(const PartName& name, int64_t index) {
  return fmt::format("{}-{:05}-of-{:05}{}", name.stem, index + 1, name.count, kExtension);
}

// Extensions of the serialisations that a model folder may hold.
bool holds_safetensors(const fs::path& dir) {
  std::error_code error;
  return fs::exists(dir / "model.safetensors", error) ||
         fs::exists(dir / "model.safetensors.index.json", error);
}

}  // namespace

Status Gguf::add_part(const std::string& path, size_t index, size_t n_parts) {
  ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
  auto parsed = parse_gguf(file->bytes());
  if (!parsed.ok()) {
    return Error{parsed.error().code, fmt::format("{}: {}", file->name(), parsed.error().message)};
  }
  const auto number = [&](const char* key) -> int64_t {
    const auto found = parsed->metadata.find(key);
    const auto* value =
        found == parsed->metadata.end() ? nullptr : std::get_if<int64_t>(&found->second);
    return value == nullptr ? -1 : *value;
  };
  const int64_t count = number("split.count");
  if (n_parts > 1 || count > 1) {
    if (count != static_cast<int64_t>(n_parts) ||
        number("split.no") != static_cast<int64_t>(index)) {
      return invalid_argument(
          fmt::format("{} says that it is part {} of {}, but its name says {} of {}", file->name(),
                      number("split.no") + 1, count, index + 1, n_parts));
    }
  }
  for (GgufTensor& tensor : parsed->tensors) {
    tensor.part = index;
    if (!by_name_.emplace(tensor.name, tensors_.size()).second) {
      return invalid_argument(
          fmt::format("{}: tensor \"{}\" is in an earlier part too", file->name(), tensor.name));
    }
    tensors_.push_back(std::move(tensor));
  }
  if (index == 0) metadata_ = std::move(parsed->metadata);
  files_.push_back(std::move(file));
  return {};
}

Result<std::shared_ptr<const Gguf>> Gguf::open(const std::string& path) {
  std::shared_ptr<Gguf> gguf(new Gguf());
  const fs::path file(path);
  const auto name = parse_part_name(file.filename().string());
  if (!name.has_value()) {
    TRY(gguf->add_part(path, 0, 1));
    return std::shared_ptr<const Gguf>(std::move(gguf));
  }
  if (name->count > kMaxParts) {
    return invalid_argument(fmt::format("the file's name claims {} parts; at most {} are allowed",
                                        name->count, kMaxParts));
  }
  const auto n_parts = static_cast<size_t>(name->count);
  for (size_t i = 0; i < n_parts; ++i) {
    const fs::path part = file.parent_path() / part_file(*name, static_cast<int64_t>(i));
    TRY(gguf->add_part(part.string(), i, n_parts));
  }
  const auto total = static_cast<int64_t>(gguf->tensors_.size());
  ASSIGN_OR_RETURN(const int64_t claimed,
                   gguf->integer_or("split.tensors.count", 0, INT64_MAX, total));
  if (claimed != total) {
    return invalid_argument(
        fmt::format("the first part announces {} tensors; the parts hold {}", claimed, total));
  }
  return std::shared_ptr<const Gguf>(std::move(gguf));
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

Result<const char*> Gguf::data(const GgufTensor& tensor) const {
  const MappedFile& file = *files_.at(tensor.part);
  TRY(file.check_still_there(tensor.begin + tensor.bytes, "tensor \"" + tensor.name + "\""));
  return file.bytes().data() + tensor.begin;
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

Result<int64_t> Gguf::integer(std::string_view key, int64_t low, int64_t high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return about_key(key, "is missing");
  const auto* number = std::get_if<int64_t>(value);
  if (number == nullptr) return about_key(key, "is not a whole number");
  if (*number < low || *number > high) {
    return about_key(key, fmt::format("is {}, but must be in {}..{}", *number, low, high));
  }
  return *number;
}

Result<int64_t> Gguf::integer_or(std::string_view key, int64_t low, int64_t high,
                                 int64_t fallback) const {
  return has(key) ? integer(key, low, high) : Result<int64_t>(fallback);
}

Result<double> Gguf::number(std::string_view key, double low, double high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return about_key(key, "is missing");
  double number = 0;
  if (const auto* real = std::get_if<double>(value)) {
    number = *real;
  } else if (const auto* whole = std::get_if<int64_t>(value)) {
    number = static_cast<double>(*whole);
  } else {
    return about_key(key, "is not a number");
  }
  // Written so that a NaN fails.
  if (!(number >= low && number <= high)) {
    return about_key(key, fmt::format("is {:g}, but must be in {:g}..{:g}", number, low, high));
  }
  return number;
}

Result<double> Gguf::number_or(std::string_view key, double low, double high,
                               double fallback) const {
  return has(key) ? number(key, low, high) : Result<double>(fallback);
}

Result<bool> Gguf::boolean_or(std::string_view key, bool fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  const auto* flag = std::get_if<bool>(value);
  if (flag == nullptr) return about_key(key, "is neither true nor false");
  return *flag;
}

Result<std::string> Gguf::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return about_key(key, "is missing");
  const auto* text = std::get_if<std::string>(value);
  if (text == nullptr) return about_key(key, "is not a text");
  return *text;
}

Result<std::string> Gguf::string_or(std::string_view key, const std::string& fallback) const {
  return has(key) ? string(key) : Result<std::string>(fallback);
}

template <typename T>
Result<const std::vector<T>*> Gguf::array(std::string_view key, const char* of) const {
  const GgufValue* value = find(key);
  const std::vector<T>* none = nullptr;
  if (value == nullptr) return none;
  const auto* list = std::get_if<GgufArray>(value);
  const auto* values = list == nullptr ? nullptr : std::get_if<std::vector<T>>(list);
  if (values == nullptr) return about_key(key, fmt::format("is not a list of {}", of));
  return values;
}

Result<const std::vector<std::string>*> Gguf::strings(std::string_view key) const {
  return array<std::string>(key, "texts");
}
Result<const std::vector<int64_t>*> Gguf::integers(std::string_view key) const {
  return array<int64_t>(key, "whole numbers");
}
Result<const std::vector<double>*> Gguf::numbers(std::string_view key) const {
  return array<double>(key, "numbers");
}

Result<std::optional<std::string>> find_gguf(const std::string& path) {
  const fs::path given(path);
  std::error_code error;
  const std::optional<std::string> none;
  if (!fs::is_directory(given, error)) {
    if (given.extension() != kExtension) return none;
    const auto part = parse_part_name(given.filename().string());
    if (!part.has_value()) return std::optional<std::string>(path);
    return std::optional<std::string>((given.parent_path() / part_file(*part, 0)).string());
  }
  if (holds_safetensors(given)) return none;
  std::vector<std::string> files;
  for (fs::directory_iterator it(given, error), end; !error && it != end; it.increment(error)) {
    const std::string file = it->path().filename().string();
    if (!file.ends_with(kExtension)) continue;
    const auto part = parse_part_name(file);
    if (!part.has_value() || part->index == 0) files.push_back(file);
  }
  if (files.empty()) return none;
  std::sort(files.begin(), files.end());
  if (files.size() == 1) return std::optional<std::string>((given / files.front()).string());
  std::string list;
  for (size_t i = 0; i < std::min(files.size(), kMaxListedFiles); ++i) {
    list += (i == 0 ? "" : ", ") + files[i];
  }
  if (files.size() > kMaxListedFiles) list += ", ...";
  return invalid_argument(
      fmt::format("the folder holds {} GGUF files; name one of {}", files.size(), list));
}

}  // namespace trireme
