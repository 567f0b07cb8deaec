#include "tests/support/router/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace trireme::testing {

HttpClient::HttpClient(int port, int receive_buffer_bytes) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_GE(fd_, 0);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
  }
  const timeval timeout{30, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) close();
}

HttpClient::~HttpClient() { close(); }

void HttpClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool HttpClient::fill() {
  char bytes[16384];
  const ssize_t n = ::recv(fd_, bytes, sizeof(bytes), 0);
  if (n <= 0) {
    saw_end_ = true;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

std::string HttpClient::take_line() {
  size_t end;
  while ((end = buffer_.find('\n')) == std::string::npos) {
    if (!fill()) return {};
  }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

std::string HttpClient::take_bytes(size_t n) {
  while (buffer_.size() < n && fill()) {
  }
  std::string bytes = buffer_.substr(0, n);
  buffer_.erase(0, n);
  return bytes;
}

HttpReply HttpClient::read_head() {
  HttpReply reply;
  const std::string status = take_line();
  if (!status.starts_with("HTTP/1.1 ")) return reply;
  reply.status = std::stoi(status.substr(9, 3));
  for (std::string line = take_line(); !line.empty(); line = take_line()) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    reply.headers[name] = line.substr(colon + 2);
  }
  return reply;
}

HttpReply HttpClient::read_reply() {
  HttpReply reply = read_head();
  if (reply.status == 0 || reply.status == 100) return reply;
  if (reply.headers.contains("content-length")) {
    reply.body = take_bytes(std::stoul(reply.headers["content-length"]));
    return reply;
  }
  while (true) {
    const std::string size_line = take_line();
    if (size_line.empty()) break;
    const size_t size = std::stoul(size_line, nullptr, 16);
    reply.body += take_bytes(size);
    take_line();
    if (size == 0) break;
  }
  return reply;
}

HttpReply HttpClient::request(const std::string& method, const std::string& path,
                              const std::string& body, const std::string& headers) {
  std::string bytes = method + " " + path + " HTTP/1.1\r\nHost: test\r\n" + headers;
  if (!body.empty()) {
    bytes +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  if (!send(bytes + "\r\n" + body)) return {};
  return read_reply();
}

std::vector<std::string> HttpClient::read_events(
    const std::function<bool(const std::string&)>& on_event) {
  std::vector<std::string> events;
  while (true) {
    const std::string line = take_line();
    if (line.empty()) {
      if (saw_end_) return events;
      continue;
    }
    if (line == "data: [DONE]") {
      saw_done_ = true;
      // The empty line, the chunk's end and the last chunk.
      for (std::string rest = take_line(); rest != "0" && !saw_end_;) rest = take_line();
      take_line();
      return events;
    }
    if (!line.starts_with("data: ")) continue;
    events.push_back(line.substr(6));
    if (on_event && !on_event(events.back())) return events;
  }
}

std::string HttpClient::read_some(int timeout_ms) {
  if (buffer_.empty()) {
    pollfd fd{fd_, POLLIN, 0};
    if (::poll(&fd, 1, timeout_ms) <= 0) return {};
    fill();
  }
  return std::exchange(buffer_, {});
}

std::string post(const std::string& path, const std::string& body, const std::string& headers) {
  return "POST " + path + " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" +
         headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace trireme::testing
