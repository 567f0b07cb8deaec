#include "text/tokenize/decoder.h"

#include <algorithm>

#include "text/tokenize/byte_alphabet.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// <0xHH> -> HH, anything else -> -1.
int16_t parse_byte_token(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const int high = hex_digit(piece[3]);
  const int low = hex_digit(piece[4]);
  return static_cast<int16_t>(high < 0 || low < 0 ? -1 : high * 16 + low);
}

}  // namespace

std::string show_byte_run(std::string_view run, bool whole_runs) {
  if (is_valid_utf8(run)) return std::string(run);
  std::string out;
  for (size_t at = 0; at < run.size();) {
    const CodePoint c = decode_at(run, at);
    if (c.valid && !whole_runs) {
      out.append(run, at, c.length);
      at += c.length;
    } else {
      out += kReplacement;
      ++at;
    }
  }
  return out;
}

Decoder Decoder::build(DecoderConfig config, const std::vector<std::string_view>& pieces,
                       const std::vector<bool>& special) {
  Decoder d;
  d.config_ = std::move(config);
  for (const DecodeStep& step : d.config_.steps) {
    d.drops_repeats_ = d.drops_repeats_ || step.kind == DecodeStep::Kind::kCtc;
    d.last_differs_ = d.last_differs_ || step.kind == DecodeStep::Kind::kBpeSuffix;
    d.first_differs_ = d.first_differs_ || step.kind == DecodeStep::Kind::kWordPiece ||
                       (step.kind == DecodeStep::Kind::kMetaspace && step.flag);
  }
  d.entries_.resize(pieces.size());
  if (d.first_differs_ || d.last_differs_) d.pieces_.assign(pieces.begin(), pieces.end());
  for (size_t id = 0; id < pieces.size(); ++id) {
    Entry& entry = d.entries_[id];
    if (special[id]) entry.flags |= kSpecial;
    if (pieces[id].empty()) continue;
    entry.flags |= kPresent;
    std::string text = apply_decode_steps(d.config_.steps, pieces[id], {});
    if (d.config_.byte_level) {
      if (auto raw = from_byte_alphabet(text)) text = std::move(*raw);
    } else if (d.config_.byte_fallback) {
      entry.byte = parse_byte_token(text);
    }
    for (const auto& [fixed_id, fixed_text] : d.config_.fixed) {
      if (static_cast<size_t>(fixed_id) != id) continue;
      text = fixed_text;
      entry.flags |= kFixed;
    }
    if (is_valid_utf8(text)) entry.flags |= kWhole;
    entry.begin = static_cast<uint32_t>(d.arena_.size());
    entry.size = static_cast<uint32_t>(text.size());
    d.arena_ += text;
  }
  return d;
}

std::string Decoder::text_at(int32_t id, TokenPlace place) const {
  const bool differs = (place.first && first_differs_) || (place.last && last_differs_);
  if (!differs || fixed(id)) return std::string(bytes(id));
  std::string text = apply_decode_steps(config_.steps, pieces_[static_cast<size_t>(id)], place);
  if (config_.byte_level) {
    if (auto raw = from_byte_alphabet(text)) text = std::move(*raw);
  }
  return text;
}

std::string Decoder::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  std::string out;
  out.reserve(ids.size() * 5);
  DecodeRun run(*this, skip_special, /*eager=*/false);
  for (const int32_t id : ids) run.push(id, &out);
  run.finish(&out);
  if (config_.clean_up) clean_up_spaces(&out, false);
  return out;
}

DecodeRun::DecodeRun(const Decoder& decoder, bool skip_special, bool eager)
    : decoder_(&decoder),
      skip_special_(skip_special),
      eager_(eager),
      strip_left_(decoder.config().strip_start_count) {}

void DecodeRun::push(int32_t id, std::string* out) {
  const Decoder& d = *decoder_;
  if (!d.present(id) || (skip_special_ && d.special(id))) return;
  if (d.drops_repeats()) {
    if (id == previous_) return;
    previous_ = id;
    if (d.bytes(id).empty()) return;
  }
  if (d.last_differs()) {
    if (waiting_ >= 0) push_token(waiting_, false, out);
    waiting_ = id;
    return;
  }
  push_token(id, false, out);
}

void DecodeRun::push_token(int32_t id, bool last, std::string* out) {
  const Decoder& d = *decoder_;
  if (const int byte = d.byte_value(id); byte >= 0) {
    first_ = false;
    push_run_byte(static_cast<char>(byte), out);
    return;
  }
  end_byte_run(out);
  if (d.config().join_with_spaces && !first_) show(" ", false, out);
  if (first_ || last) {
    const std::string text = d.text_at(id, {.first = first_, .last = last});
    first_ = false;
    if (d.config().byte_level) {
      push_bytes(text, is_valid_utf8(text), out);
    } else {
      show(text, !d.fixed(id), out);
    }
    return;
  }
  if (d.config().byte_level) {
    push_bytes(d.bytes(id), d.whole(id), out);
  } else {
    show(d.bytes(id), !d.fixed(id), out);
  }
}

// Byte-level: what is whole is shown, the beginning of a character waits.
void DecodeRun::push_bytes(std::string_view bytes, bool whole, std::string* out) {
  if (held_.empty() && whole) return show(bytes, true, out);
  held_ += bytes;
  const size_t open = incomplete_suffix(held_);
  show(mend_utf8(std::string_view(held_).substr(0, held_.size() - open)), true, out);
  held_.erase(0, held_.size() - open);
}

// Byte fallback. Eagerly, characters that are complete are shown; bytes that can never become one
// are shown as U+FFFD, and where a run counts as a whole so are all that follow in it.
void DecodeRun::push_run_byte(char byte, std::string* out) {
  held_.push_back(byte);
  if (!eager_) return;
  std::string text;
  for (; broken_run_ && !held_.empty(); held_.erase(0, 1)) text += kReplacement;
  while (!held_.empty() && incomplete_suffix(held_) != held_.size()) {
    const CodePoint c = decode_at(held_, 0);
    if (c.valid) {
      text.append(held_, 0, c.length);
    } else {
      text += kReplacement;
      broken_run_ = decoder_->config().whole_runs;
    }
    held_.erase(0, c.valid ? c.length : 1);
    for (; broken_run_ && !held_.empty(); held_.erase(0, 1)) text += kReplacement;
  }
  show(text, true, out);
}

void DecodeRun::end_byte_run(std::string* out) {
  broken_run_ = false;
  if (held_.empty() || decoder_->config().byte_level) return;
  const std::string text = show_byte_run(held_, decoder_->config().whole_runs);
  held_.clear();
  show(text, true, out);
}

// The last stage: stripping of the whole text.
void DecodeRun::show(std::string_view text, bool may_strip, std::string* out) {
  const DecoderConfig& config = decoder_->config();
  if (strip_left_ > 0 && !text.empty()) {
    while (may_strip && strip_left_ > 0 && !text.empty() && text[0] == config.strip_start) {
      text.remove_prefix(1);
      --strip_left_;
    }
    if (!text.empty()) strip_left_ = 0;  // text has begun
  }
  if (config.strip_stop_count == 0) {
    out->append(text);
    return;
  }
  tail_ += text;
  size_t keep = tail_.size();
  while (keep > 0 && tail_.size() - keep < config.strip_stop_count &&
         tail_[keep - 1] == config.strip_stop) {
    --keep;
  }
  out->append(tail_, 0, keep);
  tail_.erase(0, keep);
}

void DecodeRun::finish(std::string* out) {
  if (waiting_ >= 0) push_token(waiting_, true, out);
  if (decoder_->config().byte_level) {
    const std::string rest = mend_utf8(held_);
    held_.clear();
    show(rest, true, out);
  } else {
    end_byte_run(out);
  }
  *this = DecodeRun(*decoder_, skip_special_, eager_);
}

}  // namespace trireme::text
