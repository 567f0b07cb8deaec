#include "router/api/prepare.h"

#include <fmt/format.h>

#include <algorithm>

namespace trireme::router {
namespace {

ApiError too_long(int64_t n_prompt, int64_t n_output, int64_t context) {
  const std::string message =
      n_output > 0
          ? fmt::format("the context is {} tokens, and {} of prompt and {} of output are asked for",
                        context, n_prompt, n_output)
          : fmt::format("the context is {} tokens, and the prompt has {}", context, n_prompt);
  return bad_request(message, "messages", "context_length_exceeded");
}

ApiError no_tokenizer() {
  return bad_request(
      "this model has no tokenizer: send token ids to /v1/completions or /v1/embeddings", "prompt");
}

std::optional<ApiError> encode_prompt(const GenerationRequest& request,
                                      const PrepareContext& context, const Prompt& prompt,
                                      std::vector<int32_t>* ids, std::string* echo_text) {
  const ServedModel& model = *context.model;
  if (const auto* given = std::get_if<std::vector<int32_t>>(&prompt)) {
    *ids = *given;
    if (request.echo && model.tokenizer) *echo_text = model.tokenizer->decode(*ids, false);
    return std::nullopt;
  }
  const auto& text = std::get<std::string>(prompt);
  if (request.echo) *echo_text = text;
  return encode_text(model, text, request.add_special_tokens.value_or(true), ids);
}

// Cuts from the left, checks the context and settles max_tokens.
std::optional<ApiError> fit(const GenerationRequest& request, const PrepareContext& context,
                            std::vector<int32_t>* ids, int32_t* max_tokens) {
  const int64_t limit = context.limits.prompt_tokens > 0
                            ? std::min(context.limits.prompt_tokens, context.context)
                            : context.context;
  const auto asked = request.max_tokens;
  if (request.truncate_prompt_tokens) {
    int64_t keep = *request.truncate_prompt_tokens;
    if (keep < 0) keep = std::max<int64_t>(1, limit - std::min<int64_t>(limit, asked.value_or(1)));
    if (static_cast<int64_t>(ids->size()) > keep) ids->erase(ids->begin(), ids->end() - keep);
  }
  const auto n_prompt = static_cast<int64_t>(ids->size());
  if (n_prompt == 0) return bad_request("the prompt is empty", "prompt");
  if (n_prompt > limit) return too_long(n_prompt, 0, limit);
  int64_t wanted = asked.value_or(context.context - n_prompt);
  if (!asked && context.model->defaults.max_new_tokens) {
    wanted = std::min(wanted, *context.model->defaults.max_new_tokens);
  }
  const int64_t sequences =
      request.n * std::max<int64_t>(1, static_cast<int64_t>(request.prompts.size()));
  if (!asked)
    wanted = std::min(wanted, std::max<int64_t>(1, context.limits.n_times_max_tokens / sequences));
  const bool nothing_wanted = asked && *asked == 0;
  if (!nothing_wanted && wanted < 1) return too_long(n_prompt, 1, context.context);
  if (wanted > context.context - n_prompt) return too_long(n_prompt, wanted, context.context);
  if (wanted > context.limits.n_times_max_tokens / sequences) {
    return bad_request(fmt::format("{} sequences of {} tokens are more than the limit of {} tokens",
                                   sequences, wanted, context.limits.n_times_max_tokens),
                       "max_tokens");
  }
  if (request.min_tokens > wanted) {
    return bad_request("min_tokens must not be above max_tokens", "min_tokens");
  }
  *max_tokens = static_cast<int32_t>(wanted);
  return std::nullopt;
}

// A bad word is banned as the one token that it is, at the start of a text or behind a space.
std::optional<ApiError> ban_words(const ServedModel& model, const std::vector<std::string>& words,
                                  step::SamplingParams* sampling) {
  constexpr float kNever = -1e9F;
  for (const std::string& word : words) {
    if (!model.tokenizer) return no_tokenizer();
    bool any = false;
    for (const std::string& form : {word, " " + word}) {
      const auto encoded = model.tokenizer->encode(form, {.add_special_tokens = false});
      if (!encoded.ok() || encoded->ids.size() != 1) continue;
      any = true;
      sampling->logit_bias.emplace_back(encoded->ids.front(), kNever);
    }
    if (!any) {
      return bad_request("bad_words may hold words that are one token of this model only",
                         "bad_words");
    }
  }
  return std::nullopt;
}

std::optional<ApiError> prepare_sampling(const GenerationRequest& request,
                                         const PrepareContext& context, PreparedRequest* out) {
  const SamplingFields& asked = request.sampling;
  const GenerationDefaults& defaults = context.model->defaults;
  step::SamplingParams& s = out->sampling;
  const auto pick = [](const auto& first, const auto& second, auto otherwise) {
    return first ? *first : second ? *second : otherwise;
  };
  s.temperature = static_cast<float>(pick(asked.temperature, defaults.temperature, 1.0));
  s.top_p = static_cast<float>(pick(asked.top_p, defaults.top_p, 1.0));
  s.min_p = static_cast<float>(pick(asked.min_p, defaults.min_p, 0.0));
  s.top_k = static_cast<int32_t>(
      std::clamp<int64_t>(pick(asked.top_k, defaults.top_k, int64_t{0}), 0, context.model->vocab));
  s.repetition_penalty =
      static_cast<float>(pick(asked.repetition_penalty, defaults.repetition_penalty, 1.0));
  s.presence_penalty = static_cast<float>(asked.presence_penalty.value_or(0));
  s.frequency_penalty = static_cast<float>(asked.frequency_penalty.value_or(0));
  s.seed = asked.seed ? static_cast<uint64_t>(*asked.seed) : context.random_seed;
  s.logit_bias = asked.logit_bias;
  s.allowed_token_ids = asked.allowed_token_ids;
  s.min_tokens = request.min_tokens;
  s.n_logprobs = request.n_logprobs;
  s.n_prompt_logprobs = request.n_prompt_logprobs;
  if (!request.ignore_eos) out->stop_token_ids = context.model->eos_ids;
  out->stop_token_ids.insert(out->stop_token_ids.end(), request.stop_token_ids.begin(),
                             request.stop_token_ids.end());
  std::sort(out->stop_token_ids.begin(), out->stop_token_ids.end());
  out->stop_token_ids.erase(std::unique(out->stop_token_ids.begin(), out->stop_token_ids.end()),
                            out->stop_token_ids.end());
  if (request.min_tokens > 0) s.banned_until_min_tokens = out->stop_token_ids;
  if (!request.stop.empty() && !context.model->tokenizer) return no_tokenizer();
  return ban_words(*context.model, asked.bad_words, &s);
}

}  // namespace

std::optional<ApiError> encode_text(const ServedModel& model, const std::string& text,
                                    bool add_special_tokens, std::vector<int32_t>* ids) {
  if (!model.tokenizer) return no_tokenizer();
  auto encoded = model.tokenizer->encode(text, {.add_special_tokens = add_special_tokens});
  if (!encoded.ok()) return to_api_error(encoded.error());
  *ids = std::move(encoded->ids);
  return std::nullopt;
}

std::optional<ApiError> encode_chat(const ServedModel& model, const GenerationRequest& request,
                                    int64_t now_s, std::vector<int32_t>* ids) {
  if (!model.tokenizer) return no_tokenizer();
  if (!model.encode_chat) {
    return bad_request("this model has no chat template: use /v1/completions", "messages");
  }
  auto encoded = model.encode_chat(request, now_s);
  if (!encoded.ok()) {
    ApiError error = to_api_error(encoded.error());
    if (error.status == 503) error.status = 400;  // a template at its limits is the request's doing
    error.param = "messages";
    return error;
  }
  *ids = std::move(*encoded);
  if (request.add_special_tokens.value_or(false)) {
    const auto& prefix = model.tokenizer->prefix_ids();
    ids->insert(ids->begin(), prefix.begin(), prefix.end());
  }
  return std::nullopt;
}

std::optional<ApiError> prepare(const GenerationRequest& request, const PrepareContext& context,
                                PreparedRequest* out) {
  const auto add = [&](std::vector<int32_t> ids, std::string echo_text) -> std::optional<ApiError> {
    PreparedPrompt prompt;
    if (auto error = fit(request, context, &ids, &prompt.max_tokens)) {
      if (!request.chat && error->param == "messages") error->param = "prompt";
      if (request.embed && error->param == "prompt") error->param = "input";
      return error;
    }
    for (const int32_t id : ids) {
      if (id < 0 || id >= context.model->vocab) {
        return bad_request(
            fmt::format("the prompt holds token {}, and the model's vocabulary has {}", id,
                        context.model->vocab),
            request.embed ? "input" : "prompt");
      }
    }
    out->n_prompt_tokens += static_cast<int64_t>(ids.size());
    out->n_max_tokens += int64_t{prompt.max_tokens} * request.n;
    prompt.echo_text = std::move(echo_text);
    prompt.ids = std::make_shared<const std::vector<int32_t>>(std::move(ids));
    out->prompts.push_back(std::move(prompt));
    return std::nullopt;
  };
  if (!request.embed) {
    if (auto error = prepare_sampling(request, context, out)) return error;
  }
  if (request.chat) {
    std::vector<int32_t> ids;
    if (auto error = encode_chat(*context.model, request, context.now_s, &ids)) return error;
    return add(std::move(ids), {});
  }
  for (const Prompt& prompt : request.prompts) {
    std::vector<int32_t> ids;
    std::string echo_text;
    if (auto error = encode_prompt(request, context, prompt, &ids, &echo_text)) {
      if (request.embed) error->param = "input";
      return error;
    }
    if (auto error = add(std::move(ids), std::move(echo_text))) return error;
  }
  return std::nullopt;
}

}  // namespace trireme::router
