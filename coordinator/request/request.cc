#include "coordinator/request/request.h"

#include "base/check.h"

namespace trireme::coordinator {

std::string_view to_string(RequestState state) {
  switch (state) {
    case RequestState::kWaiting:
      return "waiting";
    case RequestState::kPrefill:
      return "prefill";
    case RequestState::kDecode:
      return "decode";
    case RequestState::kPreempted:
      return "preempted";
    case RequestState::kEnding:
      return "ending";
    case RequestState::kFinished:
      return "finished";
  }
  CHECK(false) << "no such request state";
  return "";
}

bool is_allowed(RequestState from, RequestState to) {
  switch (from) {
    case RequestState::kWaiting:
      return to == RequestState::kPrefill || to == RequestState::kFinished;
    case RequestState::kPrefill:
      return to == RequestState::kDecode || to == RequestState::kPreempted ||
             to == RequestState::kEnding || to == RequestState::kFinished;
    case RequestState::kDecode:
      return to == RequestState::kPreempted || to == RequestState::kEnding ||
             to == RequestState::kFinished;
    case RequestState::kPreempted:
      return to == RequestState::kWaiting;
    case RequestState::kEnding:
      return to == RequestState::kFinished;
    case RequestState::kFinished:
      return false;
  }
  CHECK(false) << "no such request state";
  return false;
}

void RequestStateMachine::to(RequestState next) {
  CHECK(is_allowed(state_, next)) << "from " << to_string(state_) << " to " << to_string(next);
  state_ = next;
}

}  // namespace trireme::coordinator
