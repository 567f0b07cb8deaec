// TLS on the API port, with a certificate that is made on the spot.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>

#include "tests/multiproc/router/router_fixture.h"

namespace trireme::router {
namespace {

using testing::post;
using testing::TestReplica;

void write_certificate(const std::string& certificate_path, const std::string& key_path) {
  EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
  X509* certificate = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_sign(certificate, key, EVP_sha256());
  FILE* file = std::fopen(certificate_path.c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
  file = std::fopen(key_path.c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

class TlsTest : public RouterFixture {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("trireme-tls-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    config_.router.tls_certificate = (folder_ / "certificate.pem").string();
    config_.router.tls_key = (folder_ / "key.pem").string();
    write_certificate(config_.router.tls_certificate, config_.router.tls_key);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Sends `request` and returns all that comes back until the server closes.
  std::string exchange(const std::string& request) {
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    BIO* bio = BIO_new_ssl_connect(context);
    BIO_set_conn_hostname(bio, ("127.0.0.1:" + std::to_string(router_->port())).c_str());
    std::string reply;
    if (BIO_do_connect(bio) == 1 &&
        BIO_write(bio, request.data(), static_cast<int>(request.size())) > 0) {
      char bytes[4096];
      for (int n = BIO_read(bio, bytes, sizeof(bytes)); n > 0;
           n = BIO_read(bio, bytes, sizeof(bytes))) {
        reply.append(bytes, static_cast<size_t>(n));
      }
    }
    BIO_free_all(bio);
    SSL_CTX_free(context);
    return reply;
  }
  std::filesystem::path folder_;
};

TEST_F(TlsTest, StreamsAndLargeBodies) {
  start_router();
  TestReplica replica(replica_options());
  ASSERT_TRUE(eventually([&] {
    return exchange("GET /readiness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .starts_with("HTTP/1.1 200");
  }));
  const std::string reply = exchange(post(
      "/v1/completions",
      R"({"prompt":[5],"max_tokens":200,"stream":true,"ignore_eos":true,"return_token_ids":true})",
      "Connection: close\r\n"));
  size_t n_events = 0;
  for (size_t at = reply.find("data: {"); at != std::string::npos;
       at = reply.find("data: {", at + 1))
    ++n_events;
  EXPECT_EQ(n_events, 201U);
  EXPECT_NE(reply.find("data: [DONE]"), std::string::npos);
  // More than one TLS record each way.
  const std::string large = exchange(post(
      "/tokenize", R"({"prompt":")" + std::string(300'000, 'a') + "\"}", "Connection: close\r\n"));
  EXPECT_TRUE(large.starts_with("HTTP/1.1 200")) << large.substr(0, 200);
  EXPECT_TRUE(large.ends_with("}"));
}

TEST_F(TlsTest, PlainBytesAndSilenceDoNoHarm) {
  config_.limits.header_timeout_ns = 500 * kMillisecondNs;
  start_router();
  testing::HttpClient plain(router_->port());
  plain.send("GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
  plain.read_some(60'000);
  testing::HttpClient silent(router_->port());
  EXPECT_EQ(silent.read_some(60'000), "");
  EXPECT_TRUE(silent.saw_end()) << "a handshake has a time limit";
  EXPECT_TRUE(exchange("GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                  .starts_with("HTTP/1.1 200"));
}

TEST_F(TlsTest, BadFilesAreClearErrors) {
  ClusterConfig bad = config_;
  bad.router.tls_key.clear();
  EXPECT_FALSE(Router::create(bad, model_, {.handle_signals = false}, clock_).ok());
  bad = config_;
  bad.router.tls_certificate = "/nowhere.pem";
  const auto missing = Router::create(bad, model_, {.handle_signals = false}, clock_);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("certificate"), std::string::npos);
}

}  // namespace
}  // namespace trireme::router
