#include "router/http/cors.h"

#include <gtest/gtest.h>

namespace trireme::router {
namespace {

std::string lines(const CorsPolicy& policy, const std::string& origin) {
  std::string out;
  policy.append_headers(origin, out);
  return out;
}

HttpRequest asks(const std::string& origin, const std::string& headers = "") {
  HttpRequest request{.method = "OPTIONS", .path = "/v1/models"};
  request.headers = {{"origin", origin}, {"access-control-request-method", "POST"}};
  if (!headers.empty()) request.headers.emplace_back("access-control-request-headers", headers);
  return request;
}

std::string value(const HttpResponse& response, const std::string& name) {
  for (const auto& [key, text] : response.headers) {
    if (key == name) return text;
  }
  return "";
}

TEST(Cors, OffAddsNothingAndKnowsNoPreflight) {
  const CorsPolicy off;
  EXPECT_FALSE(off.enabled());
  EXPECT_EQ(lines(off, "https://a"), "");
  EXPECT_FALSE(off.preflight(asks("https://a")).has_value());
}

TEST(Cors, AListedOriginIsAnsweredByItsName) {
  const CorsPolicy policy({"https://a", "http://b:3000"});
  EXPECT_NE(lines(policy, "http://b:3000").find("Access-Control-Allow-Origin: http://b:3000\r\n"),
            std::string::npos);
  for (const char* stranger : {"", "https://b:3000", "http://b", "https://a.evil", "null", "*"}) {
    EXPECT_EQ(lines(policy, stranger), "Vary: Origin\r\n") << stranger;
  }
}

TEST(Cors, AStarIsAStarAndAsksForNoCookies) {
  const CorsPolicy policy({"*"});
  const std::string text = lines(policy, "https://anywhere");
  EXPECT_NE(text.find("Access-Control-Allow-Origin: *\r\n"), std::string::npos);
  EXPECT_NE(text.find("Vary: Origin\r\n"), std::string::npos);
  EXPECT_EQ(text.find("Credentials"), std::string::npos);
  for (const char* name : {"Retry-After", "x-request-id", "x-ratelimit-remaining-tokens"}) {
    EXPECT_NE(text.find(name), std::string::npos) << name;
  }
}

TEST(Cors, PreflightsAllowWhatTheApiTakes) {
  const CorsPolicy policy({"https://a"});
  const auto plain = policy.preflight(asks("https://a"));
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->status, 204);
  EXPECT_EQ(plain->body, "");
  EXPECT_EQ(value(*plain, "Access-Control-Allow-Methods"), "GET, POST");
  EXPECT_EQ(value(*plain, "Access-Control-Allow-Headers"), "Authorization, Content-Type");
  EXPECT_EQ(value(*plain, "Access-Control-Max-Age"), "600");
  const std::string asked = "authorization,content-type,x-stainless-lang";
  EXPECT_EQ(value(*policy.preflight(asks("https://a", asked)), "Access-Control-Allow-Headers"),
            asked);
  for (const std::string& odd :
       {std::string("a: b"), std::string(5000, 'a'), std::string("a\tb")}) {
    EXPECT_EQ(value(*policy.preflight(asks("https://a", odd)), "Access-Control-Allow-Headers"),
              "Authorization, Content-Type");
  }
}

TEST(Cors, OtherPagesAreToldNo) {
  const auto refused = CorsPolicy({"https://a"}).preflight(asks("https://b"));
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status, 403);
  EXPECT_NE(refused->body.find("origin_not_allowed"), std::string::npos);
}

TEST(Cors, WhatIsNoPreflightIsLeftToTheRoutes) {
  const CorsPolicy policy({"*"});
  HttpRequest request = asks("https://a");
  request.method = "POST";
  EXPECT_FALSE(policy.preflight(request).has_value());
  request.method = "OPTIONS";
  request.headers.pop_back();
  EXPECT_FALSE(policy.preflight(request).has_value()) << "no method is asked for";
  request.headers = {{"access-control-request-method", "POST"}};
  EXPECT_FALSE(policy.preflight(request).has_value()) << "from no page";
}

}  // namespace
}  // namespace trireme::router
