// A stretch of input text on its way through normalizers and pre-tokenizers, each byte of which
// knows the input bytes that it came from.
//
// While nothing has changed it is a view and costs nothing. Alignment is kept only when offsets are
// wanted. Not thread-safe; lives for one encode call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode/normalize.h"

namespace trireme::text {

// Bytes [begin, end) of something.
struct ByteSpan {
  uint32_t begin = 0;
  uint32_t end = 0;
  friend bool operator==(const ByteSpan&, const ByteSpan&) = default;
};

class AlignedText {
 public:
  // Bytes [range.begin, range.end) of `input`, which must outlive this.
  AlignedText(std::string_view input, ByteSpan range, bool keep_alignment)
      : input_(input),
        view_(input.substr(range.begin, range.end - range.begin)),
        origin_(range.begin),
        keep_alignment_(keep_alignment) {}
  AlignedText(AlignedText&& other) noexcept { *this = std::move(other); }
  AlignedText& operator=(AlignedText&& other) noexcept;
  AlignedText(const AlignedText&) = delete;

  std::string_view text() const { return view_; }
  // Where the stretch begins in the input; without alignment only whether that is at 0 is right.
  uint32_t origin() const { return origin_; }

  // The input bytes, widened to whole characters, that bytes [begin, end) of text() came from.
  ByteSpan source(uint32_t begin, uint32_t end) const;

  // Bytes [part.begin, part.end) of text() as a stretch of its own.
  AlignedText slice(ByteSpan part) const;

  // Builds a changed text piece by piece; then `replace_text` takes it over.
  class Builder {
   public:
    explicit Builder(const AlignedText& from) : from_(from) {
      text_.reserve(from.text().size() + 8);
      if (from.keep_alignment_) spans_.reserve(from.text().size() + 8);
    }
    // Bytes [begin, end) of the old text, unchanged.
    void keep(uint32_t begin, uint32_t end);
    // New bytes that stand for bytes [begin, end) of the old text.
    void put(std::string_view bytes, uint32_t begin, uint32_t end);
    uint32_t size() const { return static_cast<uint32_t>(text_.size()); }

   private:
    friend class AlignedText;
    void note_begin(uint32_t begin) {
      if (text_.empty()) first_begin_ = begin;
    }
    const AlignedText& from_;
    uint32_t first_begin_ = 0;  // the old byte that the new text begins with
    std::string text_;
    std::vector<ByteSpan> spans_;
  };
  void replace_text(Builder builder);

  // Takes over `chars`, each of which says which old characters it stands for
  // (text/unicode/normalize.h), read from the `skip`-th old character on.
  void transform(const std::vector<NormalChar>& chars, size_t skip = 0);

 private:
  std::string_view input_;
  std::string owned_;
  std::string_view view_;
  std::vector<ByteSpan> spans_;  // per byte of owned_, when changed and wanted
  uint32_t origin_ = 0;
  bool changed_ = false;
  bool keep_alignment_ = false;
};

}  // namespace trireme::text
