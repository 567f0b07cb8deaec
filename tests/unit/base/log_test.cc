#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

namespace trireme {
namespace {

using ::testing::HasSubstr;

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { log::init({.component = "test"}); }
  static std::string captured(const log::Options& options, const std::function<void()>& write) {
    ::testing::internal::CaptureStderr();
    log::init(options);
    write();
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_F(LogTest, TextLinesNameTheComponent) {
  const std::string out =
      captured({.component = "rank 3"}, [] { log::info("step {} of {}", 7, 9); });
  EXPECT_THAT(out, HasSubstr("rank 3: step 7 of 9\n"));
}

TEST_F(LogTest, JsonLinesAreJsonWhateverTheMessageHolds) {
  const std::string out = captured({.format = log::Format::kJson, .component = "router"}, [] {
    log::warn("a \"quote\", a\nline break, a \\ and {}", "\xff no UTF-8");
  });
  ASSERT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
  const auto line = nlohmann::json::parse(out);
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["component"], "router");
  EXPECT_THAT(line["message"].get<std::string>(),
              HasSubstr("a \"quote\", a\nline break, a \\ and"));
  EXPECT_THAT(line["time"].get<std::string>(), ::testing::MatchesRegex("....-..-..T..:..:.*Z"));
}

TEST_F(LogTest, WhatIsBelowTheLevelIsNotWritten) {
  const std::string out = captured({.level = log::Level::kWarn, .component = "c"}, [] {
    EXPECT_FALSE(log::enabled(log::Level::kInfo));
    log::debug("debug");
    log::info("info");
    log::warn("warn");
    log::error("error");
  });
  EXPECT_EQ(out.find("debug"), std::string::npos);
  EXPECT_EQ(out.find("info"), std::string::npos);
  EXPECT_THAT(out, HasSubstr("warn"));
  EXPECT_THAT(out, HasSubstr("error"));
}

}  // namespace
}  // namespace trireme
