#include "tests/fuzz/text/targets.h"

#include <string>
#include <utility>

#include "base/check.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/tokenize/regex.h"
#include "text/tokenize/splitter.h"
#include "text/tokenize/vocab_files.h"
#include "text/tokenizer.h"
#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// Splits at the last NUL; without one the second part is `otherwise`.
std::pair<std::string_view, std::string_view> halves(std::string_view bytes,
                                                     std::string_view otherwise) {
  const size_t cut = bytes.rfind('\0');
  if (cut == std::string_view::npos) return {bytes, otherwise};
  return {bytes.substr(0, cut), bytes.substr(cut + 1)};
}

constexpr std::string_view kText =
    "Hello world, it's 42! \n\n e\u0301\u4F60\u597D \U0001F600 <s>a</s> \u2581x  ";

// A tokenizer that loaded must encode and decode anything without harm.
void use(const Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.encode(text, {.offsets = true});
  if (!encoding.ok()) return;
  CHECK(encoding->ids.size() == encoding->offsets.size());
  const size_t n_chars = count_code_points(text);
  for (const auto& [begin, end] : encoding->offsets) CHECK(begin <= end && end <= n_chars);
  const auto plain = tokenizer.encode(text);
  CHECK(plain.ok() && plain->ids == encoding->ids);
  std::vector<int32_t> ids = encoding->ids;
  for (int32_t id = -1; id < 300; ++id) ids.push_back(id);
  CHECK(is_valid_utf8(tokenizer.decode(ids, false)));
  Detokenizer stream(tokenizer, false);
  for (const int32_t id : ids) CHECK(is_valid_utf8(stream.push(id)));
  CHECK(is_valid_utf8(stream.flush()));
  static_cast<void>(tokenizer.encode_spans(text, {{1, text.size() / 2}}));
}

}  // namespace

void fuzz_tokenizer_json(std::string_view bytes) {
  const auto [json, text] = halves(bytes, kText);
  const auto tokenizer = Tokenizer::from_json(json);
  if (tokenizer.ok()) use(*tokenizer, text);
}

void fuzz_sentencepiece(std::string_view bytes) {
  const auto tokenizer = Tokenizer::from_sentencepiece(bytes);
  if (tokenizer.ok()) use(*tokenizer, kText);
}

void fuzz_ranks(std::string_view bytes) {
  const bool json = bytes.starts_with('{');
  const auto tokenizer =
      json ? Tokenizer::from_tekken(bytes) : Tokenizer::from_ranks(bytes, bytes.size() % 2 == 0);
  if (tokenizer.ok()) use(*tokenizer, kText);
}

void fuzz_vocab_files(std::string_view bytes) {
  const bool odd = bytes.size() % 2 == 1;
  const std::vector<AddedToken> added = {{.id = 0, .content = "<s>", .special = true},
                                         {.id = 70, .content = "\u00e9t\u00e9", .lstrip = true}};
  const auto json =
      bytes.find('\0') == std::string_view::npos
          ? word_list_tokenizer_json(bytes, {.lowercase = odd, .split_chinese = !odd}, added)
          : merges_tokenizer_json(halves(bytes, "").first, halves(bytes, "").second,
                                  odd ? MergesFamily::kGpt2 : MergesFamily::kQwen2, added,
                                  {"<|endoftext|>", "</s>"});
  if (!json.ok()) return;
  const auto tokenizer = Tokenizer::from_json(*json);
  if (tokenizer.ok()) use(*tokenizer, kText);
}

void fuzz_template(std::string_view bytes) {
  const auto [source, json] =
      halves(bytes, R"([{"role": "user", "content": "Hi <b>\u00e9</b>", "n": [1, 2.5, null]}])");
  const auto chat = ChatTemplate::parse(source);
  if (!chat.ok()) return;
  const auto messages = value_from_json(json, /*from_request=*/true);
  if (!messages.ok() || !messages->is(Kind::kList)) return;
  RenderRequest request;
  request.messages = *messages;
  request.tools = *messages;
  request.add_generation_prompt = source.size() % 2 == 0;
  request.continue_final_message = source.size() % 5 == 0 && !request.add_generation_prompt;
  const RenderLimits limits{.max_steps = 20'000, .max_depth = 200, .max_output_bytes = 1 << 18};
  const auto rendered = chat->render(request, limits);
  if (!rendered.ok()) return;
  CHECK(is_valid_utf8(rendered->text));
  CHECK(rendered->text.size() <= limits.max_output_bytes + (1 << 18));
  size_t done = 0;
  for (const auto& [begin, end] : rendered->content_spans) {
    CHECK(done <= begin && begin <= end && end <= rendered->text.size());
    done = end;
  }
}

void fuzz_regex(std::string_view bytes) {
  const auto [pattern, raw] = halves(bytes, kText);
  const std::string text = mend_utf8(raw);
  if (const auto regex = Regex::compile(pattern); regex.ok()) {
    Regex::Matcher matcher(*regex, text);
    ByteSpan match;
    uint32_t done = 0;
    for (int n = 0; n < 1000; ++n) {
      const auto found = matcher.next(&match);
      if (!found.ok() || !*found) break;
      CHECK(done <= match.begin && match.begin <= match.end && match.end <= text.size());
      done = match.end;
    }
  }
  for (int i = 0; i <= static_cast<int>(FastSplitter::kKimi); ++i) {
    std::vector<ByteSpan> parts;
    fast_split(static_cast<FastSplitter>(i), text, {0, static_cast<uint32_t>(text.size())}, &parts);
    uint32_t done = 0;
    for (const ByteSpan part : parts) {
      CHECK(part.begin == done && part.end > part.begin);
      done = part.end;
    }
    CHECK(done == text.size());
  }
}

}  // namespace trireme::text
