#include "text/tokenize/tokenizer_impl.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/unicode/classes.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

// One encode call.
struct TokenizerImpl::Run {
  std::string_view input;
  const TokenFilter& filter;
  bool offsets;    // the caller wants them
  bool alignment;  // needed for offsets, or to know where a normalized token came from
  Encoding out{};
  std::vector<ByteSpan> sources{};  // input bytes of each token, when offsets are wanted
  EncodeScratch* scratch;
  std::vector<ModelToken> tokens{};  // of one word
};

Status TokenizerImpl::finish() {
  std::vector<std::string> raw(added.size());
  std::vector<std::string> normalized(added.size());
  added_spelling.resize(added.size());
  n_ids = model->n_ids();
  for (size_t i = 0; i < added.size(); ++i) {
    const AddedToken& token = added[i];
    added_spelling[i] = token.content;
    if (token.normalized && !normalizer.empty()) {
      ASSIGN_OR_RETURN(added_spelling[i], normalizer.apply(std::string_view(token.content)));
      normalized[i] = added_spelling[i];
    } else if (token.normalized) {
      normalized[i] = token.content;
    } else {
      raw[i] = token.content;
    }
    added_by_content[token.content] = token.id;
    added_by_id[token.id] = i;
    n_ids = std::max(n_ids, token.id + 1);
  }
  // Two passes, as in the reference library: raw tokens win over normalized ones wherever they
  // meet.
  raw_matcher.build(&added, raw);
  normalized_matcher.build(&added, normalized);

  std::vector<std::string_view> pieces(static_cast<size_t>(n_ids));
  std::vector<bool> special(static_cast<size_t>(n_ids), false);
  for (int32_t id = 0; id < n_ids; ++id) pieces[static_cast<size_t>(id)] = model->id_to_piece(id);
  for (size_t i = 0; i < added.size(); ++i) {
    pieces[static_cast<size_t>(added[i].id)] = added_spelling[i];
    if (added[i].special) special[static_cast<size_t>(added[i].id)] = true;
  }
  decoder = Decoder::build(std::move(decoder_config), pieces, special);
  return {};
}

std::string TokenizerImpl::piece(int32_t id) const {
  if (const auto found = added_by_id.find(id); found != added_by_id.end()) {
    return added[found->second].content;
  }
  return std::string(model->id_to_piece(id));
}

namespace {

// Code point index of every byte position that begins a character; identity for ASCII.
class CodePointIndex {
 public:
  explicit CodePointIndex(std::string_view text) : ascii_(is_ascii(text)) {
    if (ascii_) return;
    index_.resize(text.size() + 1);
    uint32_t count = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      index_[i] = count;
      if (i + 1 == text.size() || !is_continuation(text[i + 1])) ++count;
    }
    index_[text.size()] = count;
  }
  uint32_t at(uint32_t byte) const { return ascii_ ? byte : index_[byte]; }

 private:
  bool ascii_;
  std::vector<uint32_t> index_;
};

}  // namespace

Result<Encoding> TokenizerImpl::encode(std::string_view text, const EncodeOptions& options,
                                       const TokenFilter& filter) const {
  if (text.size() > Tokenizer::kMaxTextBytes) {
    return invalid_argument(fmt::format("a text of {} bytes is longer than the limit of {}",
                                        text.size(), Tokenizer::kMaxTextBytes));
  }
  if (!is_valid_utf8(text)) return invalid_argument("the text is not valid UTF-8");
  const bool filters_normalized = filter != nullptr && !normalized_matcher.empty();
  ScratchPool::Lease scratch = scratches.take();
  Run run{.input = text,
          .filter = filter,
          .offsets = options.offsets,
          .alignment = options.offsets || filters_normalized,
          .scratch = scratch.get()};
  const auto emit_token = [&](ByteSpan span, int32_t token) {
    run.out.ids.push_back(added[static_cast<size_t>(token)].id);
    if (run.offsets) run.sources.push_back(span);
  };
  run.out.ids.reserve(text.size() / 4 + 8);
  const auto size = static_cast<uint32_t>(text.size());
  std::vector<AddedSplit> splits;
  if (raw_matcher.empty()) {
    if (size > 0) splits.push_back({{0, size}, -1});
  } else {
    AddedTokenMatcher::Allowed allowed;
    if (filter != nullptr) {
      allowed = [&](int32_t token, uint32_t begin, uint32_t end) {
        return filter(added[static_cast<size_t>(token)], {begin, end});
      };
    }
    splits = raw_matcher.split(text, allowed);
  }
  for (const AddedSplit& split : splits) {
    if (split.token >= 0) {
      emit_token(split.span, split.token);
    } else {
      TRY(encode_stretch(split.span, &run));
    }
  }
  scratches.give_back(std::move(scratch));
  Encoding out = std::move(run.out);
  if (options.offsets) {
    const CodePointIndex index(text);
    out.offsets.reserve(out.ids.size() + 2);
    for (const ByteSpan span : run.sources)
      out.offsets.emplace_back(index.at(span.begin), index.at(span.end));
    if (post.trim_offsets) trim_offsets(&out);
  }
  if (options.add_special_tokens) {
    out.ids.insert(out.ids.begin(), post.prefix.begin(), post.prefix.end());
    out.ids.insert(out.ids.end(), post.suffix.begin(), post.suffix.end());
    if (options.offsets) {
      out.offsets.insert(out.offsets.begin(), post.prefix.size(), {0, 0});
      out.offsets.insert(out.offsets.end(), post.suffix.size(), {0, 0});
    }
  }
  return out;
}

// A stretch between added tokens: normalize, look for tokens in normalized text, cut the rest into
// words.
Status TokenizerImpl::encode_stretch(ByteSpan span, Run* run) const {
  AlignedText text(run->input, span, run->alignment);
  TRY(normalizer.apply(&text));
  const auto size = static_cast<uint32_t>(text.text().size());
  if (size == 0) return {};
  if (normalized_matcher.empty()) return encode_words({std::move(text), {{0, size}}}, run);
  AddedTokenMatcher::Allowed allowed;
  if (run->filter != nullptr) {
    allowed = [&](int32_t token, uint32_t begin, uint32_t end) {
      return run->filter(added[static_cast<size_t>(token)], text.source(begin, end));
    };
  }
  const auto splits = normalized_matcher.split(text.text(), allowed);
  if (splits.size() == 1 && splits[0].token < 0) {
    return encode_words({std::move(text), {{0, size}}}, run);
  }
  for (const AddedSplit& split : splits) {
    if (split.token >= 0) {
      run->out.ids.push_back(added[static_cast<size_t>(split.token)].id);
      if (run->offsets) run->sources.push_back(text.source(split.span.begin, split.span.end));
      continue;
    }
    AlignedText part = text.slice(split.span);
    const auto part_size = static_cast<uint32_t>(part.text().size());
    TRY(encode_words({std::move(part), {{0, part_size}}}, run));
  }
  return {};
}

Status TokenizerImpl::encode_words(Words words, Run* run) const {
  for (const auto& step : pre_tokenizer) TRY(step->apply(&words));
  for (const ByteSpan word : words.spans) {
    if (word.end <= word.begin) continue;
    run->tokens.clear();
    encode_word(words.text.text().substr(word.begin, word.end - word.begin), run);
    for (const ModelToken& token : run->tokens) {
      run->out.ids.push_back(token.id);
      if (run->offsets) {
        run->sources.push_back(words.text.source(word.begin + token.begin, word.begin + token.end));
      }
    }
  }
  return {};
}

// Leaves the tokens of a word in run->tokens.
void TokenizerImpl::encode_word(std::string_view word, Run* run) const {
  std::vector<ModelToken>& tokens = run->tokens;
  for (uint32_t begin = 0; begin < word.size();) {
    const uint32_t end = model->part_end(word, begin);
    const std::string_view part = word.substr(begin, end - begin);
    if (!run->scratch->words.find(part, begin, &tokens)) {
      const size_t first = tokens.size();
      model->tokenize(part, &run->scratch->model, &tokens);
      for (size_t i = first; i < tokens.size(); ++i) {
        tokens[i].begin += begin;
        tokens[i].end += begin;
      }
      run->scratch->words.keep(part, begin, tokens.data() + first, tokens.data() + tokens.size());
    }
    begin = end;
  }
}

// Leaves the spaces at either end of a token out of its offsets; a token of spaces alone collapses
// to its end.
void TokenizerImpl::trim_offsets(Encoding* encoding) const {
  for (size_t i = 0; i < encoding->ids.size(); ++i) {
    const std::vector<char32_t> chars = to_code_points(piece(encoding->ids[i]));
    const auto is_blank = [](char32_t c) { return c == 0x120 || is_white_space(c); };
    const auto lead = std::find_if_not(chars.begin(), chars.end(), is_blank) - chars.begin();
    const auto trail = std::find_if_not(chars.rbegin(), chars.rend(), is_blank) - chars.rbegin();
    auto& [begin, end] = encoding->offsets[i];
    auto leading = static_cast<uint32_t>(lead);
    const auto trailing = static_cast<uint32_t>(trail);
    if (leading > 0) {
      // A single space at the start may be the one that the pre-tokenizer added.
      if ((i == 0 || begin == 0) && post.add_prefix_space && leading == 1) leading = 0;
      begin = std::min(begin + leading, end);
    }
    if (trailing > 0 && end >= trailing) end = std::max(end - trailing, begin);
  }
}

}  // namespace trireme::text
