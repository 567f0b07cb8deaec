#include "text/tokenize/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <optional>

#include "text/tokenize/byte_alphabet.h"
#include "text/tokenize/regex.h"
#include "text/unicode/classes.h"
#include "text/unicode/normalize.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// A rewrite may not blow text up without bound.
constexpr size_t kMaxNormalizedBytes = size_t{1} << 30;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

class Prepend final : public NormalizerStep {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  Status apply(AlignedText* text) const override {
    if (text->text().empty()) return {};
    const auto size = static_cast<uint32_t>(text->text().size());
    AlignedText::Builder builder(*text);
    builder.put(prefix_, 0, decode_at(text->text(), 0).length);
    builder.keep(0, size);
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  std::string prefix_;
};

class ReplaceLiteral final : public NormalizerStep {
 public:
  ReplaceLiteral(std::string_view pattern, std::string content)
      : pattern_(pattern), content_(std::move(content)) {}
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    size_t found = old.find(pattern_);
    if (found == std::string_view::npos) return {};
    AlignedText::Builder builder(*text);
    size_t done = 0;
    for (; found != std::string_view::npos; found = old.find(pattern_, done)) {
      builder.keep(static_cast<uint32_t>(done), static_cast<uint32_t>(found));
      done = found + pattern_.size();
      // The new characters stand for the last one that they replace.
      builder.put(content_, static_cast<uint32_t>(done - 1), static_cast<uint32_t>(done));
      if (builder.size() > kMaxNormalizedBytes)
        return resource_exhausted("normalized text is too long");
    }
    builder.keep(static_cast<uint32_t>(done), static_cast<uint32_t>(old.size()));
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  std::string pattern_;
  std::string content_;
};

class ReplaceRegex final : public NormalizerStep {
 public:
  ReplaceRegex(Regex regex, std::string content)
      : regex_(std::move(regex)), content_(std::move(content)) {}
  Status apply(AlignedText* text) const override {
    const auto size = static_cast<uint32_t>(text->text().size());
    AlignedText::Builder builder(*text);
    Regex::Matcher matcher(regex_, text->text());
    ByteSpan match;
    uint32_t done = 0;
    while (true) {
      ASSIGN_OR_RETURN(const bool found, matcher.next(&match));
      if (!found) break;
      builder.keep(done, match.begin);
      builder.put(content_, match.end > match.begin ? match.end - 1 : match.begin, match.end);
      done = match.end;
      if (builder.size() > kMaxNormalizedBytes)
        return resource_exhausted("normalized text is too long");
    }
    if (done == 0 && builder.size() == 0) return {};
    builder.keep(done, size);
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  Regex regex_;
  std::string content_;
};

class UnicodeForm final : public NormalizerStep {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    if (surely_normal(old, form_)) return {};
    text->transform(normalize(old, form_));
    return {};
  }

 private:
  NormalForm form_;
};

class Lowercase final : public NormalizerStep {
 public:
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    const auto size = static_cast<uint32_t>(old.size());
    AlignedText::Builder builder(*text);
    std::string bytes;
    uint32_t done = 0;  // what is behind it has not been copied yet
    for (uint32_t at = 0; at < size;) {
      const CodePoint c = decode_at(old, at);
      const char32_t lower = lower_case(c.value);
      if (lower != c.value) {
        bytes.clear();
        append_utf8(lower, &bytes);
        if (c.value == 0x130) bytes = "i\xCC\x87";  // the one capital with two characters
        builder.keep(done, at);
        builder.put(bytes, at, at + c.length);
        done = at + c.length;
      }
      at += c.length;
    }
    if (done == 0) return {};
    builder.keep(done, size);
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  static char32_t lower_case(char32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  }
};

class Strip final : public NormalizerStep {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    uint32_t begin = 0;
    auto end = static_cast<uint32_t>(old.size());
    while (left_ && begin < end && is_white_space(decode_at(old, begin).value)) {
      begin += decode_at(old, begin).length;
    }
    while (right_ && end > begin) {
      uint32_t last = end - 1;
      while (last > begin && is_continuation(old[last])) --last;
      if (!is_white_space(decode_at(old, last).value)) break;
      end = last;
    }
    if (begin == 0 && end == old.size()) return {};
    AlignedText::Builder builder(*text);
    builder.keep(begin, end);
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  bool left_;
  bool right_;
};

class ByteLevel final : public NormalizerStep {
 public:
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    if (old.empty()) return {};
    AlignedText::Builder builder(*text);
    append_byte_alphabet(old, {0, static_cast<uint32_t>(old.size())}, &builder);
    if (builder.size() > kMaxNormalizedBytes)
      return resource_exhausted("normalized text is too long");
    text->replace_text(std::move(builder));
    return {};
  }
};

class SqueezeSpaces final : public NormalizerStep {
 public:
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    AlignedText::Builder builder(*text);
    bool pending = false;
    for (uint32_t at = 0; at < old.size(); ++at) {
      if (old[at] == ' ') {
        pending = builder.size() > 0;
        continue;
      }
      if (pending) builder.put(" ", at - 1, at);
      pending = false;
      uint32_t end = at + 1;
      while (end < old.size() && is_continuation(old[end])) ++end;
      // The first character stands for the spaces before it too: the text still begins where it
      // did.
      if (builder.size() == 0) {
        builder.put(old.substr(at, end - at), 0, end);
      } else {
        builder.keep(at, end);
      }
      at = end - 1;
    }
    text->replace_text(std::move(builder));
    return strip_trailing_marks(text);
  }

 private:
  // At the end the library takes its own mark for a space.
  static Status strip_trailing_marks(AlignedText* text) {
    std::string_view rest = text->text();
    const size_t size = rest.size();
    while (true) {
      if (rest.ends_with(' ')) {
        rest.remove_suffix(1);
      } else if (rest.ends_with(kSpaceMark)) {
        rest.remove_suffix(kSpaceMark.size());
      } else {
        break;
      }
    }
    if (rest.size() == size) return {};
    AlignedText::Builder builder(*text);
    builder.keep(0, static_cast<uint32_t>(rest.size()));
    text->replace_text(std::move(builder));
    return {};
  }
};

}  // namespace

void append_byte_alphabet(std::string_view text, ByteSpan range, AlignedText::Builder* builder) {
  std::string bytes;
  for (uint32_t at = range.begin; at < range.end;) {
    const uint32_t end = at + decode_at(text, at).length;
    for (uint32_t i = at; i < end; ++i) {
      bytes.clear();
      append_utf8(byte_to_char(static_cast<unsigned char>(text[i])), &bytes);
      builder->put(bytes, at, end);
    }
    at = end;
  }
}

Status Normalizer::apply(AlignedText* text) const {
  for (const auto& step : steps_) TRY(step->apply(text));
  return {};
}

Result<std::string> Normalizer::apply(std::string_view text) const {
  AlignedText aligned(text, {0, static_cast<uint32_t>(text.size())}, false);
  TRY(apply(&aligned));
  return std::string(aligned.text());
}

std::unique_ptr<NormalizerStep> make_prepend(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}

Result<std::unique_ptr<NormalizerStep>> make_replace(std::string_view pattern, bool is_regex,
                                                     std::string content) {
  if (pattern.empty()) return invalid_argument("a Replace has an empty pattern");
  std::unique_ptr<NormalizerStep> step;
  if (!is_regex) {
    step = std::make_unique<ReplaceLiteral>(pattern, std::move(content));
  } else {
    ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern));
    step = std::make_unique<ReplaceRegex>(std::move(regex), std::move(content));
  }
  return step;
}

Result<std::unique_ptr<NormalizerStep>> make_unicode_form(std::string_view name) {
  std::optional<NormalForm> form;
  if (name == "NFC") form = NormalForm::kNfc;
  if (name == "NFD") form = NormalForm::kNfd;
  if (name == "NFKC") form = NormalForm::kNfkc;
  if (name == "NFKD") form = NormalForm::kNfkd;
  if (!form) return unimplemented(fmt::format("the normalizer {} is not supported", name));
  return std::unique_ptr<NormalizerStep>(std::make_unique<UnicodeForm>(*form));
}

std::unique_ptr<NormalizerStep> make_lowercase() { return std::make_unique<Lowercase>(); }
std::unique_ptr<NormalizerStep> make_strip(bool left, bool right) {
  return std::make_unique<Strip>(left, right);
}
std::unique_ptr<NormalizerStep> make_byte_level() { return std::make_unique<ByteLevel>(); }
std::unique_ptr<NormalizerStep> make_squeeze_spaces() { return std::make_unique<SqueezeSpaces>(); }

}  // namespace trireme::text
