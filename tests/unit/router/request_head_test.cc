#include "router/http/request_head.h"

#include <gtest/gtest.h>

namespace trireme::router {
namespace {

// The status that a head with these fields gets; 0: it is good.
int status_of(const HttpHeaders& headers, bool http_1_0 = false) {
  HttpRequest head;
  head.headers = headers;
  const auto fault = check_head(head, http_1_0, 8);
  EXPECT_TRUE(!fault || !fault->message.empty());
  return fault ? fault->status : 0;
}

TEST(RequestHead, OneHostAndAGoodOne) {
  for (const char* good : {"x", "", "a.example:8000", "127.0.0.1:80", "[::1]:8000", "a_b-c.d",
                           "xn--bcher-kva.example", "A.Example"}) {
    EXPECT_EQ(status_of({{"host", good}}), 0) << good;
  }
  EXPECT_EQ(status_of({}), 400);
  EXPECT_EQ(status_of({{"host", "x"}, {"host", "x"}}), 400) << "also where they agree";
  for (const char* bad :
       {"a b", "a,b", "u@a", "a/b", "a?b", "a#b", "a\\b", "\"a\"", "a\tb", "\xff"}) {
    EXPECT_EQ(status_of({{"host", bad}}), 400) << bad;
  }
}

TEST(RequestHead, OldClientsNeedNoHostButNameOneAtMost) {
  EXPECT_EQ(status_of({}, true), 0);
  EXPECT_EQ(status_of({{"host", "x"}}, true), 0);
  EXPECT_EQ(status_of({{"host", "x"}, {"host", "y"}}, true), 400);
}

TEST(RequestHead, ABodysLengthIsSaidInOneWay) {
  const auto with_host = [](HttpHeaders headers) {
    headers.emplace_back("host", "x");
    return status_of(headers);
  };
  EXPECT_EQ(with_host({{"content-length", "5"}}), 0);
  EXPECT_EQ(with_host({{"transfer-encoding", "chunked"}}), 0);
  EXPECT_EQ(with_host({{"transfer-encoding", "Chunked"}}), 0);
  EXPECT_EQ(with_host({{"content-length", "5"}, {"content-length", "5"}}), 400);
  for (const char* length : {"5, 5", "+5", "-5", "", "5 5", "0x5", "5a"}) {
    EXPECT_EQ(with_host({{"content-length", length}}), 400) << length;
  }
  EXPECT_EQ(with_host({{"content-length", "5"}, {"transfer-encoding", "chunked"}}), 400);
  EXPECT_EQ(with_host({{"transfer-encoding", "chunked"}, {"content-length", "5"}}), 400);
  EXPECT_EQ(with_host({{"transfer-encoding", "chunked"}, {"transfer-encoding", "chunked"}}), 400);
  EXPECT_EQ(with_host({{"transfer-encoding", "chunked"}, {"transfer-encoding", "gzip"}}), 400);
  for (const char* coding :
       {"gzip", "gzip, chunked", "chunked, chunked", "", "chunked;q=1", "xchunked"})
    EXPECT_EQ(with_host({{"transfer-encoding", coding}}), 501) << coding;
  EXPECT_EQ(status_of({{"transfer-encoding", "chunked"}}, true), 400);
}

TEST(RequestHead, WhatIsNotDoneHereIsSaid) {
  EXPECT_EQ(status_of({{"host", "x"}, {"content-encoding", "gzip"}}), 415);
  EXPECT_EQ(status_of({{"host", "x"}, {"content-encoding", "Identity"}}), 0);
  EXPECT_EQ(status_of({{"host", "x"}, {"expect", "miracles"}}), 417);
  EXPECT_EQ(status_of({{"host", "x"}, {"expect", "100-Continue"}}), 0);
  EXPECT_EQ(status_of(HttpHeaders(9, {"a", "b"})), 431);
}

}  // namespace
}  // namespace trireme::router
