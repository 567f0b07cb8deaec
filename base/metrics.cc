#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace trireme {

namespace {
// As prometheus-cpp counts: a value on a bound belongs to the bucket below it.
size_t bucket_of(const std::vector<double>& bounds, double value) {
  return static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) -
                             bounds.begin());
}
}  // namespace

void Counter::add(double value) { static_cast<prometheus::Counter*>(impl_)->Increment(value); }
void Gauge::set(double value) { static_cast<prometheus::Gauge*>(impl_)->Set(value); }
void Gauge::add(double value) { static_cast<prometheus::Gauge*>(impl_)->Increment(value); }
void Histogram::observe(double value) {
  static_cast<prometheus::Histogram*>(impl_)->Observe(value);
}

HistogramBatch::HistogramBatch(Histogram histogram, std::vector<double> bounds)
    : histogram_(histogram), bounds_(std::move(bounds)), counts_(bounds_.size() + 1, 0) {
  last_bucket_ = bucket_of(bounds_, last_value_);
}

void HistogramBatch::observe(double value) {
  if (value != last_value_) {
    last_value_ = value;
    last_bucket_ = bucket_of(bounds_, value);
  }
  ++counts_[last_bucket_];
  sum_ += value;
  ++n_values_;
}

void HistogramBatch::flush() {
  if (n_values_ == 0) return;
  static_cast<prometheus::Histogram*>(histogram_.impl_)->ObserveMultiple(counts_, sum_);
  std::fill(counts_.begin(), counts_.end(), 0);
  sum_ = 0;
  n_values_ = 0;
}

struct MetricsRegistry::Impl {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
};

MetricsRegistry::MetricsRegistry() : impl_(std::make_unique<Impl>()) {}
MetricsRegistry::~MetricsRegistry() = default;

namespace {
std::string prefixed(const std::string& name) { return "trireme_" + name; }
}  // namespace

Counter MetricsRegistry::counter(const std::string& name, const std::string& help,
                                 const MetricLabels& labels) {
  auto& family =
      prometheus::BuildCounter().Name(prefixed(name)).Help(help).Register(*impl_->registry);
  return Counter(&family.Add(labels));
}

Gauge MetricsRegistry::gauge(const std::string& name, const std::string& help,
                             const MetricLabels& labels) {
  return foreign_gauge(prefixed(name), help, labels);
}

Gauge MetricsRegistry::foreign_gauge(const std::string& name, const std::string& help,
                                     const MetricLabels& labels) {
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(*impl_->registry);
  return Gauge(&family.Add(labels));
}

Histogram MetricsRegistry::histogram(const std::string& name, const std::string& help,
                                     const std::vector<double>& bucket_bounds,
                                     const MetricLabels& labels) {
  auto& family =
      prometheus::BuildHistogram().Name(prefixed(name)).Help(help).Register(*impl_->registry);
  return Histogram(&family.Add(
      labels, prometheus::Histogram::BucketBoundaries(bucket_bounds.begin(), bucket_bounds.end())));
}

std::string MetricsRegistry::serialize() const {
  return prometheus::TextSerializer().Serialize(impl_->registry->Collect());
}

struct MetricsServer::Impl {
  std::unique_ptr<prometheus::Exposer> exposer;
  std::shared_ptr<prometheus::Registry> registry;  // the exposer keeps a weak reference only
};

MetricsServer::MetricsServer() : impl_(std::make_unique<Impl>()) {}
MetricsServer::~MetricsServer() = default;

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(const std::string& host, int port,
                                                            const MetricsRegistry& registry) {
  auto server = std::unique_ptr<MetricsServer>(new MetricsServer());
  const std::string address = host + ":" + std::to_string(port);
  try {
    server->impl_->registry = registry.impl_->registry;
    server->impl_->exposer = std::make_unique<prometheus::Exposer>(address, 1);
    server->impl_->exposer->RegisterCollectable(server->impl_->registry);
  } catch (const std::exception&) {
    return Error{ErrorCode::kAlreadyExists, "cannot serve metrics on " + address +
                                                ": the port is taken or the address is not ours"};
  }
  return server;
}

int MetricsServer::port() const { return impl_->exposer->GetListeningPorts().at(0); }

namespace buckets {

std::vector<double> time_to_first_token() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}

std::vector<double> inter_token_latency() {
  return {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
          .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
}

std::vector<double> request_latency() {
  return {.01, .05, .1, .3, .5, .8, 1,   1.5, 2,   2.5, 5,    10,
          15,  20,  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}

std::vector<double> tokens_up_to(int64_t max_tokens) {
  std::vector<double> bounds;
  for (int64_t decade = 1; decade <= max_tokens; decade *= 10) {
    for (const int64_t mantissa : {1, 2, 5}) {
      if (mantissa * decade <= max_tokens) bounds.push_back(static_cast<double>(mantissa * decade));
    }
  }
  return bounds;
}

std::vector<double> step_tokens() {
  std::vector<double> bounds = {1};
  for (int tokens = 8; tokens <= 16384; tokens *= 2) bounds.push_back(tokens);
  return bounds;
}

}  // namespace buckets

}  // namespace trireme
