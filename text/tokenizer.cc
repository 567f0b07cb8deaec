#include "text/tokenizer.h"

#include <algorithm>

#include "text/tokenize/tokenizer_impl.h"
#include "text/tokenizer_files.h"

namespace trireme::text {

Result<Tokenizer> Tokenizer::load(const std::string& folder) {
  return load_tokenizer_files(folder, BosRule::kTokenizerFile);
}

Result<Tokenizer> Tokenizer::from_json(std::string_view json) {
  ASSIGN_OR_RETURN(auto impl, load_tokenizer_json(json));
  return Tokenizer(std::move(impl));
}

Result<Tokenizer> Tokenizer::from_sentencepiece(std::string_view bytes,
                                                const SentencePieceOptions& options) {
  ASSIGN_OR_RETURN(auto impl, load_sentencepiece(bytes, options, {}));
  return Tokenizer(std::move(impl));
}

Result<Tokenizer> Tokenizer::from_ranks(std::string_view bytes, bool qwen) {
  ASSIGN_OR_RETURN(auto impl,
                   load_ranks(bytes, qwen ? RankFamily::kQwen : RankFamily::kLlama3, {}));
  return Tokenizer(std::move(impl));
}

Result<Tokenizer> Tokenizer::from_tekken(std::string_view json) {
  ASSIGN_OR_RETURN(auto impl, load_tekken(json));
  return Tokenizer(std::move(impl));
}

Result<Encoding> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  TokenizerImpl::TokenFilter filter;
  if (!options.parse_special) filter = [](const AddedToken& t, ByteSpan) { return !t.special; };
  return impl_->encode(text, options, filter);
}

Result<Encoding> Tokenizer::encode_spans(std::string_view text,
                                         const std::vector<ContentSpan>& content_spans,
                                         const EncodeOptions& options) const {
  std::vector<ContentSpan> spans = content_spans;
  std::sort(spans.begin(), spans.end());
  // Overlapping spans are joined, so that the last span that begins at or before a byte decides.
  std::vector<ContentSpan> joined;
  for (const ContentSpan& span : spans) {
    if (span.second <= span.first) continue;
    if (!joined.empty() && span.first <= joined.back().second) {
      joined.back().second = std::max(joined.back().second, span.second);
    } else {
      joined.push_back(span);
    }
  }
  const auto is_content = [&](size_t byte) {
    const auto after =
        std::upper_bound(joined.begin(), joined.end(), byte,
                         [](size_t value, const ContentSpan& span) { return value < span.first; });
    return after != joined.begin() && byte < std::prev(after)->second;
  };
  const bool parse_special = options.parse_special;
  return impl_->encode(text, options, [&](const AddedToken& token, ByteSpan source) {
    if (token.special && !parse_special) return false;
    if (!is_control(token) || source.end <= source.begin) return true;
    return !is_content(source.begin) && !is_content(source.end - 1);
  });
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  return impl_->decoder.decode(ids, skip_special);
}

int32_t Tokenizer::vocab_size() const { return impl_->n_ids; }

int32_t Tokenizer::token_to_id(std::string_view piece) const {
  const auto found = impl_->added_by_content.find(std::string(piece));
  return found != impl_->added_by_content.end() ? found->second : impl_->model->token_to_id(piece);
}

std::string Tokenizer::id_to_piece(int32_t id) const { return impl_->piece(id); }

std::string Tokenizer::id_to_bytes(int32_t id) const {
  const Decoder& d = impl_->decoder;
  if (!d.present(id)) return {};
  if (d.byte_value(id) >= 0) return std::string(1, static_cast<char>(d.byte_value(id)));
  return std::string(d.bytes(id));
}

bool Tokenizer::is_special(int32_t id) const { return impl_->decoder.special(id); }

std::vector<int32_t> Tokenizer::special_ids() const {
  std::vector<int32_t> ids;
  for (const AddedToken& token : impl_->added) {
    if (token.special) ids.push_back(token.id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

const std::vector<int32_t>& Tokenizer::prefix_ids() const { return impl_->post.prefix; }
const std::vector<int32_t>& Tokenizer::suffix_ids() const { return impl_->post.suffix; }
const Decoder& Tokenizer::decoder() const { return impl_->decoder; }

}  // namespace trireme::text
