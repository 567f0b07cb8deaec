// A real router in a thread, on free ports of loopback, serving the demo model's texts; replicas
// are made up.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "base/clock.h"
#include "base/cluster_config.h"
#include "base/json.h"
#include "router/api/served_model.h"
#include "router/router.h"
#include "tests/support/router/http_client.h"
#include "tests/support/router/test_replica.h"

namespace trireme::router {

// The machine's clock, moved ahead at will: limits of minutes pass at once.
class SkewedClock final : public Clock {
 public:
  int64_t now_ns() const override { return clock_.now_ns() + ahead_ns; }
  int64_t unix_ns() const override { return clock_.unix_ns() + ahead_ns; }
  std::atomic<int64_t> ahead_ns{0};

 private:
  SystemClock clock_;
};

class RouterFixture : public ::testing::Test {
 protected:
  RouterFixture();
  ~RouterFixture() override;

  void start_router();
  void stop_router();
  testing::TestReplicaOptions replica_options(const std::string& name = "replica-0",
                                              uint64_t epoch = 1) const;
  void wait_ready(int n_replicas);
  // Polls `condition` for up to `timeout_ms`: long enough for a machine that does much else.
  static bool eventually(const std::function<bool()>& condition, int timeout_ms = 60'000);
  std::vector<int32_t> encode(const std::string& text) const;
  Json get(const std::string& path, bool admin = false);

  ClusterConfig config_;
  ServedModel model_;
  SkewedClock clock_;
  std::unique_ptr<Router> router_;
  std::thread thread_;
};

Json parse(const std::string& text);

}  // namespace trireme::router
