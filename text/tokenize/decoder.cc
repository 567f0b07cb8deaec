#include "text/tokenize/decoder.h"

#include <algorithm>

#include "text/tokenize/byte_alphabet.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

void replace_all(std::string* text, std::string_view from, std::string_view to) {
  for (size_t at = text->find(from); at != std::string::npos;
       at = text->find(from, at + to.size())) {
    text->replace(at, from.size(), to);
  }
}

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
  d.entries_.resize(pieces.size());
  if (!d.config_.metaspace.empty()) d.first_pieces_.assign(pieces.begin(), pieces.end());
  for (size_t id = 0; id < pieces.size(); ++id) {
    Entry& entry = d.entries_[id];
    if (special[id]) entry.flags |= kSpecial;
    if (pieces[id].empty()) continue;
    entry.flags |= kPresent;
    std::string text(pieces[id]);
    if (d.config_.byte_level) {
      if (auto raw = from_byte_alphabet(text)) text = std::move(*raw);
    } else {
      for (const auto& [from, to] : d.config_.replacements) replace_all(&text, from, to);
      if (d.config_.byte_fallback) entry.byte = parse_byte_token(text);
      if (!d.config_.metaspace.empty()) replace_all(&text, d.config_.metaspace, " ");
    }
    if (is_valid_utf8(text)) entry.flags |= kWhole;
    entry.begin = static_cast<uint32_t>(d.arena_.size());
    entry.size = static_cast<uint32_t>(text.size());
    d.arena_ += text;
  }
  return d;
}

std::string Decoder::first_text(int32_t id) const {
  if (!config_.metaspace_strips_first || config_.metaspace.empty()) return std::string(bytes(id));
  std::string text = first_pieces_[static_cast<size_t>(id)];
  replace_all(&text, config_.metaspace, "");
  return text;
}

std::string Decoder::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  if (!config_.byte_level) return decode_text(ids, skip_special);
  std::string out;
  out.reserve(ids.size() * 5);
  for (const int32_t id : ids) {
    if (!present(id) || (skip_special && special(id))) continue;
    out += bytes(id);
  }
  return mend_utf8(out);
}

std::string Decoder::decode_text(const std::vector<int32_t>& ids, bool skip_special) const {
  std::string out;
  std::string run;  // bytes of neighbouring byte-fallback tokens
  bool first = true;
  const auto end_run = [&] {
    out += show_byte_run(run, config_.whole_runs);
    run.clear();
  };
  for (const int32_t id : ids) {
    if (!present(id) || (skip_special && special(id))) continue;
    if (const int byte = byte_value(id); byte >= 0) {
      run.push_back(static_cast<char>(byte));
      first = false;
      continue;
    }
    end_run();
    if (config_.join_with_spaces && !first) out += ' ';
    if (first) {
      out += first_text(id);
    } else {
      out += bytes(id);
    }
    first = false;
  }
  end_run();
  size_t strip = 0;
  while (strip < config_.strip_start_count && strip < out.size() &&
         out[strip] == config_.strip_start) {
    ++strip;
  }
  return out.substr(strip);
}

}  // namespace trireme::text
