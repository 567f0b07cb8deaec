// A real router in a thread, on free ports of loopback, serving the demo model's texts; replicas
// are made up.
#pragma once

#include <gtest/gtest.h>

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

class RouterFixture : public ::testing::Test {
 protected:
  RouterFixture();
  ~RouterFixture() override;

  void start_router();
  void stop_router();
  testing::TestReplicaOptions replica_options(const std::string& name = "replica-0",
                                              uint64_t epoch = 1) const;
  void wait_ready(int n_replicas);
  // Polls `condition` for up to `timeout_ms`.
  static bool eventually(const std::function<bool()>& condition, int timeout_ms = 5000);
  std::vector<int32_t> encode(const std::string& text) const;
  Json get(const std::string& path, bool admin = false);

  ClusterConfig config_;
  ServedModel model_;
  SystemClock clock_;
  std::unique_ptr<Router> router_;
  std::thread thread_;
};

Json parse(const std::string& text);

}  // namespace trireme::router
