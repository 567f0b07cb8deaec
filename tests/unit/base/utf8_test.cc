#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace trireme {
namespace {

// The encoding of one code point, written from its definition.
std::string encode(uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
  if (c < 0x10000) {
    return {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
            static_cast<char>(0x80 | (c & 0x3f))};
  }
  return {static_cast<char>(0xf0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3f)),
          static_cast<char>(0x80 | (c >> 6 & 0x3f)), static_cast<char>(0x80 | (c & 0x3f))};
}

TEST(Utf8, EveryCodePointIsOneCharacterUnlessItIsASurrogate) {
  for (uint32_t c = 0; c <= 0x10ffff; ++c) {
    const std::string bytes = encode(c);
    const bool surrogate = c >= 0xd800 && c <= 0xdfff;
    ASSERT_EQ(utf8_length(bytes, 0), surrogate ? 0 : bytes.size()) << c;
    for (size_t n = 1; n < bytes.size(); ++n) ASSERT_EQ(utf8_length(bytes.substr(0, n), 0), 0u);
  }
}

TEST(Utf8, OverlongFormsAndStrayBytesAreNone) {
  for (const char* bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf",
                          "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe2\x82(", "\xf0\x9f\x9a("}) {
    EXPECT_EQ(utf8_length(bad, 0), 0u);
  }
  EXPECT_EQ(utf8_length("", 0), 0u);
  EXPECT_EQ(utf8_length("a", 1), 0u);
}

}  // namespace
}  // namespace trireme
