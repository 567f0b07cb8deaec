#include "router/admit/keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>

namespace trireme::router {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_hex(std::string_view text, Sha256* out) {
  if (text.size() != 2 * out->size()) return false;
  for (size_t i = 0; i < out->size(); ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    (*out)[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

}  // namespace

Sha256 sha256(std::string_view bytes) {
  Sha256 out;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), out.data());
  return out;
}

std::string hmac_sha256_hex(std::string_view key, std::string_view message) {
  static constexpr char kHex[] = "0123456789abcdef";
  Sha256 mac;
  unsigned int n_bytes = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), mac.data(),
       &n_bytes);
  CHECK_EQ(n_bytes, mac.size());
  std::string out;
  for (const uint8_t byte : mac) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

Result<KeyTable> KeyTable::make(std::vector<KeyConfig> keys) {
  KeyTable table;
  for (const KeyConfig& key : keys) {
    Sha256 hash;
    if (!parse_hex(key.sha256, &hash)) {
      return invalid_argument("the key \"" + key.name +
                              "\" has no valid sha256: 64 hexadecimal digits are expected");
    }
    if (std::find(table.hashes_.begin(), table.hashes_.end(), hash) != table.hashes_.end()) {
      return invalid_argument("the key \"" + key.name + "\" has the same sha256 as another key");
    }
    table.hashes_.push_back(hash);
  }
  table.keys_ = std::move(keys);
  return table;
}

const KeyConfig* KeyTable::find(std::string_view secret) const {
  const Sha256 hash = sha256(secret);
  const KeyConfig* found = nullptr;
  for (size_t i = 0; i < hashes_.size(); ++i) {
    if (CRYPTO_memcmp(hash.data(), hashes_[i].data(), hash.size()) == 0) found = &keys_[i];
  }
  return found;
}

std::string_view bearer_token(std::string_view authorization) {
  static constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != kScheme[i]) return {};
  }
  authorization.remove_prefix(kScheme.size());
  while (!authorization.empty() && authorization.front() == ' ') authorization.remove_prefix(1);
  while (!authorization.empty() && authorization.back() == ' ') authorization.remove_suffix(1);
  return authorization;
}

}  // namespace trireme::router
