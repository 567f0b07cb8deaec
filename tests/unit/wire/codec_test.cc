// Every message comes back from its bytes as it was, and no bytes do harm.
#include "parallel/wire/codec.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/wire/random_messages.h"

namespace trireme::wire {
namespace {

using testing::describe;
using testing::Randomizer;

// Wire's four message families behind one face.
struct FromReplicaFamily {
  using Message = FromReplica;
  static Result<Message> decode(std::string_view bytes) { return decode_from_replica(bytes); }
};
struct FromRouterFamily {
  using Message = FromRouter;
  static Result<Message> decode(std::string_view bytes) { return decode_from_router(bytes); }
};
struct RankCommandFamily {
  using Message = step::RankCommand;
  static Result<Message> decode(std::string_view bytes) { return decode_rank_command(bytes); }
};
struct RankEventFamily {
  using Message = step::RankEvent;
  static Result<Message> decode(std::string_view bytes) { return decode_rank_event(bytes); }
};

template <typename Family>
class CodecTest : public ::testing::Test {};
using Families =
    ::testing::Types<FromReplicaFamily, FromRouterFamily, RankCommandFamily, RankEventFamily>;
TYPED_TEST_SUITE(CodecTest, Families);

TYPED_TEST(CodecTest, EveryKindComesBackAsItWas) {
  Randomizer random(1);
  for (size_t i = 0; i < 2000; ++i) {
    const auto message = random.make_kind<typename TypeParam::Message>(i);
    const Status status = check(message);
    ASSERT_TRUE(status.ok()) << status.error().message << " in " << describe(message);
    const auto decoded = TypeParam::decode(encode(message));
    ASSERT_TRUE(decoded.ok()) << decoded.error().message << " in " << describe(message);
    ASSERT_EQ(describe(message), describe(*decoded));
  }
}

TYPED_TEST(CodecTest, DefaultValuesOfEveryKindEitherComeBackOrAreRefusedWithASentence) {
  for (size_t i = 0; i < std::variant_size_v<typename TypeParam::Message>; ++i) {
    const auto message = Randomizer(i).make_kind<typename TypeParam::Message>(i);
    const auto decoded = TypeParam::decode(encode(message));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded->index(), i);
  }
}

TYPED_TEST(CodecTest, MutatedBytesAreDecodedOrRefused) {
  Randomizer random(2);
  std::mt19937_64& engine = random.engine();
  size_t n_refused = 0;
  size_t n_changed = 0;
  for (size_t i = 0; i < 20'000; ++i) {
    const auto message = random.make_kind<typename TypeParam::Message>(i);
    std::string bytes = encode(message);
    for (size_t n = 1 + engine() % 4; n > 0 && !bytes.empty(); --n) {
      const size_t at = engine() % bytes.size();
      switch (engine() % 4) {
        case 0:
          bytes[at] = static_cast<char>(engine());
          break;
        case 1:
          bytes.resize(at);
          break;
        case 2:
          bytes.insert(at, 1, static_cast<char>(engine()));
          break;
        default:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << (engine() % 8)));
      }
    }
    const auto decoded = TypeParam::decode(bytes);
    if (!decoded.ok()) {
      ++n_refused;
      EXPECT_FALSE(decoded.error().message.empty());
      continue;
    }
    n_changed += describe(*decoded) != describe(message) ? 1 : 0;
    // Whatever was accepted keeps the rules and can be sent on.
    EXPECT_TRUE(check(*decoded).ok());
    const auto again = TypeParam::decode(encode(*decoded));
    ASSERT_TRUE(again.ok()) << again.error().message;
  }
  EXPECT_GT(n_refused, 1000u);
  EXPECT_GT(n_changed, 100u);
}

TYPED_TEST(CodecTest, RandomBytesAreDecodedOrRefused) {
  std::mt19937_64 engine(3);
  size_t n_refused = 0;
  for (size_t i = 0; i < 20'000; ++i) {
    std::string bytes(engine() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(engine());
    n_refused += TypeParam::decode(bytes).ok() ? 0 : 1;
  }
  EXPECT_GT(n_refused, 15'000u);
}

TYPED_TEST(CodecTest, AMessageOfNoKnownKindIsRefused) {
  EXPECT_EQ(TypeParam::decode("").error().code, ErrorCode::kInvalidArgument);
  // Field 100, length 3: what a later version might add.
  const auto decoded =
      TypeParam::decode(std::string("\xa2\x06\x03"
                                    "abc",
                                    6));
  ASSERT_FALSE(decoded.ok());
  EXPECT_NE(decoded.error().message.find("unknown kind"), std::string::npos);
}

TEST(CodecTest, NegativeAndExtremeNumbersSurvive) {
  step::StepResult result;
  result.header = {UINT64_MAX, StepId(UINT64_MAX), UINT64_MAX};
  result.outputs.push_back({.id = SequenceId(UINT64_MAX), .token = INT32_MAX});
  result.outputs.push_back({.id = SequenceId(0), .token = -1});
  const step::RankEvent event = result;
  const auto decoded = decode_rank_event(encode(event));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(describe(event), describe(*decoded));
}

TEST(CodecTest, NewsOfAnErrorArrivesWhateverItsTextHolds) {
  TokenBatch batch;
  batch.updates.resize(1);
  batch.updates[0].finish = FinishReason::kError;
  batch.updates[0].error =
      Error{ErrorCode::kInternal, std::string("bad \xff bytes\n") + std::string(100'000, 'x')};
  const FromReplica message = batch;
  ASSERT_TRUE(check(message).ok());
  const auto decoded = decode_from_replica(encode(message));
  ASSERT_TRUE(decoded.ok());
  const std::string text = std::get<TokenBatch>(*decoded).updates[0].error->message;
  EXPECT_EQ(text.substr(0, 12), "bad ? bytes?");
  EXPECT_EQ(text.size(), kMaxSentenceBytes);
}

}  // namespace
}  // namespace trireme::wire
