#include "parallel/launch/model_fingerprint.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

namespace trireme::launch {
namespace {

namespace fs = std::filesystem;

// A header longer than this is refused by the loader; here its start is enough.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

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

}  // namespace

Result<std::string> model_fingerprint(const FingerprintInputs& inputs) {
  Sha256 hash;
  std::error_code error;
  const fs::path config = fs::is_directory(inputs.model_dir, error)
                              ? fs::path(inputs.model_dir) / "config.json"
                              : fs::path(inputs.model_dir);
  ASSIGN_OR_RETURN(const std::string config_bytes, read_start(config, 16 << 20));
  hash.add(config_bytes);
  if (inputs.random_weights) {
    hash.add("random weights");
  } else {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(inputs.model_dir, error)) {
      if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      hash.add(file.filename().string());
      hash.add(std::to_string(fs::file_size(file, error)));
      ASSIGN_OR_RETURN(const std::string header, safetensors_header(file));
      hash.add(header);
    }
  }
  hash.add(inputs.plan);
  hash.add(inputs.compute_dtype);
  hash.add(inputs.device);
  return hash.hex(16);
}

}  // namespace trireme::launch
