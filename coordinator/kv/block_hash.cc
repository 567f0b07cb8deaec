#include "coordinator/kv/block_hash.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <bit>

#include "base/check.h"

namespace trireme::coordinator {

static_assert(std::endian::native == std::endian::little, "token ids are hashed as they lie");

struct BlockHasher::Impl {
  std::array<uint8_t, 32> key{};
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_MD* sha256 =
      EVP_MD_fetch(nullptr, "SHA256", nullptr);  // fetched once: a fetch costs more than a hash

  Impl() { CHECK(context != nullptr && sha256 != nullptr) << "OpenSSL has no SHA-256"; }
  ~Impl() {
    EVP_MD_CTX_free(context);
    EVP_MD_free(sha256);
  }
};

BlockHasher::BlockHasher() : impl_(std::make_unique<Impl>()) {
  CHECK_EQ(RAND_bytes(impl_->key.data(), static_cast<int>(impl_->key.size())), 1)
      << "no randomness for the prefix cache's key";
}

BlockHasher::BlockHasher(const std::array<uint8_t, 32>& key) : impl_(std::make_unique<Impl>()) {
  impl_->key = key;
}

BlockHasher::~BlockHasher() = default;

BlockHash BlockHasher::root(std::string_view salt) const {
  BlockHash hash;
  unsigned int length = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(salt.data());
  const unsigned char* mac =
      HMAC(impl_->sha256, impl_->key.data(), static_cast<int>(impl_->key.size()), data, salt.size(),
           hash.bytes.data(), &length);
  CHECK(mac != nullptr);
  CHECK_EQ(length, hash.bytes.size());
  return hash;
}

BlockHash BlockHasher::next(const BlockHash& parent, std::span<const int32_t> tokens) const {
  BlockHash hash;
  CHECK_EQ(EVP_DigestInit_ex2(impl_->context, impl_->sha256, nullptr), 1);
  CHECK_EQ(EVP_DigestUpdate(impl_->context, parent.bytes.data(), parent.bytes.size()), 1);
  CHECK_EQ(EVP_DigestUpdate(impl_->context, tokens.data(), tokens.size_bytes()), 1);
  CHECK_EQ(EVP_DigestFinal_ex(impl_->context, hash.bytes.data(), nullptr), 1);
  return hash;
}

}  // namespace trireme::coordinator
