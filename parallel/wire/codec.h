// Bytes of wire.proto to and from the structs of messages.h and of the step link. Protocol Buffers
// stay behind codec*.cc.
//
// decode_*() accepts any bytes: it returns a message that keeps every limit of limits.h, or an
// Error with one sentence; it never crashes, and it counts before it builds. check() is the same
// set of rules for a sender, who then gets the error instead of a peer that drops the frame;
// encode() of a message that check() refuses gives bytes that decode refuses. Sentences (reasons,
// error messages, plan descriptions) are the exception: both ways they are cut to their limit and
// what is not printable is replaced, so that news of an error never fails to arrive. Pure
// functions, thread-safe. Cost: one pass over the message each way; scratch memory is one arena per
// call.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "parallel/step/step_link.h"
#include "parallel/wire/messages.h"

namespace trireme::wire {

Status check(const FromReplica& message);
Status check(const FromRouter& message);
Status check(const step::RankCommand& message);
Status check(const step::RankEvent& message);

std::string encode(const FromReplica& message);
std::string encode(const FromRouter& message);
std::string encode(const step::RankCommand& message);
std::string encode(const step::RankEvent& message);

Result<FromReplica> decode_from_replica(std::string_view bytes);
Result<FromRouter> decode_from_router(std::string_view bytes);
Result<step::RankCommand> decode_rank_command(std::string_view bytes);
Result<step::RankEvent> decode_rank_event(std::string_view bytes);

}  // namespace trireme::wire
