// HttpStream: a lean HTTP/1.1 client for load generators and the terminal chat.
//
// One request at a time on one keep-alive connection, non-blocking: feed() takes what has arrived
// and hands out the payloads of `data:` lines as they are complete. Plain HTTP only. One thread.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trireme::cli {

struct Url {
  std::string host;
  std::string port = "80";
};

// "http://127.0.0.1:8000" or "127.0.0.1:8000"; a path behind it is ignored.
inline Result<Url> parse_url(std::string_view text) {
  if (text.starts_with("https://")) return unimplemented("https is not spoken by this client");
  if (text.starts_with("http://")) text.remove_prefix(7);
  text = text.substr(0, text.find('/'));
  Url url;
  const bool bracketed = text.starts_with('[');  // "[::1]:8000"
  const size_t end = bracketed ? text.find(']') : 0;
  if (end == std::string_view::npos) return invalid_argument("the URL has a [ without a ]");
  const size_t colon = text.find(':', end);
  url.host = std::string(bracketed ? text.substr(1, end - 1) : text.substr(0, colon));
  if (colon != std::string_view::npos) url.port = std::string(text.substr(colon + 1));
  if (url.host.empty() || url.port.empty())
    return invalid_argument("the URL must be http://HOST:PORT");
  return url;
}

class HttpStream {
 public:
  enum class State { kRunning, kDone, kFailed };
  using OnData = std::function<void(std::string_view payload)>;

  HttpStream() = default;
  ~HttpStream() { close(); }
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  Status connect(const Url& url) {
    close();
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found) != 0) {
      return not_found("the host " + url.host + " has no address");
    }
    for (addrinfo* a = found; a != nullptr && fd_ < 0; a = a->ai_next) {
      fd_ = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
      if (fd_ >= 0 && ::connect(fd_, a->ai_addr, a->ai_addrlen) != 0) close();
    }
    ::freeaddrinfo(found);
    if (fd_ < 0) return unavailable("nobody answers at " + url.host + ":" + url.port);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return {};
  }

  Status send(const std::string& method, const std::string& path, const std::string& body,
              const std::string& headers = "") {
    std::string bytes = method + " " + path + " HTTP/1.1\r\nHost: trireme\r\n" + headers;
    if (!body.empty()) {
      bytes += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
               "\r\n";
    }
    bytes += "\r\n" + body;
    state_ = State::kRunning;
    in_head_ = true;
    status_ = 0;
    body_.clear();
    line_.clear();
    head_.clear();
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return unavailable("the server closed the connection");
      sent += static_cast<size_t>(n);
    }
    return {};
  }

  // From now on arrived_unix_ns() is known: the kernel notes when bytes reach the socket, however
  // late they are read.
  void note_arrivals() {
    const int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
  }
  // When the last of the bytes that are being fed had arrived; 0: not known.
  int64_t arrived_unix_ns() const { return arrived_unix_ns_; }

  // Takes what has arrived (with `wait`, at least something) and parses it.
  State feed(bool wait, const OnData& on_data) {
    char bytes[32768];
    while (state_ == State::kRunning) {
      const ssize_t n = receive(bytes, sizeof(bytes), wait ? 0 : MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return state_;
      if (n < 0 && errno == EINTR) return state_;
      if (n <= 0) return state_ = State::kFailed;
      parse(std::string_view(bytes, static_cast<size_t>(n)), on_data);
      if (wait || static_cast<size_t>(n) < sizeof(bytes)) return state_;
    }
    return state_;
  }

  int fd() const { return fd_; }
  int status() const { return status_; }
  const std::string& body() const { return body_; }  // of a reply that is no event stream

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  ssize_t receive(char* bytes, size_t n_bytes, int flags) {
    iovec buffer{bytes, n_bytes};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))];
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = ::recvmsg(fd_, &message, flags);
    if (n <= 0) return n;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
      timespec arrived;
      std::memcpy(&arrived, CMSG_DATA(c), sizeof(arrived));
      arrived_unix_ns_ = arrived.tv_sec * int64_t{1'000'000'000} + arrived.tv_nsec;
    }
    return n;
  }

  void parse(std::string_view bytes, const OnData& on_data) {
    while (!bytes.empty() && state_ == State::kRunning) {
      if (in_head_) {
        parse_head(bytes);
      } else if (chunk_left_ > 0) {
        const size_t n = std::min(bytes.size(), chunk_left_);
        take_body(bytes.substr(0, n), on_data);
        bytes.remove_prefix(n);
        chunk_left_ -= n;
        if (chunk_left_ == 0 && !chunked_) state_ = State::kDone;
      } else {
        parse_chunk_size(bytes);
      }
    }
  }

  void parse_head(std::string_view& bytes) {
    head_ += bytes;
    const size_t end = head_.find("\r\n\r\n");
    if (end == std::string::npos) {
      bytes = {};
      return;
    }
    const size_t extra = head_.size() - (end + 4);
    bytes.remove_prefix(bytes.size() - extra);
    head_.resize(end + 2);
    for (char& c : head_) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    status_ = head_.size() > 12 ? std::atoi(head_.c_str() + 9) : 0;
    chunked_ = head_.find("\r\ntransfer-encoding: chunked\r\n") != std::string::npos;
    events_ = head_.find("\r\ncontent-type: text/event-stream") != std::string::npos;
    const size_t length = head_.find("\r\ncontent-length: ");
    chunk_left_ = length == std::string::npos
                      ? 0
                      : static_cast<size_t>(std::atoll(head_.c_str() + length + 18));
    in_head_ = false;
    size_line_.clear();
    if (!chunked_ && chunk_left_ == 0) state_ = State::kDone;
  }

  // Between chunks: "\r\n" of the last one, then the next one's size.
  void parse_chunk_size(std::string_view& bytes) {
    const char c = bytes.front();
    bytes.remove_prefix(1);
    if (c != '\n') {
      if (c != '\r') size_line_ += c;
      return;
    }
    if (size_line_.empty()) {
      if (last_chunk_) {
        last_chunk_ = false;
        state_ = State::kDone;
      }
      return;
    }
    chunk_left_ = std::strtoul(size_line_.c_str(), nullptr, 16);
    last_chunk_ = chunk_left_ == 0;
    size_line_.clear();
  }

  void take_body(std::string_view bytes, const OnData& on_data) {
    if (!events_) {
      body_ += bytes;
      return;
    }
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      line_ += bytes.substr(0, end);
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      if (line_.starts_with("data: ") && line_ != "data: [DONE]")
        on_data(std::string_view(line_).substr(6));
      line_.clear();
    }
  }

  int fd_ = -1;
  State state_ = State::kRunning;
  int status_ = 0;
  bool in_head_ = true, chunked_ = false, events_ = false, last_chunk_ = false;
  size_t chunk_left_ = 0;
  int64_t arrived_unix_ns_ = 0;
  std::string head_, size_line_, line_, body_;
};

}  // namespace trireme::cli
