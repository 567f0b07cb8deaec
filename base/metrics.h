// Metrics: counters, gauges and histograms of one process, in Prometheus' text format
// (prometheus-cpp behind it).
//
// Names are given without the `trireme_` prefix, which is added here, and with the `_total` suffix
// where they are counters: prometheus-cpp adds neither. A series is looked up once, at start-up,
// and then updated through its handle; updates are thread-safe and lock-free. Handles live as long
// as the registry. Label values from outside must be bounded by the caller's configuration.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace trireme {

using MetricLabels = std::map<std::string, std::string>;

class Counter {
 public:
  void add(double value = 1);

 private:
  friend class MetricsRegistry;
  explicit Counter(void* impl) : impl_(impl) {}
  void* impl_;
};

class Gauge {
 public:
  void set(double value);
  void add(double value);

 private:
  friend class MetricsRegistry;
  explicit Gauge(void* impl) : impl_(impl) {}
  void* impl_;
};

class Histogram {
 public:
  void observe(double value);

 private:
  friend class MetricsRegistry;
  friend class HistogramBatch;
  explicit Histogram(void* impl) : impl_(impl) {}
  void* impl_;
};

// Observations that are told to a histogram together, for loops that would feel its lock at each
// one. Belongs to one thread. What is not flushed is lost.
class HistogramBatch {
 public:
  // `bounds`: those that the histogram was made with.
  HistogramBatch(Histogram histogram, std::vector<double> bounds);
  void observe(double value);
  void flush();

 private:
  Histogram histogram_;
  std::vector<double> bounds_;
  std::vector<double> counts_;  // by bucket
  double sum_ = 0;
  int64_t n_values_ = 0;
  double last_value_ = 0;  // the values of a step are mostly equal: no search for the same again
  size_t last_bucket_ = 0;
};

class MetricsRegistry {
 public:
  MetricsRegistry();
  ~MetricsRegistry();
  MetricsRegistry(const MetricsRegistry&) = delete;
  MetricsRegistry& operator=(const MetricsRegistry&) = delete;

  // The series with these labels; the same handle for the same name and labels. `help` counts the
  // first time.
  Counter counter(const std::string& name, const std::string& help,
                  const MetricLabels& labels = {});
  Gauge gauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  Histogram histogram(const std::string& name, const std::string& help,
                      const std::vector<double>& buckets, const MetricLabels& labels = {});
  // A gauge whose name is written as it is, without the prefix: compatibility series such as
  // "vllm:num_requests_running".
  Gauge foreign_gauge(const std::string& name, const std::string& help,
                      const MetricLabels& labels = {});

  // All series in Prometheus' text exposition format 0.0.4.
  std::string serialize() const;

 private:
  friend class MetricsServer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Serves GET /metrics of a registry on "host:port" (port 0: any). For processes with no HTTP server
// of their own.
class MetricsServer {
 public:
  static Result<std::unique_ptr<MetricsServer>> start(const std::string& host, int port,
                                                      const MetricsRegistry& registry);
  ~MetricsServer();
  int port() const;

 private:
  MetricsServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bucket bounds of conventions section 2, in seconds or tokens.
namespace buckets {
std::vector<double> time_to_first_token();
std::vector<double> inter_token_latency();
std::vector<double> request_latency();
std::vector<double> tokens_up_to(int64_t max_tokens);  // 1-2-5 x 10^k
std::vector<double> step_tokens();
}  // namespace buckets

}  // namespace trireme
