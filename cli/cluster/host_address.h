// A host as it is configured, by name or number, in both families: as an address of a socket, and
// as a URL writes it.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>

namespace trireme::cli {

struct HostAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  HostAddress with_port(int port) const;
};

// The first address, as the router takes it; nothing where the host has none.
std::optional<HostAddress> resolve_host(const std::string& host, int port);

// Where a client of this machine finds one that listens on `host`.
std::string reachable_host(const std::string& host);

// "[::1]" for "::1".
std::string url_host(const std::string& host);

}  // namespace trireme::cli
