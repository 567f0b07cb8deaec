#include "parallel/launch/model_fingerprint.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "base/gguf.h"

namespace trireme::launch {
namespace {

namespace fs = std::filesystem;

// A header longer than this is refused by the loader; here its start is enough.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// Of config.json, and of a GGUF file, which begins with its metadata.
constexpr uint64_t kMaxConfigBytes = 16 << 20;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  // Length first, so that two fields never run into each other.
  void add(const std::string& field) {
    const uint64_t n = field.size();
    EVP_DigestUpdate(context_.get(), &n, sizeof(n));
    EVP_DigestUpdate(context_.get(), field.data(), field.size());
  }
  std::string hex(size_t n_bytes) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(context_.get(), digest, nullptr);
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (size_t i = 0; i < n_bytes; ++i) {
      text += kDigits[digest[i] >> 4];
      text += kDigits[digest[i] & 15];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

Result<std::string> read_start(const fs::path& path, uint64_t n_bytes) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(n_bytes, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(n_bytes));
  if (file.bad() || !file.is_open()) return not_found("cannot read " + path.string());
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

Result<std::string> safetensors_header(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string prefix, read_start(path, 8));
  uint64_t n = 0;
  if (prefix.size() == 8) std::memcpy(&n, prefix.data(), 8);
  return read_start(path, 8 + std::min(n, kMaxHeaderBytes));
}

Status add_safetensors(const fs::path& folder, Sha256* hash) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    hash->add(file.filename().string());
    hash->add(std::to_string(fs::file_size(file, error)));
    ASSIGN_OR_RETURN(const std::string header, safetensors_header(file));
    hash->add(header);
  }
  return {};
}

// Every part's size and beginning: the first holds the configuration and the vocabulary.
Status add_gguf(const Gguf& gguf, Sha256* hash) {
  for (const auto& file : gguf.files()) {
    hash->add(file->name());
    hash->add(std::to_string(file->bytes().size()));
    hash->add(std::string(file->bytes().substr(0, kMaxConfigBytes)));
  }
  return {};
}

}  // namespace

Result<std::string> model_fingerprint(const FingerprintInputs& inputs) {
  Sha256 hash;
  ASSIGN_OR_RETURN(const std::optional<std::string> gguf_path, find_gguf(inputs.model_dir));
  if (gguf_path.has_value()) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Gguf> gguf, Gguf::open(*gguf_path));
    TRY(add_gguf(*gguf, &hash));
  } else {
    std::error_code error;
    const fs::path given(inputs.model_dir);
    const fs::path config = fs::is_directory(given, error) ? given / "config.json" : given;
    ASSIGN_OR_RETURN(const std::string config_bytes, read_start(config, kMaxConfigBytes));
    hash.add(config_bytes);
    if (!inputs.random_weights) TRY(add_safetensors(given, &hash));
  }
  if (inputs.random_weights) hash.add("random weights");
  hash.add(inputs.plan);
  hash.add(inputs.compute_dtype);
  hash.add(inputs.kv_cache_dtype);
  hash.add(inputs.quantized_weights);
  hash.add(inputs.device);
  return hash.hex(16);
}

}  // namespace trireme::launch
