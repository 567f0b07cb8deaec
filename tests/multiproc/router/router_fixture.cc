#include "tests/multiproc/router/router_fixture.h"

#include "router/api/prepare.h"

namespace trireme::router {

Json parse(const std::string& text) {
  auto parsed = parse_json(text, JsonLimits{});
  EXPECT_TRUE(parsed.ok()) << text.substr(0, 500);
  return parsed.ok() ? std::move(*parsed) : Json();
}

RouterFixture::RouterFixture() {
  auto loaded = load_served_model({.path = TRIREME_SOURCE_DIR "/configs/models/trireme-demo"});
  EXPECT_TRUE(loaded.ok());
  model_ = std::move(*loaded);
  config_.router.port = 0;
  config_.router.admin_port = 0;
  config_.router.wire_port = 0;
  config_.router.curve = false;
  config_.router.heartbeat_ns = 100 * kMillisecondNs;
  // A busy machine may keep a replica's thread waiting; tests that lose one set this lower.
  config_.router.replica_dead_ns = 30 * kSecondNs;
}

RouterFixture::~RouterFixture() { stop_router(); }

void RouterFixture::start_router() {
  auto router = Router::create(config_, model_, {.handle_signals = false}, clock_);
  ASSERT_TRUE(router.ok()) << router.error().message;
  router_ = std::move(*router);
  thread_ = std::thread([this] { router_->run(); });
}

void RouterFixture::stop_router() {
  if (router_) router_->stop();
  if (thread_.joinable()) thread_.join();
  router_.reset();
}

testing::TestReplicaOptions RouterFixture::replica_options(const std::string& name,
                                                           uint64_t epoch) const {
  testing::TestReplicaOptions options;
  options.router_address = router_->wire_address();
  options.name = name;
  options.epoch = epoch;
  options.context = model_.context;
  options.vocab = model_.vocab;
  return options;
}

bool RouterFixture::eventually(const std::function<bool()>& condition, int timeout_ms) {
  for (int waited = 0; waited < timeout_ms; waited += 5) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

void RouterFixture::wait_ready(int n_replicas) {
  ASSERT_TRUE(eventually([&] {
    testing::HttpClient client(router_->port());
    const auto reply = client.request("GET", "/health");
    return reply.status == 200 && parse(reply.body)["replicas"]["ready"] == n_replicas;
  }));
}

std::vector<int32_t> RouterFixture::encode(const std::string& text) const {
  std::vector<int32_t> ids;
  EXPECT_FALSE(encode_text(model_, text, false, &ids));
  return ids;
}

Json RouterFixture::get(const std::string& path, bool admin) {
  testing::HttpClient client(admin ? router_->admin_port() : router_->port());
  const auto reply = client.request("GET", path);
  EXPECT_EQ(reply.status, 200) << path << " " << reply.body;
  return parse(reply.body);
}

}  // namespace trireme::router
