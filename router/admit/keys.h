// KeyTable: who a bearer token belongs to.
//
// Keys are known by their SHA-256 alone. A lookup compares with every entry in constant time, so
// that its duration says nothing about how close a guess was. Immutable and thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/cluster_config.h"
#include "base/result.h"

namespace trireme::router {

using Sha256 = std::array<uint8_t, 32>;

Sha256 sha256(std::string_view bytes);
// HMAC-SHA-256, in hex: how a tenant's cache salt is derived.
std::string hmac_sha256_hex(std::string_view key, std::string_view message);

class KeyTable {
 public:
  // invalid_argument: a hash that is not 64 hex digits, or two keys with one hash.
  static Result<KeyTable> make(std::vector<KeyConfig> keys);

  bool empty() const { return keys_.empty(); }
  const std::vector<KeyConfig>& keys() const { return keys_; }
  // Null: unknown.
  const KeyConfig* find(std::string_view secret) const;

 private:
  std::vector<KeyConfig> keys_;
  std::vector<Sha256> hashes_;
};

// The token of "Bearer <token>", or empty.
std::string_view bearer_token(std::string_view authorization);

}  // namespace trireme::router
