#include "text/tokenize/decode_steps.h"

namespace trireme::text {

namespace {

void replace_regex(const DecodeStep& step, std::string* text) {
  std::string out;
  Regex::Matcher matcher(*step.regex, *text);
  ByteSpan match;
  size_t done = 0;
  while (true) {
    const auto found = matcher.next(&match);
    // A pattern at its limit leaves the rest as it is: decoding cannot fail.
    if (!found.ok() || !*found) break;
    out.append(*text, done, match.begin - done);
    out += step.to;
    done = match.end;
  }
  out.append(*text, done);
  *text = std::move(out);
}

void strip(const DecodeStep& step, std::string* text) {
  const std::string& c = step.from;
  size_t begin = 0;
  for (uint32_t i = 0; i < step.start && text->compare(begin, c.size(), c) == 0; ++i) {
    begin += c.size();
  }
  size_t end = text->size();
  for (uint32_t i = 0; i < step.stop && end >= begin + c.size(); ++i) {
    if (text->compare(end - c.size(), c.size(), c) != 0) break;
    end -= c.size();
  }
  *text = text->substr(begin, end - begin);
}

void word_piece(const DecodeStep& step, TokenPlace place, std::string* text) {
  if (!place.first) {
    if (text->starts_with(step.from)) {
      text->erase(0, step.from.size());
    } else {
      text->insert(0, " ");
    }
  }
  if (step.flag) clean_up_spaces(text, true);
}

void ctc(const DecodeStep& step, std::string* text) {
  if (!step.from.empty()) replace_all(text, step.from, "");
  if (!step.flag) return;
  clean_up_spaces(text, true);
  if (!step.to.empty()) replace_all(text, step.to, " ");
}

}  // namespace

void replace_all(std::string* text, std::string_view from, std::string_view to) {
  size_t at = text->find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text->find(from, done)) {
    out.append(*text, done, at - done);
    out += to;
    done = at + from.size();
  }
  out.append(*text, done);
  *text = std::move(out);
}

void clean_up_spaces(std::string* text, bool decoder) {
  if (text->find(' ') == std::string::npos) return;
  for (const char* mark : {".", "?", "!", ","}) {
    replace_all(text, std::string(" ") + mark, mark);
  }
  replace_all(text, " ' ", "'");
  replace_all(text, " n't", "n't");
  replace_all(text, " 'm", "'m");
  if (decoder) replace_all(text, " do not", " don't");
  for (const char* ending : {"'s", "'ve", "'re"}) {
    replace_all(text, std::string(" ") + ending, ending);
  }
}

std::string apply_decode_steps(const std::vector<DecodeStep>& steps, std::string_view piece,
                               TokenPlace place) {
  std::string text(piece);
  for (const DecodeStep& step : steps) {
    switch (step.kind) {
      case DecodeStep::Kind::kReplace:
        replace_all(&text, step.from, step.to);
        break;
      case DecodeStep::Kind::kReplaceRegex:
        replace_regex(step, &text);
        break;
      case DecodeStep::Kind::kStrip:
        strip(step, &text);
        break;
      case DecodeStep::Kind::kMetaspace:
        replace_all(&text, step.from, step.flag && place.first ? "" : " ");
        break;
      case DecodeStep::Kind::kWordPiece:
        word_piece(step, place, &text);
        break;
      case DecodeStep::Kind::kBpeSuffix:
        replace_all(&text, step.from, place.last ? "" : " ");
        break;
      case DecodeStep::Kind::kCtc:
        ctc(step, &text);
        break;
    }
  }
  return text;
}

}  // namespace trireme::text
