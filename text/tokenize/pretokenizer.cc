#include "text/tokenize/pretokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "text/tokenize/normalizer.h"
#include "text/tokenize/regex.h"
#include "text/tokenize/splitter.h"
#include "text/unicode/bert_classes.h"
#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// A stretch that a pattern matched, or one between matches.
struct Part {
  ByteSpan span;
  bool matched;
};

void push(ByteSpan span, std::vector<ByteSpan>* out) {
  if (span.end > span.begin) out->push_back(span);
}

// Joins neighbours as the behaviour says. `parts` cover a word from left to right.
void join_parts(const std::vector<Part>& parts, SplitBehavior behavior,
                std::vector<ByteSpan>* out) {
  const size_t first = out->size();
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Part& part : parts) push(part.span, out);
      return;
    case SplitBehavior::kRemoved:
      for (const Part& part : parts) {
        if (!part.matched) push(part.span, out);
      }
      return;
    case SplitBehavior::kContiguous:
    case SplitBehavior::kMergedWithPrevious:
      for (const Part& part : parts) {
        const bool joins = behavior == SplitBehavior::kContiguous ? part.matched == previous
                                                                  : part.matched && !previous;
        if (joins && out->size() > first) {
          out->back().end = part.span.end;
        } else {
          out->push_back(part.span);
        }
        previous = part.matched;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->matched && !previous && out->size() > first) {
          out->back().begin = part->span.begin;
        } else {
          out->push_back(part->span);
        }
        previous = part->matched;
      }
      std::reverse(out->begin() + static_cast<ptrdiff_t>(first), out->end());
      break;
  }
  out->erase(std::remove_if(out->begin() + static_cast<ptrdiff_t>(first), out->end(),
                            [](ByteSpan s) { return s.end <= s.begin; }),
             out->end());
}

class RegexSplit final : public PreTokenizerStep {
 public:
  RegexSplit(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  Status apply(Words* words) const override {
    std::vector<ByteSpan> out;
    std::vector<Part> parts;
    for (const ByteSpan word : words->spans) {
      parts.clear();
      Regex::Matcher matcher(regex_, words->text.text().substr(word.begin, word.end - word.begin));
      ByteSpan match;
      uint32_t done = word.begin;
      while (true) {
        ASSIGN_OR_RETURN(const bool found, matcher.next(&match));
        if (!found) break;
        match = {match.begin + word.begin, match.end + word.begin};
        if (match.begin > done) parts.push_back({{done, match.begin}, invert_});
        parts.push_back({match, !invert_});
        done = match.end;
      }
      if (done < word.end) parts.push_back({{done, word.end}, invert_});
      join_parts(parts, behavior_, &out);
    }
    words->spans = std::move(out);
    return {};
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

class FastSplit final : public PreTokenizerStep {
 public:
  explicit FastSplit(FastSplitter splitter) : splitter_(splitter) {}
  Status apply(Words* words) const override {
    std::vector<ByteSpan> out;
    out.reserve(words->text.text().size() / 4 + 1);
    for (const ByteSpan word : words->spans) fast_split(splitter_, words->text.text(), word, &out);
    words->spans = std::move(out);
    return {};
  }

 private:
  FastSplitter splitter_;
};

// Splits at single characters for which `is_delimiter` is true.
template <typename IsDelimiter>
class CharSplit final : public PreTokenizerStep {
 public:
  CharSplit(IsDelimiter is_delimiter, SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}
  Status apply(Words* words) const override {
    const std::string_view text = words->text.text();
    std::vector<ByteSpan> out;
    std::vector<Part> parts;
    for (const ByteSpan word : words->spans) {
      parts.clear();
      for (uint32_t at = word.begin; at < word.end;) {
        const CodePoint c = decode_at(text, at);
        const bool matched = is_delimiter_(c.value);
        if (!matched && !parts.empty() && !parts.back().matched) {
          parts.back().span.end = at + c.length;
        } else {
          parts.push_back({{at, at + c.length}, matched});
        }
        at += c.length;
      }
      join_parts(parts, behavior_, &out);
    }
    words->spans = std::move(out);
    return {};
  }

 private:
  IsDelimiter is_delimiter_;
  SplitBehavior behavior_;
};

template <typename IsDelimiter>
std::unique_ptr<PreTokenizerStep> char_split(IsDelimiter is_delimiter, SplitBehavior behavior) {
  return std::make_unique<CharSplit<IsDelimiter>>(is_delimiter, behavior);
}

// White space goes, punctuation stands alone.
class BertSplit final : public PreTokenizerStep {
 public:
  BertSplit() {
    for (uint32_t c = 0; c < 128; ++c) ascii_[c] = kind_of(c);
  }
  Status apply(Words* words) const override {
    const std::string_view text = words->text.text();
    std::vector<ByteSpan> out;
    out.reserve(text.size() / 4 + 1);
    for (const ByteSpan word : words->spans) {
      uint32_t done = word.begin;
      for (uint32_t at = word.begin; at < word.end;) {
        const CodePoint c = decode_at(text, at);
        const Kind kind = c.value < 128 ? ascii_[c.value] : kind_of(c.value);
        const uint32_t end = at + c.length;
        if (kind != Kind::kOther) {
          push({done, at}, &out);
          if (kind == Kind::kPunctuation) out.push_back({at, end});
          done = end;
        }
        at = end;
      }
      push({done, word.end}, &out);
    }
    words->spans = std::move(out);
    return {};
  }

 private:
  enum class Kind : uint8_t { kOther, kSpace, kPunctuation };
  static Kind kind_of(char32_t c) {
    if (is_white_space(c)) return Kind::kSpace;
    return bert_punctuation(c) ? Kind::kPunctuation : Kind::kOther;
  }
  std::array<Kind, 128> ascii_;
};

// \w+|[^\w\s]+ as the reference reads it here: by another engine than its patterns, with \w after
// the Unicode standard's annex 18.
class WordsAndSigns final : public PreTokenizerStep {
 public:
  Status apply(Words* words) const override {
    const std::string_view text = words->text.text();
    std::vector<ByteSpan> out;
    for (const ByteSpan word : words->spans) {
      Kind previous = Kind::kSpace;
      for (uint32_t at = word.begin; at < word.end;) {
        const CodePoint c = decode_at(text, at);
        const Kind kind = kind_of(c.value);
        const uint32_t end = at + c.length;
        if (kind != Kind::kSpace && kind == previous) {
          out.back().end = end;
        } else if (kind != Kind::kSpace) {
          out.push_back({at, end});
        }
        previous = kind;
        at = end;
      }
    }
    words->spans = std::move(out);
    return {};
  }

 private:
  enum class Kind : uint8_t { kSpace, kWord, kSign };
  static Kind kind_of(char32_t c) {
    const uint16_t bits = ClassTable::get().bits(c);
    if ((bits & kSpace) != 0) return Kind::kSpace;
    const bool joiner = c == 0x200C || c == 0x200D;
    return (bits & kWord) != 0 || joiner ? Kind::kWord : Kind::kSign;
  }
};

class FixedLength final : public PreTokenizerStep {
 public:
  explicit FixedLength(size_t n_chars) : n_chars_(n_chars) {}
  Status apply(Words* words) const override {
    const std::string_view text = words->text.text();
    std::vector<ByteSpan> out;
    for (const ByteSpan word : words->spans) {
      uint32_t begin = word.begin;
      size_t n = 0;
      for (uint32_t at = word.begin; at < word.end;) {
        at += decode_at(text, at).length;
        if (++n < n_chars_ && at < word.end) continue;
        out.push_back({begin, at});
        begin = at;
        n = 0;
      }
    }
    words->spans = std::move(out);
    return {};
  }

 private:
  size_t n_chars_;
};

// Rewrites every word through `change(old text, word, builder)` and keeps the word boundaries.
template <typename Change>
void rewrite_words(Words* words, Change change) {
  AlignedText::Builder builder(words->text);
  std::vector<ByteSpan> out;
  out.reserve(words->spans.size());
  for (const ByteSpan word : words->spans) {
    const uint32_t begin = builder.size();
    change(words->text.text(), word, &builder);
    out.push_back({begin, builder.size()});
  }
  words->text.replace_text(std::move(builder));
  words->spans = std::move(out);
}

class Metaspace final : public PreTokenizerStep {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split, bool doubles = false)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split), doubles_(doubles) {}

  Status apply(Words* words) const override {
    const bool starts_input = words->text.origin() == 0;
    rewrite_words(words, [&](std::string_view text, ByteSpan word, AlignedText::Builder* builder) {
      const std::string_view body = text.substr(word.begin, word.end - word.begin);
      const bool prefixed = body.starts_with(' ') || body.starts_with(replacement_);
      const bool wanted = scheme_ == PrependScheme::kAlways ||
                          (scheme_ == PrependScheme::kFirst && starts_input && word.begin == 0);
      if (wanted && (doubles_ || !prefixed) && !body.empty()) {
        builder->put(replacement_, word.begin, word.begin + decode_at(text, word.begin).length);
      }
      uint32_t done = word.begin;
      for (uint32_t at = word.begin; at < word.end; ++at) {
        if (text[at] != ' ') continue;
        builder->keep(done, at);
        builder->put(replacement_, at, at + 1);
        done = at + 1;
      }
      builder->keep(done, word.end);
    });
    if (split_) split(words);
    return {};
  }

 private:
  // Every replacement character begins a new word.
  void split(Words* words) const {
    const std::string_view text = words->text.text();
    std::vector<ByteSpan> out;
    std::vector<Part> parts;
    for (const ByteSpan word : words->spans) {
      parts.clear();
      uint32_t done = word.begin;
      while (true) {
        const size_t found = text.substr(0, word.end).find(replacement_, done);
        if (found == std::string_view::npos) break;
        const auto at = static_cast<uint32_t>(found);
        const auto end = at + static_cast<uint32_t>(replacement_.size());
        if (at > done) parts.push_back({{done, at}, false});
        parts.push_back({{at, end}, true});
        done = end;
      }
      if (done < word.end) parts.push_back({{done, word.end}, false});
      join_parts(parts, SplitBehavior::kMergedWithNext, &out);
    }
    words->spans = std::move(out);
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
  bool doubles_;  // prefix even what has one
};

class PrefixSpace final : public PreTokenizerStep {
 public:
  Status apply(Words* words) const override {
    rewrite_words(words, [](std::string_view text, ByteSpan word, AlignedText::Builder* builder) {
      if (word.end > word.begin && text[word.begin] != ' ') {
        builder->put(" ", word.begin, word.begin + decode_at(text, word.begin).length);
      }
      builder->keep(word.begin, word.end);
    });
    return {};
  }
};

class ByteAlphabet final : public PreTokenizerStep {
 public:
  Status apply(Words* words) const override {
    rewrite_words(words, [](std::string_view text, ByteSpan word, AlignedText::Builder* builder) {
      append_byte_alphabet(text, word, builder);
    });
    return {};
  }
};

}  // namespace

Result<SplitBehavior> split_behavior(std::string_view name) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return invalid_argument(fmt::format("the split behaviour \"{}\" is unknown", name));
}

Result<std::unique_ptr<PreTokenizerStep>> make_split(std::string_view pattern, bool is_regex,
                                                     SplitBehavior behavior, bool invert) {
  using Made = std::unique_ptr<PreTokenizerStep>;
  if (pattern.empty()) return invalid_argument("a Split has an empty pattern");
  const auto fast = is_regex ? fast_splitter_for(pattern) : std::nullopt;
  // The fast splitters cover their text, so that only an isolating Split can use them; inverted or
  // not is one to it.
  if (fast && behavior == SplitBehavior::kIsolated) return Made(std::make_unique<FastSplit>(*fast));
  ASSIGN_OR_RETURN(Regex regex,
                   is_regex ? Regex::compile(pattern) : Regex::compile_literal(pattern));
  return Made(std::make_unique<RegexSplit>(std::move(regex), behavior, invert));
}

std::unique_ptr<PreTokenizerStep> make_metaspace(std::string replacement, PrependScheme scheme,
                                                 bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, split);
}

std::unique_ptr<PreTokenizerStep> make_dummy_prefix(bool add_prefix) {
  return std::make_unique<Metaspace>(
      "\xE2\x96\x81", add_prefix ? PrependScheme::kFirst : PrependScheme::kNever, false, true);
}

std::unique_ptr<PreTokenizerStep> make_digits(bool each) {
  const auto is_number = [](char32_t c) { return (ClassTable::get().bits(c) & kNumber) != 0; };
  return char_split(is_number, each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

std::unique_ptr<PreTokenizerStep> make_whitespace_split() {
  return char_split([](char32_t c) { return is_white_space(c); }, SplitBehavior::kRemoved);
}

std::unique_ptr<PreTokenizerStep> make_punctuation(SplitBehavior behavior) {
  return char_split([](char32_t c) { return bert_punctuation(c); }, behavior);
}

std::unique_ptr<PreTokenizerStep> make_delimiter_split(char32_t delimiter) {
  return char_split([delimiter](char32_t c) { return c == delimiter; }, SplitBehavior::kRemoved);
}

std::unique_ptr<PreTokenizerStep> make_bert_split() { return std::make_unique<BertSplit>(); }
std::unique_ptr<PreTokenizerStep> make_words_and_signs() {
  return std::make_unique<WordsAndSigns>();
}
std::unique_ptr<PreTokenizerStep> make_fixed_length(size_t n_chars) {
  return std::make_unique<FixedLength>(n_chars);
}
std::unique_ptr<PreTokenizerStep> make_byte_alphabet() { return std::make_unique<ByteAlphabet>(); }
std::unique_ptr<PreTokenizerStep> make_prefix_space() { return std::make_unique<PrefixSpace>(); }

}  // namespace trireme::text
