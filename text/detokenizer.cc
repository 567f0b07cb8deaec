#include "text/detokenizer.h"

#include "text/tokenize/decoder.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

Detokenizer::Detokenizer(Tokenizer tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)),
      decoder_(&tokenizer_.decoder()),
      skip_special_(skip_special),
      strip_left_(decoder_->config().strip_start_count) {}

std::string Detokenizer::push(int32_t id) {
  if (!decoder_->present(id) || (skip_special_ && decoder_->special(id))) return {};
  return decoder_->config().byte_level ? push_bytes(id) : push_text(id);
}

std::string Detokenizer::push_bytes(int32_t id) {
  const std::string_view bytes = decoder_->bytes(id);
  if (held_.empty() && decoder_->whole(id)) return std::string(bytes);
  held_ += bytes;
  const size_t open = incomplete_suffix(held_);
  std::string out = mend_utf8(std::string_view(held_).substr(0, held_.size() - open));
  held_.erase(0, held_.size() - open);
  return out;
}

std::string Detokenizer::push_text(int32_t id) {
  std::string out;
  if (const int byte = decoder_->byte_value(id); byte >= 0) {
    first_ = false;
    held_.push_back(static_cast<char>(byte));
    // Characters that are complete are shown; bytes that can never become one are shown as U+FFFD,
    // and where a run counts as a whole so are all that follow in it.
    for (; broken_run_ && !held_.empty(); held_.erase(0, 1)) out += kReplacement;
    while (!held_.empty() && incomplete_suffix(held_) != held_.size()) {
      const CodePoint c = decode_at(held_, 0);
      if (c.valid) {
        out.append(held_, 0, c.length);
      } else {
        out += kReplacement;
        broken_run_ = decoder_->config().whole_runs;
      }
      held_.erase(0, c.valid ? c.length : 1);
      for (; broken_run_ && !held_.empty(); held_.erase(0, 1)) out += kReplacement;
    }
  } else {
    broken_run_ = false;
    for (size_t i = 0; i < held_.size(); ++i) out += kReplacement;
    held_.clear();
    if (decoder_->config().join_with_spaces && !first_) out += ' ';
    if (first_) {
      out += decoder_->first_text(id);
    } else {
      out += decoder_->bytes(id);
    }
    first_ = false;
  }
  if (strip_left_ > 0) strip(&out);
  return out;
}

void Detokenizer::strip(std::string* text) {
  size_t gone = 0;
  while (strip_left_ > 0 && gone < text->size() &&
         (*text)[gone] == decoder_->config().strip_start) {
    ++gone;
    --strip_left_;
  }
  if (gone < text->size()) strip_left_ = 0;  // text has begun
  text->erase(0, gone);
}

std::string Detokenizer::flush() {
  std::string out;
  if (decoder_->config().byte_level) {
    out = mend_utf8(held_);
  } else {
    for (size_t i = 0; i < held_.size(); ++i) out += kReplacement;
  }
  held_.clear();
  broken_run_ = false;
  first_ = true;
  strip_left_ = decoder_->config().strip_start_count;
  return out;
}

}  // namespace trireme::text
