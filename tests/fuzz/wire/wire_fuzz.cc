// Any bytes through every decoder. The first byte picks the message family. What is accepted must
// survive its own encoding.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "parallel/wire/codec.h"
#include "tests/unit/wire/random_messages.h"

namespace trireme::wire {
namespace {

template <typename Decode>
void round_trip(Decode decode, std::string_view bytes) {
  const auto message = decode(bytes);
  if (!message.ok()) return;
  CHECK(check(*message).ok());
  const std::string encoded = encode(*message);
  const auto again = decode(encoded);
  CHECK(again.ok()) << again.error().message;
  CHECK(testing::describe(*message) == testing::describe(*again));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      round_trip(decode_from_replica, bytes);
      break;
    case 1:
      round_trip(decode_from_router, bytes);
      break;
    case 2:
      round_trip(decode_rank_command, bytes);
      break;
    default:
      round_trip(decode_rank_event, bytes);
  }
  return 0;
}

}  // namespace trireme::wire
