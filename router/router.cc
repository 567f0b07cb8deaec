#include "router/router.h"

#include <fmt/format.h>

#include <csignal>
#include <random>

#include "base/log.h"
#include "router/api/served_model.h"
#include "router/generation.h"
#include "router/http/server.h"
#include "router/routes.h"
#include "router/serving.h"

namespace trireme::router {
namespace {

constexpr int64_t kHttpTickNs = 250 * kMillisecondNs;
constexpr int64_t kCallTickNs = kSecondNs;

uint64_t random_u64() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Of the API, or of the admin port: no TLS and no browsers there.
HttpServerOptions http_options(const ClusterConfig& config, int port, bool api, int n_writers) {
  HttpServerOptions options;
  options.host = config.router.host;
  options.port = port;
  if (api) {
    options.tls_certificate = config.router.tls_certificate;
    options.tls_key = config.router.tls_key;
  }
  options.n_writers = n_writers;
  const LimitConfig& l = config.limits;
  options.limits = {.body_bytes = l.body_bytes,
                    .header_bytes = l.header_bytes,
                    .header_count = l.header_count,
                    .connections = l.connections,
                    .all_bodies_bytes = std::max<int64_t>(256 << 20, 4 * l.body_bytes),
                    .slow_reader_bytes = l.slow_reader_bytes,
                    .header_timeout_ns = l.header_timeout_ns,
                    .body_timeout_ns = l.body_timeout_ns,
                    .idle_timeout_ns = l.idle_timeout_ns};
  if (api) options.cors = CorsPolicy(config.router.allowed_origins);
  return options;
}

// Port 0 asks for any free one, for every router.
int nth_port(int base, int index) { return base == 0 ? 0 : base + index; }

}  // namespace

struct Router::Impl {
  Impl(const ClusterConfig& c, ServedModel m, const RouterOptions& o, const Clock& clk)
      : config(c), clock(clk), options(o), model(std::move(m)) {}

  Status open();
  void poll();
  void schedule_poll();
  void arm_upstream();
  void arm_http();
  void arm_calls();
  void begin_drain();
  void end_if_drained();

  const ClusterConfig& config;
  const Clock& clock;
  RouterOptions options;
  ServedModel model;
  MetricsRegistry registry;
  std::unique_ptr<RouterMetrics> metrics;
  EventLoop loop;
  std::unique_ptr<wire::RouterEndpoint> endpoint;
  std::unique_ptr<Serving> serving;
  std::unique_ptr<Routes> routes;
  std::unique_ptr<HttpServer> api;
  std::unique_ptr<HttpServer> admin;
  std::unique_ptr<EventLoop::Timer> upstream_timer, http_timer, call_timer;
  int64_t drain_deadline_ns = 0;
  int64_t n_rejected_seen = 0;
};

Status Router::Impl::open() {
  ASSIGN_OR_RETURN(KeyTable keys, KeyTable::make(config.keys));
  if (keys.empty() && !is_loopback_host(config.router.host)) {
    return invalid_argument(
        "no keys are configured, so the API listens on loopback only: give keys, or "
        "the host 127.0.0.1 instead of " +
        config.router.host);
  }
  metrics = std::make_unique<RouterMetrics>(registry, model.name, model.context,
                                            config.router.vllm_metric_names);
  serving = std::make_unique<Serving>(clock, loop, config, model, *metrics, std::move(keys),
                                      random_u64());
  serving->started_unix_ns = clock.unix_ns();
  routes = std::make_unique<Routes>(*serving, registry);
  const RouterConfig& r = config.router;
  ASSIGN_OR_RETURN(
      api, HttpServer::listen(
               loop, clock,
               http_options(config, nth_port(r.port, options.index), true, default_writers()),
               [this](std::shared_ptr<Exchange> exchange) { routes->handle_api(exchange); },
               [this](const HttpRequest& head) { return routes->check_api_head(head); }));
  ASSIGN_OR_RETURN(
      admin, HttpServer::listen(
                 loop, clock, http_options(config, nth_port(r.admin_port, options.index), false, 1),
                 [this](std::shared_ptr<Exchange> exchange) { routes->handle_admin(exchange); }));
  const int wire_port = nth_port(r.wire_port, options.index);
  const std::string wire_address =
      fmt::format("tcp://{}:{}", r.wire_host, wire_port == 0 ? "*" : std::to_string(wire_port));
  ASSIGN_OR_RETURN(endpoint, wire::RouterEndpoint::bind(wire_address, options.curve, {}));

  UpstreamOptions upstream;
  upstream.router_name = fmt::format("router-{}", options.index);
  upstream.router_epoch = random_u64() | 1;  // never 0
  upstream.model = model.name;
  upstream.vocab = model.vocab;
  upstream.heartbeat_ns = r.heartbeat_ns;
  upstream.replica_dead_ns = r.replica_dead_ns;
  upstream.queue_timeout_ns = config.limits.queue_timeout_ns;
  upstream.queue_requests = config.limits.queue_requests;
  upstream.queue_tokens = config.limits.queue_tokens;
  upstream.balance_load_weight = r.balance_load_weight;
  upstream.random_seed = random_u64();
  serving->upstream =
      std::make_unique<Upstream>(clock, *endpoint, upstream, *metrics, [this] { schedule_poll(); });
  if (r.tokenizer_threads > 0) serving->pool = std::make_unique<WorkPool>(r.tokenizer_threads);

  loop.watch_readable(endpoint->event_fd(), [this] { poll(); });
  upstream_timer = std::make_unique<EventLoop::Timer>(loop);
  http_timer = std::make_unique<EventLoop::Timer>(loop);
  call_timer = std::make_unique<EventLoop::Timer>(loop);
  if (options.handle_signals) {
    loop.watch_signals({SIGTERM, SIGINT}, [this](int) {
      if (serving->draining) return loop.stop();
      begin_drain();
    });
  }
  return {};
}

// One event batch: every message that has arrived, then one write per stream that they touched.
void Router::Impl::poll() {
  serving->now_ns = clock.now_ns();
  api->begin_write_batch();
  serving->in_batch = true;
  (void)serving->upstream->poll();
  serving->in_batch = false;
  serving->flush_dirty();
  api->end_write_batch();
}

// After a send the endpoint may hold messages without its fd telling so.
void Router::Impl::schedule_poll() {
  if (serving->poll_posted) return;
  serving->poll_posted = true;
  loop.post([this] {
    serving->poll_posted = false;
    poll();
    arm_upstream();
  });
}

void Router::Impl::arm_upstream() {
  const int64_t delay_ns =
      std::max<int64_t>(kMillisecondNs, serving->upstream->next_wake_ns() - clock.now_ns());
  upstream_timer->after_ns(delay_ns, [this] {
    serving->now_ns = clock.now_ns();
    serving->upstream->tick();
    serving->flush_dirty();
    arm_upstream();
  });
}

void Router::Impl::arm_http() {
  http_timer->after_ns(kHttpTickNs, [this] {
    api->tick();
    admin->tick();
    metrics->connections.set(api->n_connections());
    const int64_t n_rejected = endpoint->n_rejected_frames();
    metrics->rejected_frames.add(
        static_cast<double>(n_rejected - std::exchange(n_rejected_seen, n_rejected)));
    end_if_drained();
    arm_http();
  });
}

void Router::Impl::arm_calls() {
  call_timer->after_ns(kCallTickNs, [this] {
    serving->now_ns = clock.now_ns();
    std::vector<std::shared_ptr<GenerationCall>> snapshot;
    snapshot.reserve(serving->calls.size());
    for (const auto& [key, call] : serving->calls) snapshot.push_back(call);
    for (const auto& call : snapshot) call->tick(serving->now_ns);
    arm_calls();
  });
}

void Router::Impl::begin_drain() {
  if (serving->draining) return;
  serving->draining = true;
  drain_deadline_ns = clock.now_ns() + config.router.drain_ns;
  log::info("draining: {} requests may finish within {} s", serving->calls.size(),
            config.router.drain_ns / kSecondNs);
  api->stop_accepting();
  end_if_drained();
}

void Router::Impl::end_if_drained() {
  if (!serving->draining) return;
  const bool late = clock.now_ns() >= drain_deadline_ns;
  if (late && !serving->calls.empty()) {
    log::warn("{} requests did not finish in time", serving->calls.size());
    std::vector<std::shared_ptr<GenerationCall>> snapshot;
    for (const auto& [key, call] : serving->calls) snapshot.push_back(call);
    for (const auto& call : snapshot) {
      call->abort({503, "the server is shutting down", "", "", "draining", 1});
    }
  }
  // Connections outlive their last call by the bytes that are still to be written.
  if (late || (serving->calls.empty() && api->n_busy_connections() == 0)) loop.stop();
}

Result<std::unique_ptr<Router>> Router::create(const ClusterConfig& config, ServedModel model,
                                               const RouterOptions& options, const Clock& clock) {
  auto impl = std::make_unique<Impl>(config, std::move(model), options, clock);
  TRY(impl->open());
  return std::unique_ptr<Router>(new Router(std::move(impl)));
}

Router::Router(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Router::~Router() {
  // Threads first, then what their tasks reach into.
  impl_->serving->pool.reset();
  impl_->upstream_timer.reset();
  impl_->http_timer.reset();
  impl_->call_timer.reset();
  impl_->api.reset();
  impl_->admin.reset();
}

void Router::run() {
  impl_->poll();
  impl_->arm_upstream();
  impl_->arm_http();
  impl_->arm_calls();
  impl_->loop.run();
}

void Router::drain() {
  impl_->loop.post([impl = impl_.get()] { impl->begin_drain(); });
}

void Router::stop() { impl_->loop.stop(); }

int Router::port() const { return impl_->api->port(); }
int Router::admin_port() const { return impl_->admin->port(); }
std::string Router::wire_address() const { return impl_->endpoint->address(); }

}  // namespace trireme::router
