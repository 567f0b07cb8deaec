// GenerationCall's choices: one job each, and what has become of it. For generation*.cc alone.
#pragma once

#include "router/generation.h"

namespace trireme::router {

class GenerationCall::Choice final : public JobListener {
 public:
  Choice(GenerationCall& call, int index, const PreparedPrompt& prompt, ChoiceText text);

  bool on_update(const JobUpdate& update) override;
  void on_error(const Error& error) override;

  JobId job = 0;
  int index = 0;
  bool finished = false;
  int64_t n_output = 0;
  int64_t cached_tokens = 0;
  int64_t cost_nano_usd = 0;
  int64_t queue_ns = 0, prefill_ns = 0, decode_ns = 0;
  std::string finish_reason;
  std::vector<float> embedding;
  const PreparedPrompt& prompt;

  WholeChoice take_whole();

 private:
  void take_prompt_logprobs(std::span<const step::PositionLogprobs> positions);
  void begin_output();
  void take_tokens(const JobUpdate& update);
  void emit(std::string_view piece);
  void end(std::string_view reason, std::string stop_reason);
  std::string take_logprobs();
  void write_text(std::string_view piece);
  void write_finish();
  const std::string& usage_json();

  GenerationCall& call_;
  ChoiceText text_;
  ChoiceEvents events_;
  CompletionLogprobs completion_logprobs_;
  std::string chat_logprobs_;         // entries, comma-separated
  std::string prompt_logprobs_;       // JSON
  std::vector<int32_t> pending_ids_;  // with return_token_ids: not yet sent
  std::string whole_text_;
  std::string stop_reason_ = "null";
  std::string scratch_;
  std::string usage_;
  int64_t last_token_ns_ = 0;
  bool began_ = false;
  bool sent_prompt_ids_ = false;
};

}  // namespace trireme::router
