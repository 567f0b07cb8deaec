// The fields that clients of other servers send and that change the answer. To ignore one would be
// a wrong answer with status 200, so each is refused by name; the values that mean "as if it were
// not there", which some clients always send, are let through.
#include <fmt/format.h>

#include <array>

#include "router/api/parse_fields.h"

namespace trireme::router {
namespace {

constexpr const char* kGrammar = ": output cannot be constrained by a grammar here";
constexpr const char* kBeam = ": it is for beam search, which is not served";
constexpr const char* kSampler = ": there is no such sampler here";
constexpr const char* kAdapter = ": adapters are not served";
constexpr const char* kMaxTokens = ": the field's name here is max_tokens";

// Numbers from `neutral_min` to `neutral_max` change nothing; true and false count as 1 and 0.
struct UnservedField {
  const char* name;
  const char* why = "";
  double neutral_min = 1;
  double neutral_max = 0;  // below the minimum: no value is neutral
};

constexpr std::array<UnservedField, 47> kUnservedFields = {{
    {"guided_json", kGrammar},
    {"guided_regex", kGrammar},
    {"guided_choice", kGrammar},
    {"guided_grammar", kGrammar},
    {"structured_outputs", kGrammar},
    {"structural_tag", kGrammar},
    {"grammar", kGrammar},
    {"json_schema", kGrammar},
    {"regex", kGrammar},
    {"ebnf", kGrammar},
    {"functions", ": tools may be given, with tool_choice auto or none"},
    {"function_call", ": tools may be given, with tool_choice auto or none"},
    {"audio"},
    {"web_search_options"},
    {"logits_processors"},
    {"custom_logit_processor"},
    {"use_beam_search", ": there is no beam search", 0, 0},
    {"length_penalty", kBeam, 1, 1},
    {"lora", kAdapter},
    {"lora_path", kAdapter},
    {"max_new_tokens", kMaxTokens},
    {"n_predict", kMaxTokens},
    {"min_new_tokens", ": the field's name here is min_tokens", 0, 0},
    {"repeat_penalty", ": the field's name here is repetition_penalty", 1, 1},
    {"n_probs", ": the field's name here is top_logprobs", 0, 0},
    {"no_stop_trim", ": the field's name here is include_stop_str_in_output", 0, 0},
    {"stop_regex", ": stop takes strings"},
    {"samplers", ": the order of the samplers is fixed"},
    {"typical_p", kSampler, 1, 1},
    {"typ_p", kSampler, 1, 1},
    {"tfs_z", kSampler, 1, 1},
    {"top_a", kSampler, 0, 0},
    {"top_n_sigma", kSampler, -1e9, 0},
    {"mirostat", kSampler, 0, 0},
    {"mirostat_mode", kSampler, 0, 0},
    {"xtc_probability", kSampler, 0, 0},
    {"dry_multiplier", kSampler, 0, 0},
    {"dynatemp_range", kSampler, 0, 0},
    {"smoothing_factor", kSampler, 0, 0},
    {"smoothing_curve", kSampler, 1, 1},
    {"epsilon_cutoff", kSampler, 0, 0},
    {"eta_cutoff", kSampler, 0, 0},
    {"reasoning", ": reasoning_effort is handed to the chat template"},
    {"include_reasoning", ": what the model thinks is part of its text", 1, 1},
    {"thinking_token_budget", ": there is no limit on thinking alone"},
    {"logprob_token_ids"},
    {"return_hidden_states", "", 0, 0},
}};

bool is_neutral(const UnservedField& field, const Json& value) {
  if (!value.is_number() && !value.is_boolean()) return false;
  const double v = value.is_boolean() ? (value.get<bool>() ? 1 : 0) : value.get<double>();
  return v >= field.neutral_min && v <= field.neutral_max;
}

}  // namespace

void refuse_unserved_fields(FieldReader& reader) {
  for (const UnservedField& field : kUnservedFields) {
    const Json* value = reader.find(field.name);
    if (value == nullptr || is_neutral(field, *value)) continue;
    return reader.fail(
        not_implemented(fmt::format("{} is not served{}", field.name, field.why), field.name));
  }
  const Json* modalities = reader.find("modalities");
  if (modalities != nullptr && *modalities != Json::array({"text"})) {
    reader.fail(not_implemented("modalities other than text are not served", "modalities"));
  }
}

}  // namespace trireme::router
