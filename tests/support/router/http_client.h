// HttpClient: a small blocking HTTP/1.1 client on a raw socket, for tests that must see and send
// exact bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::testing {

struct HttpReply {
  int status = 0;                              // 0: the connection ended before a whole reply
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class HttpClient {
 public:
  explicit HttpClient(int port, int receive_buffer_bytes = 0);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  bool send(std::string_view bytes);
  // One whole reply: Content-Length or chunked. Bytes behind it stay for the next.
  HttpReply read_reply();
  HttpReply request(const std::string& method, const std::string& path,
                    const std::string& body = "", const std::string& headers = "");
  // The payloads of `data:` lines until [DONE] (which is not among them) or the end; `on_event`
  // false: stop reading.
  std::vector<std::string> read_events(
      const std::function<bool(const std::string&)>& on_event = {});
  // Reads one reply's status line and header, no body.
  HttpReply read_head();
  // The next bytes, or empty at the end of the connection or after `timeout_ms`.
  std::string read_some(int timeout_ms);
  void close();
  bool saw_done() const { return saw_done_; }
  bool saw_end() const { return saw_end_; }

 private:
  bool fill();
  std::string take_line();
  std::string take_bytes(size_t n);

  int fd_ = -1;
  std::string buffer_;
  bool saw_done_ = false;
  bool saw_end_ = false;
};

std::string post(const std::string& path, const std::string& body, const std::string& headers = "");

}  // namespace trireme::testing
