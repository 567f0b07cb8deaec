#include "parallel/wire/pb_convert.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "parallel/wire/limits.h"
#include "parallel/wire/text_rules.h"

namespace trireme::wire {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

std::string clean_sentence(std::string_view text) {
  std::string clean;
  clean.reserve(std::min(text.size(), kMaxSentenceBytes));
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    const bool printable = length > 1 || (length == 1 && is_printable_ascii(text[i]));
    const std::string_view piece = printable ? text.substr(i, length) : std::string_view("?");
    if (clean.size() + piece.size() > kMaxSentenceBytes) break;
    clean += piece;
    i += std::max<size_t>(length, 1);
  }
  return clean;
}

Status parse_bytes(std::string_view bytes, google::protobuf::MessageLite* message) {
  if (bytes.size() > kMaxMessageBytes) {
    return resource_exhausted(
        fmt::format("a message of {} bytes; the limit is {}", bytes.size(), kMaxMessageBytes));
  }
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return data_loss("the bytes are no message of this protocol");
  }
  return {};
}

Result<size_t> count_nested_fields(std::string_view bytes, int outer, int inner) {
  const Error broken = data_loss("the bytes are no message of this protocol");
  if (bytes.size() > kMaxMessageBytes) {
    return resource_exhausted(
        fmt::format("a message of {} bytes; the limit is {}", bytes.size(), kMaxMessageBytes));
  }
  CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                         static_cast<int>(bytes.size()));
  size_t count = 0;
  while (const uint32_t tag = input.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) != outer ||
        WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&input, tag)) return broken;
      continue;
    }
    uint32_t length = 0;
    if (!input.ReadVarint32(&length)) return broken;
    const auto limit = input.PushLimit(static_cast<int>(std::min<uint32_t>(length, INT32_MAX)));
    while (const uint32_t inner_tag = input.ReadTag()) {
      count += WireFormatLite::GetTagFieldNumber(inner_tag) == inner ? 1 : 0;
      if (!WireFormatLite::SkipField(&input, inner_tag)) return broken;
    }
    if (input.BytesUntilLimit() > 0) return broken;
    input.PopLimit(limit);
  }
  return count;
}

void put_sampling(const step::SamplingParams& from, pb::Sampling* to) {
  to->set_temperature(from.temperature);
  to->set_top_k(from.top_k);
  to->set_top_p(from.top_p);
  to->set_min_p(from.min_p);
  to->set_presence_penalty(from.presence_penalty);
  to->set_frequency_penalty(from.frequency_penalty);
  to->set_repetition_penalty(from.repetition_penalty);
  to->set_seed(from.seed);
  for (const auto& [token, bias] : from.logit_bias) {
    to->add_bias_token(token);
    to->add_bias_value(bias);
  }
  put(to->mutable_allowed_token_id(), from.allowed_token_ids);
  put(to->mutable_banned_until_min_tokens(), from.banned_until_min_tokens);
  to->set_min_tokens(from.min_tokens);
  to->set_n_logprobs(from.n_logprobs);
  to->set_n_prompt_logprobs(from.n_prompt_logprobs);
}

Result<step::SamplingParams> take_sampling(const pb::Sampling& from) {
  if (from.bias_token_size() != from.bias_value_size()) {
    return data_loss("a logit bias has tokens without values");
  }
  step::SamplingParams to;
  to.temperature = from.temperature();
  to.top_k = from.top_k();
  to.top_p = from.top_p();
  to.min_p = from.min_p();
  to.presence_penalty = from.presence_penalty();
  to.frequency_penalty = from.frequency_penalty();
  to.repetition_penalty = from.repetition_penalty();
  to.seed = from.seed();
  to.logit_bias.reserve(static_cast<size_t>(from.bias_token_size()));
  for (int i = 0; i < from.bias_token_size(); ++i) {
    to.logit_bias.emplace_back(from.bias_token(i), from.bias_value(i));
  }
  to.allowed_token_ids = take(from.allowed_token_id());
  to.banned_until_min_tokens = take(from.banned_until_min_tokens());
  to.min_tokens = from.min_tokens();
  to.n_logprobs = from.n_logprobs();
  to.n_prompt_logprobs = from.n_prompt_logprobs();
  return to;
}

void put_logprobs(const std::vector<step::PositionLogprobs>& from, pb::Logprobs* to) {
  for (const step::PositionLogprobs& position : from) {
    to->add_token(position.actual.token);
    to->add_logprob(position.actual.logprob);
    to->add_rank(position.actual.rank);
    to->add_n_top(static_cast<uint32_t>(position.top.size()));
    for (const step::TokenLogprob& top : position.top) {
      to->add_top_token(top.token);
      to->add_top_logprob(top.logprob);
      to->add_top_rank(top.rank);
    }
  }
}

Status check_logprobs(const pb::Logprobs& from) {
  const int n = from.token_size();
  if (static_cast<size_t>(n) > kMaxLogprobPositions) {
    return resource_exhausted(
        fmt::format("logprobs of {} positions; the limit is {}", n, kMaxLogprobPositions));
  }
  int64_t n_top = 0;
  for (const uint32_t top : from.n_top()) {
    if (top > static_cast<uint32_t>(kMaxTopLogprobs)) {
      return resource_exhausted(
          fmt::format("{} logprobs of one position; the limit is {}", top, kMaxTopLogprobs));
    }
    n_top += top;
  }
  if (from.logprob_size() != n || from.rank_size() != n || from.n_top_size() != n ||
      from.top_token_size() != n_top || from.top_logprob_size() != n_top ||
      from.top_rank_size() != n_top) {
    return data_loss("the columns of logprobs differ in length");
  }
  return {};
}

std::vector<step::PositionLogprobs> take_logprobs(const pb::Logprobs& from, int begin, int n,
                                                  int* top_begin) {
  std::vector<step::PositionLogprobs> to(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) {
    step::PositionLogprobs& position = to[static_cast<size_t>(i)];
    const int row = begin + i;
    position.actual = {from.token(row), from.logprob(row), from.rank(row)};
    position.top.resize(from.n_top(row));
    for (step::TokenLogprob& top : position.top) {
      const int k = (*top_begin)++;
      top = {from.top_token(k), from.top_logprob(k), from.top_rank(k)};
    }
  }
  return to;
}

}  // namespace trireme::wire
