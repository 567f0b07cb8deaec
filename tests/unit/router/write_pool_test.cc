// Writes shared by threads: each is done once, with its own result.
#include "router/http/write_pool.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

namespace trireme::router {
namespace {

struct Pair {
  Pair() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0); }
  ~Pair() {
    for (const int fd : ends) ::close(fd);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  std::string read() const {
    std::string bytes(1 << 16, '\0');
    const ssize_t n = ::recv(ends[1], bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return bytes;
  }
  std::array<int, 2> ends{};
};

void write_and_read(WritePool& pool, const std::vector<Pair>& pairs, size_t n, int round) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < n; ++i)
    texts.push_back("round " + std::to_string(round) + " of " + std::to_string(i));
  std::vector<PlannedWrite> writes;
  for (size_t i = 0; i < n; ++i) writes.push_back({pairs[i].ends[0], texts[i], {}});
  pool.run(writes);
  for (size_t i = 0; i < n; ++i) {
    ASSERT_EQ(writes[i].result.state, IoState::kOk);
    ASSERT_EQ(writes[i].result.n_bytes, texts[i].size());
    ASSERT_EQ(pairs[i].read(), texts[i]);
  }
}

TEST(WritePool, EveryWriteOnceWhoeverDoesIt) {
  const std::vector<Pair> pairs(100);
  for (const int n_helpers : {0, 1, 3}) {
    WritePool pool(n_helpers);
    for (int round = 0; round < 300; ++round) {
      write_and_read(pool, pairs, static_cast<size_t>(round) % (pairs.size() + 1), round);
    }
  }
}

TEST(WritePool, ResultsAreTheirOwnWrites) {
  std::vector<Pair> pairs(64);
  const std::string flood(1 << 20, 'x');
  // Every third reader is gone, every third one reads nothing.
  for (size_t i = 0; i < pairs.size(); i += 3) ::shutdown(pairs[i].ends[0], SHUT_WR);
  for (size_t i = 1; i < pairs.size(); i += 3) {
    while (send_now(pairs[i].ends[0], flood.data(), flood.size()).state == IoState::kOk) {
    }
  }
  std::vector<PlannedWrite> writes;
  writes.reserve(pairs.size() + 1);
  for (const Pair& pair : pairs) writes.push_back({pair.ends[0], "text", {}});
  writes.push_back({-1, "nowhere", {}});
  WritePool pool(1);
  pool.run(writes);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const IoState expected = i % 3 == 0   ? IoState::kError
                             : i % 3 == 1 ? IoState::kWouldBlock
                                          : IoState::kOk;
    EXPECT_EQ(writes[i].result.state, expected) << i;
  }
  EXPECT_EQ(writes.back().result.state, IoState::kError);
}

}  // namespace
}  // namespace trireme::router
