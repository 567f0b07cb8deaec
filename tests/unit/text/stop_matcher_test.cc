#include "text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace trireme::text {
namespace {

StopMatcher make(std::vector<std::string> stops, bool include = false) {
  return StopMatcher::create(std::move(stops), include).value();
}

TEST(StopMatcher, FindsAcrossPieces) {
  StopMatcher m = make({"STOP"});
  EXPECT_EQ(m.push("hello S").emit, "hello ");
  EXPECT_EQ(m.push("T").emit, "");
  EXPECT_EQ(m.push("x").emit, "STx");
  EXPECT_EQ(m.push("ST").emit, "");
  const auto out = m.push("OP more");
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.which, 0);
  EXPECT_EQ(out.emit, "");
  EXPECT_EQ(m.push("anything").emit, "");
  EXPECT_EQ(m.flush(), "");
}

TEST(StopMatcher, IncludesTheStopStringOnRequest) {
  StopMatcher m = make({"\n\n"}, true);
  EXPECT_EQ(m.push("a\n").emit, "a");
  EXPECT_EQ(m.push("\nb").emit, "\n\n");
}

TEST(StopMatcher, FlushGivesBackWhatWasHeld) {
  StopMatcher m = make({"abc"});
  EXPECT_EQ(m.push("xab").emit, "x");
  EXPECT_EQ(m.held_bytes(), 2u);
  EXPECT_EQ(m.flush(), "ab");
}

TEST(StopMatcher, WithoutStopsAllPasses) {
  StopMatcher m = make({});
  EXPECT_EQ(m.push("anything").emit, "anything");
}

TEST(StopMatcher, RefusesEmptyLongAndMany) {
  EXPECT_FALSE(StopMatcher::create({""}).ok());
  EXPECT_FALSE(StopMatcher::create({std::string(1 << 20, 'a')}).ok());
  EXPECT_FALSE(StopMatcher::create(std::vector<std::string>(1000, "a")).ok());
  EXPECT_TRUE(StopMatcher::create({"abc"}, false, {.max_strings = 1, .max_bytes_each = 3}).ok());
  EXPECT_FALSE(StopMatcher::create({"abcd"}, false, {.max_strings = 1, .max_bytes_each = 3}).ok());
}

// Against a plain search, whatever the cuts: the match that ends first wins, and of those the
// longest.
TEST(StopMatcher, EqualsPlainSearch) {
  std::mt19937 random(9);
  const auto word = [&](size_t most) {
    std::string s;
    for (size_t n = 1 + random() % most; n > 0; --n) s += static_cast<char>('a' + random() % 2);
    return s;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops;
    for (size_t n = 1 + random() % 3; n > 0; --n) stops.push_back(word(5));
    const std::string text = word(30);
    std::string want = text;
    bool want_stop = false;
    for (size_t end = 1; end <= text.size() && !want_stop; ++end) {
      size_t longest = 0;
      for (const std::string& stop : stops) {
        if (std::string_view(text).substr(0, end).ends_with(stop))
          longest = std::max(longest, stop.size());
      }
      if (longest > 0) {
        want_stop = true;
        want = text.substr(0, end - longest);
      }
    }
    size_t longest_stop = 0;
    for (const std::string& stop : stops) longest_stop = std::max(longest_stop, stop.size());
    StopMatcher m = make(stops);
    std::string got;
    bool stopped = false;
    for (size_t at = 0; at < text.size() && !stopped;) {
      const size_t n = 1 + random() % 4;
      const auto out = m.push(text.substr(at, n));
      got += out.emit;
      stopped = out.stopped;
      EXPECT_LT(m.held_bytes(), longest_stop);
      at += n;
    }
    if (!stopped) got += m.flush();
    ASSERT_EQ(got, want) << text;
    ASSERT_EQ(stopped, want_stop);
  }
}

}  // namespace
}  // namespace trireme::text
