#include "text/tokenize/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <optional>

#include "text/tokenize/regex.h"
#include "text/unicode/classes.h"
#include "text/unicode/normalize.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// A rewrite may not blow text up without bound.
constexpr size_t kMaxNormalizedBytes = size_t{1} << 30;

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
    AlignedText::Builder builder(*text);
    uint32_t at = 0;  // first old byte that is not accounted for
    uint32_t last_begin = 0;
    const auto size = static_cast<uint32_t>(old.size());
    std::string bytes;
    for (const NormalChar& c : normalize(old, form_)) {
      bytes.clear();
      append_utf8(c.value, &bytes);
      if (c.change > 0 || at >= size) {  // inserted: it shares the place of the one before it
        builder.put(bytes, last_begin, at);
        continue;
      }
      last_begin = at;
      at += decode_at(old, at).length;
      builder.put(bytes, last_begin, at);
      for (int removed = c.change; removed < 0 && at < size; ++removed) {
        last_begin = at;
        at += decode_at(old, at).length;
      }
    }
    text->replace_text(std::move(builder));
    return {};
  }

 private:
  NormalForm form_;
};

class Lowercase final : public NormalizerStep {
 public:
  Status apply(AlignedText* text) const override {
    const std::string_view old = text->text();
    AlignedText::Builder builder(*text);
    std::string bytes;
    for (uint32_t at = 0; at < old.size();) {
      const CodePoint c = decode_at(old, at);
      bytes.clear();
      append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))),
                  &bytes);
      if (c.value == 0x130) bytes = "i\xCC\x87";
      builder.put(bytes, at, at + c.length);
      at += c.length;
    }
    text->replace_text(std::move(builder));
    return {};
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
      builder.keep(at, end);
      at = end - 1;
    }
    text->replace_text(std::move(builder));
    return {};
  }
};

}  // namespace

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
std::unique_ptr<NormalizerStep> make_squeeze_spaces() { return std::make_unique<SqueezeSpaces>(); }

}  // namespace trireme::text
