#include "router/api/choice_text.h"

#include <algorithm>

namespace trireme::router {
namespace {

// Enough to complete the longest character that a prompt may have left open, and to be past any
// stripped space.
constexpr size_t kPrimingTokens = 8;

}  // namespace

ChoiceText::ChoiceText(const ChoiceTextOptions& options,
                       std::optional<text::Detokenizer> detokenizer, text::StopMatcher matcher)
    : include_stop_(options.include_stop),
      has_stops_(!options.stop.empty()),
      min_tokens_(options.min_tokens),
      detokenizer_(std::move(detokenizer)),
      matcher_(std::move(matcher)) {}

Result<ChoiceText> ChoiceText::create(const ChoiceTextOptions& options,
                                      std::span<const int32_t> prompt) {
  std::optional<text::Detokenizer> detokenizer;
  if (options.tokenizer != nullptr) {
    detokenizer.emplace(*options.tokenizer, options.skip_special_tokens);
    const size_t n = std::min(prompt.size(), kPrimingTokens);
    for (const int32_t id : prompt.last(n)) (void)detokenizer->push(id);
  }
  const text::StopLimits limits{.max_strings = 4096, .max_bytes_each = UINT16_MAX};
  ASSIGN_OR_RETURN(auto matcher,
                   text::StopMatcher::create(options.stop, options.include_stop, limits));
  return ChoiceText(options, std::move(detokenizer), std::move(matcher));
}

int ChoiceText::emit(std::string_view text, std::string& out) {
  if (text.empty()) return -1;
  if (!has_stops_ || n_tokens_ < min_tokens_) {
    out += text;
    return -1;
  }
  const text::StopMatcher::Out matched = matcher_.push(text);
  out += matched.emit;
  return matched.stopped ? matched.which : -1;
}

ChoiceText::Step ChoiceText::push(std::span<const int32_t> tokens, int32_t stop_token,
                                  std::string& out) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    ++n_tokens_;
    const bool hidden = i + 1 == tokens.size() && tokens[i] == stop_token && !include_stop_;
    if (hidden || !detokenizer_) continue;
    const int which = emit(detokenizer_->push(tokens[i]), out);
    if (which >= 0) return {i + 1, which};
  }
  return {tokens.size(), -1};
}

int ChoiceText::finish(std::string& out) {
  if (!detokenizer_) return -1;
  const int which = emit(detokenizer_->flush(), out);
  if (which < 0) out += matcher_.flush();
  return which;
}

}  // namespace trireme::router
