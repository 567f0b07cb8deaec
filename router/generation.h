// GenerationCall: the life of one chat completion, completion or embedding request, from body to
// last byte.
//
//   begin -> parsed and tokenized (on the loop, or in the pool where it is long) -> admitted ->
//   jobs run
//         -> events streamed, or choices gathered -> settled
//
// News of the jobs only append bytes; after_batch() writes them once per event batch and ends the
// call. Belongs to the loop's thread, but for what the pool does while the loop leaves the call
// alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "router/api/choice_text.h"
#include "router/api/logprob_text.h"
#include "router/api/prepare.h"
#include "router/api/response.h"
#include "router/http/exchange.h"
#include "router/serving.h"

namespace trireme::router {

enum class CallKind : uint8_t { kChat, kCompletion, kEmbedding };

class GenerationCall : public std::enable_shared_from_this<GenerationCall> {
 public:
  GenerationCall(Serving& serving, std::shared_ptr<Exchange> exchange, CallKind kind,
                 const KeyConfig& key, std::string trace);
  ~GenerationCall();

  void begin();
  void after_batch();
  void tick(int64_t now_ns);  // keeps a silent stream alive
  // The router goes down: what runs is cancelled, the client is told.
  void abort(const ApiError& error);

 private:
  class Choice;

  void parse_and_prepare();  // pool or loop
  void admit();
  std::optional<ApiError> check_admission(RateRefusal* refusal);
  bool start_choices();
  void start_stream();
  void fail(const ApiError& error);
  void respond_whole();
  void respond_embeddings();
  void on_hang_up(HangUp reason);
  void cancel_jobs();
  void settle(const std::string& outcome);
  HttpHeaders headers() const;
  UsageNumbers usage() const;
  bool all_finished() const;

  Serving& serving_;
  std::shared_ptr<Exchange> exchange_;
  const CallKind kind_;
  const KeyConfig& key_;
  std::string trace_;
  ResponseIdentity identity_;
  PrepareContext context_;
  GenerationRequest request_;
  PreparedRequest prepared_;
  TokenNames names_;
  std::optional<ApiError> error_;
  std::vector<std::unique_ptr<Choice>> choices_;
  int64_t received_ns_ = 0;
  int64_t first_token_ns_ = 0;
  int64_t last_write_ns_ = 0;
  int64_t charged_tokens_ = 0;
  bool admitted_ = false;
  bool dirty_ = false;
  bool ended_ = false;

  friend struct Serving;
};

}  // namespace trireme::router
