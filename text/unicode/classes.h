// Character classes as tokenizers see them: general categories of Unicode 16, white space, word
// characters.
//
// A lookup is two loads in a table that is built once, on first use. Pure and thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text {

enum ClassBit : uint16_t {
  kLetter = 1,       // \p{L}
  kMark = 2,         // \p{M}
  kNumber = 4,       // \p{N}
  kPunctuation = 8,  // \p{P}
  kSymbol = 16,      // \p{S}
  kSpace = 32,       // White_Space
  kWord = 64,        // letters, marks, decimal and letter numbers, connectors
  kLineBreak = 128,  // \r and \n
  kUpper = 256,      // \p{Lu} and \p{Lt}
  kLower = 512,      // \p{Ll}
  kHan = 1024,       // the script, \p{Han}: of letters, numbers, marks and signs
};

// Class bits of every code point, in two stages.
class ClassTable {
 public:
  static const ClassTable& get();
  uint16_t bits(char32_t c) const {
    return c < 0x110000 ? blocks_[(static_cast<size_t>(index_[c >> 8]) << 8) | (c & 0xFF)] : 0;
  }

  // The bits of ASCII, by character.
  const uint16_t* ascii() const { return blocks_.data() + (static_cast<size_t>(index_[0]) << 8); }

 private:
  ClassTable();
  std::array<uint16_t, 0x1100> index_{};
  std::vector<uint16_t> blocks_;
};

inline bool is_white_space(char32_t c) {
  return c < 0x80 ? (c == 0x20 || (c >= 9 && c <= 13)) : (ClassTable::get().bits(c) & kSpace) != 0;
}

// A two-letter general category such as "Lu", as a number of utf8proc's; -1 for an unknown name.
int category_by_name(std::string_view name);

// The general category in Unicode 16.
int category(char32_t c);

// Code points that were assigned after the tables of the regex engine were made.
struct CategoryRange {
  uint32_t first;
  uint32_t last;
  int category;
};
std::span<const CategoryRange> late_assignments();

}  // namespace trireme::text
