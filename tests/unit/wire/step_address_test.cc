#include <gtest/gtest.h>

#include "parallel/wire/zmq_step_link.h"

namespace trireme::wire {
namespace {

StepLinkAddress sample() {
  return {"tcp://127.0.0.1:4000", "tcp://127.0.0.1:4001", std::string(40, 's'),
          std::string(40, 'p'), std::string(40, 'c')};
}

TEST(StepLinkAddress, ComesBackFromItsText) {
  const std::string text = sample().to_string();
  EXPECT_LE(text.size(), 1024u);
  const auto parsed = StepLinkAddress::parse(text);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->to_string(), text);
  EXPECT_EQ(parsed->heartbeat_endpoint, "tcp://127.0.0.1:4001");
}

TEST(StepLinkAddress, RefusesEveryCutOfIt) {
  const std::string text = sample().to_string();
  for (size_t n = 0; n < text.size(); ++n) {
    EXPECT_FALSE(StepLinkAddress::parse(text.substr(0, n)).ok()) << n;
  }
  EXPECT_FALSE(StepLinkAddress::parse(text + " more").ok());
  EXPECT_FALSE(StepLinkAddress::parse(text + std::string(2000, 'x')).ok());
  EXPECT_FALSE(StepLinkAddress::parse("trireme-step/2" + text.substr(14)).ok());
}

TEST(StepLinkOptions, NonsenseIsRefused) {
  EXPECT_FALSE(bind_coordinator_link({.n_ranks = 0}).ok());
  EXPECT_FALSE(bind_coordinator_link({.n_ranks = 1, .bind_host = "0.0.0.0"}).ok());
  EXPECT_FALSE(
      bind_coordinator_link({.n_ranks = 1, .heartbeat_ns = kSecondNs, .dead_ns = kSecondNs}).ok());
  const auto far_away = bind_coordinator_link({.n_ranks = 1, .bind_host = "192.0.2.1"});
  ASSERT_FALSE(far_away.ok());
  EXPECT_NE(far_away.error().message.find("not one of this machine"), std::string::npos);
  EXPECT_FALSE(connect_rank_link(sample(), -1, {}).ok());
}

}  // namespace
}  // namespace trireme::wire
