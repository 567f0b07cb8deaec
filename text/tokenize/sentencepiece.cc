// tokenizer.model: the protobuf of the SentencePiece library, read by hand, and what it means.
//
// Fields and their numbers: sentencepiece_model.proto (Apache-2.0). Every length is checked against
// what is left.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "text/tokenize/bpe.h"
#include "text/tokenize/charsmap.h"
#include "text/tokenize/tokenizer_impl.h"
#include "text/tokenize/unigram.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr size_t kMaxPieceBytes = 4096;
// Every way to cut a piece in two is a merge: long pieces are cut near the ends only in theory, so
// this bounds the work.
constexpr size_t kMaxMerges = size_t{1} << 24;

enum PieceType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string text;
  float score = 0;
  int type = kNormal;
};

struct SpmFile {
  std::vector<Piece> pieces;
  int model_type = 1;  // 1 Unigram, 2 BPE
  bool byte_fallback = false;
  bool suffix_space = false;
  int bos_id = 1;
  int eos_id = 2;
  std::string unk_surface = " \xE2\x81\x87 ";  // what decoding shows for the unknown piece
  std::string charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool escape_spaces = true;
};

// A protobuf message as a cursor over its fields.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  // Moves to the next field; false at the end.
  Result<bool> next() {
    if (at_ == bytes_.size()) return false;
    ASSIGN_OR_RETURN(const uint64_t tag, varint());
    if (tag > UINT32_MAX) return data_loss("tokenizer.model has a field with an absurd number");
    number_ = tag >> 3;
    kind_ = tag & 7;
    bytes_value_ = {};
    value_ = 0;
    switch (kind_) {
      case 0: {
        ASSIGN_OR_RETURN(value_, varint());
        return true;
      }
      case 1:
        return fixed(8);
      case 2: {
        ASSIGN_OR_RETURN(const uint64_t size, varint());
        if (size > bytes_.size() - at_) return truncated();
        bytes_value_ = bytes_.substr(at_, size);
        at_ += size;
        return true;
      }
      case 5:
        return fixed(4);
      default:
        return data_loss("tokenizer.model has a field of an unknown kind");
    }
  }
  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_value_; }
  // A field of another kind than the one its reader takes, or a number that does not fit, is an
  // error.
  Result<float> real() const {
    if (kind_ != 5) return wrong("no 32-bit number");
    return std::bit_cast<float>(static_cast<uint32_t>(value_));
  }
  Result<bool> flag() const {
    if (kind_ != 0 || value_ > 1) return wrong("neither true nor false");
    return value_ == 1;
  }
  // An id or an enumerator; negative ones come as 64-bit numbers.
  Result<int> integer() const {
    const auto value = static_cast<int64_t>(value_);
    if (kind_ != 0 || value < INT32_MIN || value > INT32_MAX) return wrong("out of range");
    return static_cast<int>(value);
  }
  Result<std::string> text() const {
    if (kind_ != 2) return wrong("no text");
    return std::string(bytes_value_);
  }

 private:
  Error wrong(std::string_view what) const {
    return data_loss(fmt::format("tokenizer.model: field {} is {}", number_, what));
  }
  static Error truncated() { return data_loss("tokenizer.model ends in the middle of a field"); }

  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) return truncated();
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      if (shift == 63 && byte > 1) break;  // of the tenth byte only one bit is left
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return data_loss("tokenizer.model has a number of more than 64 bits");
  }

  Result<bool> fixed(size_t size) {
    if (size > bytes_.size() - at_) return truncated();
    std::memcpy(&value_, bytes_.data() + at_, size);
    at_ += size;
    return true;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  uint64_t number_ = 0;
  uint64_t kind_ = 0;  // the wire type
  uint64_t value_ = 0;
  std::string_view bytes_value_;
};

// Calls `use(fields)` at every field of a message.
template <typename Use>
Status for_each_field(std::string_view bytes, Use use) {
  Fields fields(bytes);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, fields.next());
    if (!more) return {};
    TRY(use(fields));
  }
}

template <typename T>
Status take(Result<T> read, T* out) {
  if (!read.ok()) return read.error();
  *out = std::move(*read);
  return {};
}

Status read_piece(std::string_view bytes, SpmFile* file) {
  Piece piece;
  TRY(for_each_field(bytes, [&](const Fields& f) -> Status {
    return f.number() == 1   ? take(f.text(), &piece.text)
           : f.number() == 2 ? take(f.real(), &piece.score)
           : f.number() == 3 ? take(f.integer(), &piece.type)
                             : Status();
  }));
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes || !is_valid_utf8(piece.text)) {
    return invalid_argument(fmt::format("tokenizer.model, piece {}: empty, too long or not UTF-8",
                                        file->pieces.size()));
  }
  if (file->pieces.size() >= static_cast<size_t>(kMaxVocab)) {
    return invalid_argument("tokenizer.model has too many pieces");
  }
  file->pieces.push_back(std::move(piece));
  return {};
}

Status read_trainer(const Fields& f, SpmFile* file) {
  switch (f.number()) {
    case 3:
      return take(f.integer(), &file->model_type);
    case 24:
      return take(f.flag(), &file->suffix_space);
    case 35:
      return take(f.flag(), &file->byte_fallback);
    case 41:
      return take(f.integer(), &file->bos_id);
    case 42:
      return take(f.integer(), &file->eos_id);
    case 44:
      return take(f.text(), &file->unk_surface);
    default:
      return {};
  }
}

Status read_normalizer(const Fields& f, SpmFile* file) {
  switch (f.number()) {
    case 2:
      return take(f.text(), &file->charsmap);
    case 3:
      return take(f.flag(), &file->add_dummy_prefix);
    case 4:
      return take(f.flag(), &file->remove_extra_spaces);
    case 5:
      return take(f.flag(), &file->escape_spaces);
    default:
      return {};
  }
}

Result<SpmFile> read_file_fields(std::string_view bytes) {
  SpmFile file;
  TRY(for_each_field(bytes, [&](const Fields& f) -> Status {
    if (f.number() == 1) return read_piece(f.bytes(), &file);
    if (f.number() == 2) {
      return for_each_field(f.bytes(), [&](const Fields& t) { return read_trainer(t, &file); });
    }
    if (f.number() == 3) {
      return for_each_field(f.bytes(), [&](const Fields& n) { return read_normalizer(n, &file); });
    }
    return {};
  }));
  if (file.pieces.empty()) return invalid_argument("tokenizer.model has no pieces");
  return file;
}

bool may_merge(const Piece& piece) { return piece.type == kNormal; }

// SentencePiece merges any two neighbours whose concatenation is a piece, the best score first.
Status make_merges(const SpmFile& file, BpeConfig* config) {
  std::unordered_map<std::string_view, size_t> index;
  std::vector<size_t> order;
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    if (!may_merge(file.pieces[i])) continue;
    index.emplace(file.pieces[i].text, i);
    order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return file.pieces[a].score > file.pieces[b].score; });
  uint32_t rank = 0;
  float last_score = 0;
  for (const size_t i : order) {
    const std::string_view text = file.pieces[i].text;
    if (i != order[0] && file.pieces[i].score != last_score) ++rank;
    last_score = file.pieces[i].score;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if (is_continuation(text[cut])) continue;
      if (!index.contains(text.substr(0, cut)) || !index.contains(text.substr(cut))) continue;
      if (config->merges.size() >= kMaxMerges)
        return invalid_argument("tokenizer.model has too many merges");
      config->merges.push_back(
          {std::string(text.substr(0, cut)), std::string(text.substr(cut)), rank});
    }
  }
  return {};
}

Status make_unigram(const SpmFile& file, TokenizerImpl* impl) {
  UnigramConfig config;
  config.byte_fallback = file.byte_fallback;
  config.float_scores = true;
  config.unk_id = -1;
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    const Piece& piece = file.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.type == kUnknown) config.unk_id = id;
    if (piece.type == kControl || piece.type == kUnknown) {
      impl->added.push_back({.id = id, .content = piece.text, .special = true});
    }
    config.pieces.push_back({.text = piece.text,
                             .score = piece.score,
                             .in_text = piece.type == kNormal || piece.type == kUserDefined,
                             .user_defined = piece.type == kUserDefined,
                             .rates_unknown = piece.type == kNormal});
  }
  if (config.unk_id < 0) return invalid_argument("tokenizer.model has no unknown piece");
  ASSIGN_OR_RETURN(impl->model, Unigram::build(config));
  return {};
}

Status make_bpe(const SpmFile& file, TokenizerImpl* impl) {
  BpeConfig config;
  config.byte_fallback = file.byte_fallback;
  config.fuse_unk = true;
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    const Piece& piece = file.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.type == kControl) {
      // Not part of the vocabulary that text is made of: found only where special tokens are
      // parsed.
      impl->added.push_back({.id = id, .content = piece.text, .special = true});
      continue;
    }
    if (piece.type == kUnknown) {
      config.unk_token = piece.text;
      impl->added.push_back({.id = id, .content = piece.text, .special = true});
    }
    if (piece.type == kUserDefined) config.frozen.push_back(piece.text);
    config.vocab.emplace_back(piece.text, id);
  }
  TRY(make_merges(file, &config));
  ASSIGN_OR_RETURN(impl->model, Bpe::build(config));
  return {};
}

void set_decoder(const SpmFile& file, DecoderConfig* config) {
  config->byte_fallback = true;
  config->whole_runs = false;
  config->steps.push_back(
      {.kind = DecodeStep::Kind::kReplace, .from = std::string(kSpaceMark), .to = " "});
  // The space that encoding put in front goes; where it removed all of those that came, so does
  // decoding.
  config->strip_start_count = file.remove_extra_spaces ? kMaxPieceBytes
                              : file.add_dummy_prefix  ? 1
                                                       : 0;
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    if (file.pieces[i].type == kUnknown && is_valid_utf8(file.unk_surface)) {
      config->fixed.emplace_back(static_cast<int32_t>(i), file.unk_surface);
    }
  }
}

}  // namespace

Result<std::shared_ptr<TokenizerImpl>> load_sentencepiece(std::string_view bytes,
                                                          const SentencePieceOptions& options,
                                                          const std::vector<AddedToken>& added) {
  ASSIGN_OR_RETURN(const SpmFile file, read_file_fields(bytes));
  if (file.model_type != 1 && file.model_type != 2) {
    return unimplemented("tokenizer.model holds a model that is neither BPE nor Unigram");
  }
  if (file.suffix_space || !file.escape_spaces) {
    return unimplemented("tokenizer.model asks for a treatment of spaces that is not supported");
  }
  auto impl = std::make_shared<TokenizerImpl>();
  TRY(file.model_type == 1 ? make_unigram(file, impl.get()) : make_bpe(file, impl.get()));
  NormalizerSteps steps;
  if (!file.charsmap.empty()) {
    ASSIGN_OR_RETURN(Charsmap map, Charsmap::parse(file.charsmap));
    std::vector<std::string> kept;
    for (const Piece& piece : file.pieces) {
      if (piece.type == kUserDefined) kept.push_back(piece.text);
    }
    steps.push_back(make_charsmap(std::move(map), kept));
  }
  if (file.remove_extra_spaces) steps.push_back(make_squeeze_spaces());
  impl->normalizer = Normalizer(std::move(steps));
  impl->pre_tokenizer.push_back(make_dummy_prefix(file.add_dummy_prefix));
  set_decoder(file, &impl->decoder_config);
  const auto in_range = [&](int id) {
    return id >= 0 && static_cast<size_t>(id) < file.pieces.size();
  };
  if (options.add_bos && in_range(file.bos_id)) impl->post.prefix = {file.bos_id};
  if (options.add_eos && in_range(file.eos_id)) impl->post.suffix = {file.eos_id};
  // Tokens that the model file does not have.
  for (const AddedToken& token : added) {
    const bool known = static_cast<size_t>(token.id) < file.pieces.size();
    if (!known) impl->added.push_back(token);
  }
  TRY(impl->finish());
  return impl;
}

}  // namespace trireme::text
