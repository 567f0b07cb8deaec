// Helpers of the codec that both protocols share: columns, sampling parameters, logprobs. Internal
// to codec*.cc.
#pragma once

#include <google/protobuf/arena.h>
#include <google/protobuf/repeated_field.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "parallel/step/step_plan.h"
#include "parallel/wire/codec.h"
#include "parallel/wire/wire.pb.h"

namespace trireme::wire {

// An arena whose first bytes are on the stack: a usual message needs no heap for its protobuf form.
class ScratchArena {
 public:
  ScratchArena() : arena_(block_, sizeof(block_)) {}
  template <typename T>
  T* make() {
    return google::protobuf::Arena::CreateMessage<T>(&arena_);
  }

 private:
  alignas(16) char block_[16 << 10];
  google::protobuf::Arena arena_;
};

template <typename T, typename Values>
void put(google::protobuf::RepeatedField<T>* to, const Values& from) {
  to->Add(from.begin(), from.end());
}
template <typename T>
std::vector<T> take(const google::protobuf::RepeatedField<T>& from) {
  return {from.begin(), from.end()};
}

// The decoded message, or why check() refuses it.
template <typename T>
Result<T> checked(Result<T> message) {
  if (!message.ok()) return message;
  if (const Status status = check(*message); !status.ok()) return status.error();
  return message;
}

// A sentence for the wire: cut to its limit, what is not printable UTF-8 replaced.
std::string clean_sentence(std::string_view text);

// Parses into `message`; data_loss when the bytes are none, resource_exhausted when they are too
// many.
Status parse_bytes(std::string_view bytes, google::protobuf::MessageLite* message);

// How many fields numbered `inner` the fields numbered `outer` of the encoded bytes hold, counted
// without building them: a repeated message of two bytes becomes hundreds of bytes in memory.
// data_loss when the bytes are no protobuf.
Result<size_t> count_nested_fields(std::string_view bytes, int outer, int inner);

void put_sampling(const step::SamplingParams& from, pb::Sampling* to);
Result<step::SamplingParams> take_sampling(const pb::Sampling& from);

void put_logprobs(const std::vector<step::PositionLogprobs>& from, pb::Logprobs* to);
// Checks that the columns agree and that no position has more than kMaxTopLogprobs.
Status check_logprobs(const pb::Logprobs& from);
// Positions [begin, begin + n) of checked columns; top_begin is where the first one's top entries
// start, and is moved on.
std::vector<step::PositionLogprobs> take_logprobs(const pb::Logprobs& from, int begin, int n,
                                                  int* top_begin);

}  // namespace trireme::wire
