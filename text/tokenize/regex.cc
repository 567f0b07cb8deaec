#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/tokenize/regex.h"

#include <pcre2.h>

#include "text/unicode/utf8.h"

namespace trireme::text {

namespace {

// What one match may cost, far beyond what a sane pattern needs. A few matches of a text may cost a
// lot more, below a second each: so the cost of a text is bounded too.
constexpr uint32_t kMatchLimit = 50'000;
constexpr uint32_t kDearMatchLimit = 20'000'000;
constexpr int kDearMatches = 8;
constexpr size_t kJitStackStart = 64 << 10;
constexpr size_t kJitStackMax = 16 << 20;

std::string error_text(int code) {
  PCRE2_UCHAR buffer[160];
  if (pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0) return "unknown error";
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  ASSIGN_OR_RETURN(const std::string translated, translate_pattern(pattern));
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code->code == nullptr) {
    return invalid_argument("the pre-tokenizer pattern is not valid: " + error_text(error));
  }
  // Without JIT (an unusual build) the interpreter does the same, slower.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(code));
}

Result<Regex> Regex::compile_literal(std::string_view literal) {
  std::string escaped;
  for (const char c : literal) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c))) {
      escaped += '\\';
    }
    escaped += c;
  }
  return compile(escaped);
}

struct Regex::Matcher::State {
  pcre2_code* code = nullptr;
  std::string_view text;
  size_t at = 0;
  bool done = false;
  int dear_left = kDearMatches;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;

  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Matcher::Matcher(const Regex& regex, std::string_view text)
    : state_(std::make_unique<State>()) {
  state_->code = regex.code_->code;
  state_->text = text;
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  CHECK(state_->data != nullptr && state_->context != nullptr);
  pcre2_set_match_limit(state_->context, kMatchLimit);
}

Regex::Matcher::~Matcher() = default;

Result<bool> Regex::Matcher::next(ByteSpan* match) {
  State& s = *state_;
  if (s.done) return false;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(s.text.data());
  const auto match_once = [&] {
    return pcre2_match(s.code, subject, s.text.size(), s.at, PCRE2_NO_UTF_CHECK, s.data, s.context);
  };
  int rc = match_once();
  if (rc == PCRE2_ERROR_MATCHLIMIT && s.dear_left > 0) {
    --s.dear_left;
    pcre2_set_match_limit(s.context, kDearMatchLimit);
    rc = match_once();
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) pcre2_set_match_limit(s.context, kMatchLimit);
  }
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT && s.stack == nullptr) {
    s.stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);
    pcre2_jit_stack_assign(s.context, nullptr, s.stack);
    rc = match_once();
  }
  if (rc == PCRE2_ERROR_NOMATCH) {
    s.done = true;
    return false;
  }
  if (rc < 0) {
    s.done = true;
    return resource_exhausted("the pre-tokenizer pattern could not be matched within its limits: " +
                              error_text(rc));
  }
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(s.data);
  *match = {static_cast<uint32_t>(found[0]), static_cast<uint32_t>(found[1])};
  s.at = found[1];
  if (found[1] <= found[0]) {
    // An empty match: go on behind the next character, or the search would not move.
    if (s.at >= s.text.size()) {
      s.done = true;
    } else {
      s.at += decode_at(s.text, s.at).length;
    }
  }
  return true;
}

}  // namespace trireme::text
