// The names of full KV blocks: a chain of SHA-256 over token ids, rooted in a secret key and the
// tenant's salt.
//
// root = HMAC-SHA-256(key, salt);  hash[i] = SHA-256(hash[i-1] || ids of block i, 4 bytes each,
// little endian). Equal hashes mean equal salt and equal tokens from the sequence's start to the
// block's end, as far as SHA-256 goes. The key is drawn at start-up and never leaves the process,
// so that nobody outside can compute a name, and two tenants' salts keep their blocks apart. Every
// link hashes a message of one fixed length: nothing can be extended.
//
// Source: FIPS 180-4, RFC 2104 (OpenSSL's). One thread per hasher. Cost: about 0.3 us per block
// of 16.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace trireme::coordinator {

struct BlockHash {
  std::array<uint8_t, 32> bytes{};
  friend bool operator==(const BlockHash&, const BlockHash&) = default;
};

// The name of the same positions in a group of layers with a block table of its own. Group 0 has
// the chain's own; two of them are equal only where 256-bit hashes collide.
inline BlockHash name_in_group(const BlockHash& hash, int32_t group) {
  uint64_t word = 0;
  std::memcpy(&word, hash.bytes.data(), sizeof(word));
  word ^= static_cast<uint64_t>(group) * 0x9E3779B97F4A7C15;  // far apart in the pool's index
  BlockHash name = hash;
  std::memcpy(name.bytes.data(), &word, sizeof(word));
  return name;
}

struct BlockHashHash {
  size_t operator()(const BlockHash& hash) const {
    size_t value = 0;  // the bytes are uniform already
    std::memcpy(&value, hash.bytes.data(), sizeof(value));
    return value;
  }
};

class BlockHasher {
 public:
  BlockHasher();  // a random key
  explicit BlockHasher(const std::array<uint8_t, 32>& key);
  ~BlockHasher();
  BlockHasher(const BlockHasher&) = delete;
  BlockHasher& operator=(const BlockHasher&) = delete;

  BlockHash root(std::string_view salt) const;
  BlockHash next(const BlockHash& parent, std::span<const int32_t> tokens) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::coordinator
