#include "router/http/server.h"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unordered_map>

#include "base/log.h"
#include "router/http/connection.h"
#include "router/http/event_loop_impl.h"
#include "router/http/transport.h"
#include "router/http/write_pool.h"

namespace trireme::router {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(EventLoop& event_loop, const Clock& clock, const HttpServerOptions& server_options,
       Handler handler, HeadCheck head_check)
      : loop(event_loop),
        options(server_options),
        acceptor(event_loop.impl().io),
        retry(event_loop.impl().io),
        context(std::make_shared<ConnectionContext>(ConnectionContext{clock,
                                                                      server_options.limits,
                                                                      server_options.cors,
                                                                      std::move(handler),
                                                                      std::move(head_check),
                                                                      {},
                                                                      {}})) {
    if (options.n_writers > 1) write_pool = std::make_unique<WritePool>(options.n_writers - 1);
  }

  Status open();
  Status load_tls();
  void accept();
  void on_accepted(tcp::socket socket);

  EventLoop& loop;
  HttpServerOptions options;
  tcp::acceptor acceptor;
  int port = 0;  // as bound, for any thread to ask
  asio::steady_timer retry;
  std::unique_ptr<asio::ssl::context> tls;
  std::shared_ptr<ConnectionContext> context;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  std::unique_ptr<WritePool> write_pool;  // null: one thread does it all
  std::vector<PlannedWrite> writes;       // of the batch that is being ended
};

namespace {

std::vector<tcp::endpoint> resolve(asio::io_context& io, const std::string& host, int port) {
  error_code ec;
  tcp::resolver resolver(io);
  std::vector<tcp::endpoint> endpoints;
  const auto flags = tcp::resolver::passive | tcp::resolver::numeric_service;
  for (const auto& entry : resolver.resolve(host, std::to_string(port), flags, ec)) {
    endpoints.push_back(entry.endpoint());
  }
  return endpoints;
}

}  // namespace

bool is_loopback_host(const std::string& host) {
  if (host.empty()) return false;
  asio::io_context io;
  const auto endpoints = resolve(io, host, 1);
  for (const auto& endpoint : endpoints) {
    if (!endpoint.address().is_loopback()) return false;
  }
  return !endpoints.empty();
}

Status HttpServer::Impl::load_tls() {
  if (options.tls_certificate.empty() != options.tls_key.empty()) {
    return invalid_argument("TLS needs a certificate and a key: only one of them is given");
  }
  if (options.tls_certificate.empty()) return {};
  tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  tls->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1 |
                   asio::ssl::context::no_sslv3);
  error_code ec;
  tls->use_certificate_chain_file(options.tls_certificate, ec);
  if (ec) {
    return invalid_argument("the TLS certificate " + options.tls_certificate +
                            " cannot be read as PEM: " + ec.message());
  }
  tls->use_private_key_file(options.tls_key, asio::ssl::context::pem, ec);
  if (ec) {
    return invalid_argument("the TLS key " + options.tls_key + " cannot be used: " + ec.message());
  }
  return {};
}

Status HttpServer::Impl::open() {
  TRY(load_tls());
  const auto endpoints = resolve(loop.impl().io, options.host, options.port);
  const std::string where = options.host + ":" + std::to_string(options.port);
  if (endpoints.empty()) return invalid_argument("the host " + options.host + " has no address");
  error_code ec;
  acceptor.open(endpoints.front().protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoints.front(), ec);
  if (!ec) acceptor.listen(1024, ec);
  if (ec == asio::error::address_in_use) {
    return Error{ErrorCode::kAlreadyExists, "cannot listen on " + where + ": the port is taken"};
  }
  if (!ec) port = acceptor.local_endpoint(ec).port();
  if (ec) return invalid_argument("cannot listen on " + where + ": " + ec.message());
  context->post = [this](std::function<void()> task) {
    asio::post(loop.impl().io, std::move(task));
  };
  context->on_closed = [this](Connection* connection) { connections.erase(connection); };
  accept();
  return {};
}

void HttpServer::Impl::accept() {
  acceptor.async_accept([weak = weak_from_this()](const error_code& ec, tcp::socket socket) {
    const auto self = weak.lock();
    if (!self || ec == asio::error::operation_aborted || !self->acceptor.is_open()) return;
    if (!ec) {
      self->on_accepted(std::move(socket));
      return self->accept();
    }
    // Out of descriptors, most likely: an immediate retry would only spin.
    self->retry.expires_after(std::chrono::milliseconds(100));
    self->retry.async_wait([weak](const error_code& stopped) {
      const auto again = weak.lock();
      if (again && !stopped && again->acceptor.is_open()) again->accept();
    });
  });
}

void HttpServer::Impl::on_accepted(tcp::socket socket) {
  error_code ignored;
  if (static_cast<int>(connections.size()) >= options.limits.connections) {
    static constexpr std::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n";
    socket.non_blocking(true, ignored);
    socket.send(asio::buffer(kBusy.data(), kBusy.size()), 0, ignored);
    return;
  }
  socket.set_option(tcp::no_delay(true), ignored);
  // Unread output is counted by us; the kernel's own share of it stays small and known.
  socket.set_option(asio::socket_base::send_buffer_size(128 << 10), ignored);
  auto transport =
      tls ? make_tls_transport(std::move(socket), *tls) : make_plain_transport(std::move(socket));
  auto connection = std::make_shared<Connection>(context, std::move(transport));
  connections.emplace(connection.get(), connection);
  connection->start();
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(EventLoop& loop, const Clock& clock,
                                                       const HttpServerOptions& options,
                                                       Handler handler, HeadCheck head_check) {
  auto impl =
      std::make_shared<Impl>(loop, clock, options, std::move(handler), std::move(head_check));
  TRY(impl->open());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  stop_accepting();
  auto connections = std::move(impl_->connections);
  impl_->connections.clear();
  for (auto& [key, connection] : connections) connection->close();
  // Operations in flight may still hold connections and so the context: it must not call back into
  // a dead server.
  impl_->context->on_closed = [](Connection*) {};
  impl_->context->post = [](std::function<void()>) {};
}

int HttpServer::port() const { return impl_->port; }

int HttpServer::n_connections() const { return static_cast<int>(impl_->connections.size()); }

int HttpServer::n_busy_connections() const {
  int n = 0;
  for (const auto& [key, connection] : impl_->connections) n += connection->busy() ? 1 : 0;
  return n;
}

int64_t HttpServer::n_slow_readers_dropped() const { return impl_->context->n_slow_readers; }

void HttpServer::begin_write_batch() {
  CHECK(!impl_->context->gathering && impl_->context->gathered.empty());
  impl_->context->gathering = impl_->write_pool != nullptr;
}

void HttpServer::end_write_batch() {
  ConnectionContext& context = *impl_->context;
  if (!std::exchange(context.gathering, false)) return;
  impl_->writes.clear();
  for (const GatheredWrite& one : context.gathered) {
    const int fd = one.connection->gathered_fd();
    const auto bytes = std::string_view(one.buffer).substr(one.begin);
    impl_->writes.push_back({fd, fd < 0 ? std::string_view() : bytes, {}});
  }
  impl_->write_pool->run(impl_->writes);
  for (size_t i = 0; i < impl_->writes.size(); ++i) {
    GatheredWrite& one = context.gathered[i];
    one.connection->on_gathered_written(impl_->writes[i].bytes, impl_->writes[i].result);
    context.spare.give_back(std::move(one.buffer));
  }
  context.gathered.clear();
}

void HttpServer::tick() {
  const int64_t now_ns = impl_->context->clock.now_ns();
  std::vector<std::shared_ptr<Connection>> snapshot;  // a tick may close and so erase
  snapshot.reserve(impl_->connections.size());
  for (auto& [key, connection] : impl_->connections) snapshot.push_back(connection);
  for (auto& connection : snapshot) connection->tick(now_ns);
}

void HttpServer::stop_accepting() {
  error_code ignored;
  impl_->acceptor.close(ignored);
  impl_->context->draining = true;
  std::vector<std::shared_ptr<Connection>> snapshot;
  for (auto& [key, connection] : impl_->connections) snapshot.push_back(connection);
  for (auto& connection : snapshot) connection->close_if_idle();
}

}  // namespace trireme::router
