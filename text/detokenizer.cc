#include "text/detokenizer.h"

#include "text/tokenize/decoder.h"

namespace trireme::text {

Detokenizer::Detokenizer(Tokenizer tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)),
      run_(std::make_unique<DecodeRun>(tokenizer_.decoder(), skip_special, /*eager=*/true)) {}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::Detokenizer(const Detokenizer& other)
    : tokenizer_(other.tokenizer_), run_(std::make_unique<DecodeRun>(*other.run_)) {}
Detokenizer& Detokenizer::operator=(const Detokenizer& other) { return *this = Detokenizer(other); }

std::string Detokenizer::push(int32_t id) {
  std::string out;
  run_->push(id, &out);
  return out;
}

std::string Detokenizer::flush() {
  std::string out;
  run_->finish(&out);
  return out;
}

size_t Detokenizer::held_bytes() const { return run_->held_bytes(); }

}  // namespace trireme::text
