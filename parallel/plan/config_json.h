// ConfigJson: typed, bounded reads of a config.json, each of whose errors names the key.
//
// Private to parallel/plan: it keeps nlohmann's header out of the rest. A document is at most 1 MiB
// and 16 levels deep; numbers are finite (JSON has no NaN, and 1e400 is refused with the key before
// it).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace trireme::plan {

inline constexpr size_t kMaxConfigBytes = 1 << 20;
inline constexpr int kMaxConfigDepth = 16;

// The document's root object. invalid_argument says where it stops being JSON.
Result<nlohmann::json> parse_config_json(const std::string& text);

// One object of the document. `path` is put before the key's name in errors ("rope_scaling."). A
// key whose value is null counts as absent, as config.json files use it so.
class ConfigObject {
 public:
  ConfigObject(const nlohmann::json& object, std::string path)
      : object_(&object), path_(std::move(path)) {}

  bool has(const char* key) const;
  // An integer in [low, high].
  Result<int64_t> integer(const char* key, int64_t low, int64_t high) const;
  Result<int64_t> integer_or(const char* key, int64_t low, int64_t high, int64_t fallback) const;
  // A finite number in [low, high].
  Result<double> number(const char* key, double low, double high) const;
  Result<double> number_or(const char* key, double low, double high, double fallback) const;
  Result<bool> boolean_or(const char* key, bool fallback) const;
  Result<std::string> string(const char* key) const;
  Result<std::string> string_or(const char* key, const std::string& fallback) const;
  // An integer or a list of at most 64 integers; absent: empty.
  Result<std::vector<int32_t>> integers(const char* key, int64_t low, int64_t high) const;
  // A list of at most `max_entries` finite numbers in [low, high].
  Result<std::vector<double>> numbers(const char* key, double low, double high,
                                      size_t max_entries) const;
  // A list of at most `max_entries` strings.
  Result<std::vector<std::string>> strings(const char* key, size_t max_entries) const;
  // The object under `key`, which must be there.
  Result<ConfigObject> object(const char* key) const;
  // The object itself, for what the readers above do not cover.
  const nlohmann::json& raw() const { return *object_; }

 private:
  Error absent(const char* key) const;
  Error wrong(const char* key, const std::string& wanted) const;

  const nlohmann::json* object_;  // outlives this
  std::string path_;
};

}  // namespace trireme::plan
