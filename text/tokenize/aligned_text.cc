#include "text/tokenize/aligned_text.h"

#include "text/unicode/utf8.h"

namespace trireme::text {

AlignedText& AlignedText::operator=(AlignedText&& other) noexcept {
  input_ = other.input_;
  changed_ = other.changed_;
  owned_ = std::move(other.owned_);
  view_ = changed_ ? std::string_view(owned_) : other.view_;
  spans_ = std::move(other.spans_);
  origin_ = other.origin_;
  keep_alignment_ = other.keep_alignment_;
  return *this;
}

ByteSpan AlignedText::source(uint32_t begin, uint32_t end) const {
  if (!changed_) {
    uint32_t first = origin_ + begin;
    uint32_t last = origin_ + end;
    while (first > 0 && first < input_.size() && is_continuation(input_[first])) --first;
    while (last > first && last < input_.size() && is_continuation(input_[last])) ++last;
    return {first, last};
  }
  if (spans_.empty()) return {origin_, origin_};
  if (begin >= end) {
    const uint32_t at = begin < spans_.size() ? spans_[begin].begin : spans_.back().end;
    return {at, at};
  }
  return {spans_[begin].begin, spans_[end - 1].end};
}

AlignedText AlignedText::slice(ByteSpan part) const {
  if (!changed_) {
    return AlignedText(input_, {origin_ + part.begin, origin_ + part.end}, keep_alignment_);
  }
  // Without alignment all that is asked of the origin is whether it is the beginning of the input.
  const uint32_t from =
      !keep_alignment_ ? origin_ + (part.begin > 0 ? 1 : 0) : source(part.begin, part.end).begin;
  AlignedText out(input_, {0, 0}, keep_alignment_);
  out.changed_ = true;
  out.origin_ = from;
  out.owned_ = view_.substr(part.begin, part.end - part.begin);
  out.view_ = out.owned_;
  if (keep_alignment_) out.spans_.assign(spans_.begin() + part.begin, spans_.begin() + part.end);
  return out;
}

void AlignedText::Builder::keep(uint32_t begin, uint32_t end) {
  if (begin == end) return;
  note_begin(begin);
  text_.append(from_.text().substr(begin, end - begin));
  if (!from_.keep_alignment_) return;
  if (from_.changed_) {
    spans_.insert(spans_.end(), from_.spans_.begin() + begin, from_.spans_.begin() + end);
    return;
  }
  const std::string_view old = from_.text();
  for (uint32_t at = begin; at < end;) {
    uint32_t next = at + 1;
    while (next < end && is_continuation(old[next])) ++next;
    spans_.insert(spans_.end(), next - at, ByteSpan{from_.origin_ + at, from_.origin_ + next});
    at = next;
  }
}

void AlignedText::Builder::put(std::string_view bytes, uint32_t begin, uint32_t end) {
  note_begin(begin);
  text_.append(bytes);
  if (from_.keep_alignment_) {
    spans_.insert(spans_.end(), bytes.size(), from_.source(begin, end));
  }
}

void AlignedText::replace_text(Builder builder) {
  owned_ = std::move(builder.text_);
  spans_ = std::move(builder.spans_);
  if (!spans_.empty()) {
    origin_ = spans_.front().begin;
  } else if (builder.first_begin_ > 0) {
    ++origin_;
  }
  changed_ = true;
  view_ = owned_;
}

void AlignedText::transform(const std::vector<NormalChar>& chars, size_t skip) {
  const std::string_view old = text();
  const auto size = static_cast<uint32_t>(old.size());
  Builder builder(*this);
  uint32_t at = 0;          // first old byte that is not accounted for
  uint32_t last_begin = 0;  // the old character before it
  const auto advance = [&] {
    last_begin = at;
    at += decode_at(old, at).length;
  };
  for (; skip > 0 && at < size; --skip) advance();
  std::string bytes;
  for (const NormalChar& c : chars) {
    bytes.clear();
    append_utf8(c.value, &bytes);
    if (c.change > 0 || at >= size) {  // inserted: it shares the place of the one before it
      builder.put(bytes, last_begin, at);
      continue;
    }
    advance();
    builder.put(bytes, last_begin, at);
    for (int removed = c.change; removed < 0 && at < size; ++removed) advance();
  }
  replace_text(std::move(builder));
}

}  // namespace trireme::text
