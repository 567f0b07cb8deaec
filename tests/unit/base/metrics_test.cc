#include "base/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace trireme {
namespace {

using ::testing::HasSubstr;

TEST(Metrics, SeriesAreWrittenWithPrefixLabelsAndHelp) {
  MetricsRegistry registry;
  registry.counter("requests_total", "Requests.", {{"outcome", "stop"}}).add();
  registry.counter("requests_total", "Requests.", {{"outcome", "stop"}}).add(2);
  registry.gauge("requests_running", "Now.").set(5);
  registry.gauge("requests_running", "Now.").add(-1);
  registry.foreign_gauge("vllm:num_requests_running", "Now.").set(3);
  const std::string text = registry.serialize();
  EXPECT_THAT(text, HasSubstr("# HELP trireme_requests_total Requests.\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE trireme_requests_total counter\n"));
  EXPECT_THAT(text, HasSubstr("trireme_requests_total{outcome=\"stop\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("trireme_requests_running 4\n"));
  EXPECT_THAT(text, HasSubstr("\nvllm:num_requests_running 3\n"));
}

TEST(Metrics, ABatchOfObservationsCountsLikeEachOfThem) {
  const std::vector<double> bounds = {0.1, 1};
  MetricsRegistry each;
  MetricsRegistry together;
  Histogram histogram = each.histogram("wait_seconds", "Waits.", bounds);
  HistogramBatch batch(together.histogram("wait_seconds", "Waits.", bounds), bounds);
  for (const double value : {0.05, 0.1, 0.1, 0.25, 1.0, 1.0, 5.0, 0.0}) {
    histogram.observe(value);
    batch.observe(value);
  }
  EXPECT_NE(together.serialize(), each.serialize()) << "not told yet";
  batch.flush();
  batch.flush();
  EXPECT_EQ(together.serialize(), each.serialize());
}

TEST(Metrics, HistogramsCountIntoTheirBuckets) {
  MetricsRegistry registry;
  Histogram histogram = registry.histogram("wait_seconds", "Waits.", {0.1, 1});
  for (const double value : {0.05, 0.5, 0.7, 5.0}) histogram.observe(value);
  const std::string text = registry.serialize();
  EXPECT_THAT(text, HasSubstr("trireme_wait_seconds_bucket{le=\"0.1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("trireme_wait_seconds_bucket{le=\"1\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("trireme_wait_seconds_bucket{le=\"+Inf\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("trireme_wait_seconds_sum 6.25\n"));
}

TEST(Metrics, UpdatesFromManyThreadsAllCount) {
  MetricsRegistry registry;
  Counter counter = registry.counter("n_total", "N.");
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([counter]() mutable {
      for (int i = 0; i < 10'000; ++i) counter.add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(registry.serialize(), HasSubstr("trireme_n_total 40000\n"));
}

TEST(Metrics, BucketBoundsRise) {
  for (const auto& bounds :
       {buckets::time_to_first_token(), buckets::inter_token_latency(), buckets::request_latency(),
        buckets::tokens_up_to(131'072), buckets::step_tokens()}) {
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
    EXPECT_EQ(std::adjacent_find(bounds.begin(), bounds.end()), bounds.end());
  }
  EXPECT_EQ(buckets::tokens_up_to(20), (std::vector<double>{1, 2, 5, 10, 20}));
  EXPECT_EQ(buckets::step_tokens().back(), 16384);
}

std::string http_get(int port, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
    EXPECT_EQ(::write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char chunk[4096];
    for (ssize_t n; (n = ::read(fd, chunk, sizeof(chunk))) > 0;)
      answer.append(chunk, static_cast<size_t>(n));
  }
  ::close(fd);
  return answer;
}

TEST(Metrics, TheServerServesThemAndATakenPortIsASentence) {
  MetricsRegistry registry;
  registry.gauge("up", "Up.").set(1);
  const auto server = MetricsServer::start("127.0.0.1", 0, registry);
  ASSERT_TRUE(server.ok()) << server.error().message;
  const int port = (*server)->port();
  EXPECT_THAT(http_get(port, "/metrics"), HasSubstr("trireme_up 1\n"));
  const auto second = MetricsServer::start("127.0.0.1", port, registry);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kAlreadyExists);
}

}  // namespace
}  // namespace trireme
