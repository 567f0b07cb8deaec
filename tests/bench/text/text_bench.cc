// How fast text becomes tokens and tokens become text. Counters: tokens/s and bytes/s.
#include <benchmark/benchmark.h>

#include <fstream>
#include <sstream>

#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"

namespace trireme::text {
namespace {

std::string golden(const std::string& path) {
  std::ifstream file(std::string(TRIREME_SOURCE_DIR) + "/tests/golden/" + path, std::ios::binary);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

Tokenizer load(const std::string& name) {
  return Tokenizer::load(std::string(TRIREME_SOURCE_DIR) + "/tests/golden/tokenizers/" + name)
      .value();
}

// Prose-like text of about a megabyte.
std::string prose() {
  std::string text;
  while (text.size() < (1 << 20)) text += golden("chat_templates/harmony.jinja");
  return text;
}

void BM_Encode(benchmark::State& state, const char* name, bool offsets) {
  const Tokenizer tokenizer = load(name);
  const std::string text = prose();
  size_t tokens = 0;
  for (auto _ : state) tokens += tokenizer.encode(text, {.offsets = offsets})->ids.size();
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsRate);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}
BENCHMARK_CAPTURE(BM_Encode, llama3, "llama3", false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Encode, llama3_offsets, "llama3", true)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Encode, gpt2, "gpt2", false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Encode, qwen2, "qwen2", false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Encode, o200k_by_regex, "o200k", false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Encode, llama2, "llama2", false)->Unit(benchmark::kMillisecond);

void BM_OneLongWord(benchmark::State& state, const char* name) {
  const Tokenizer tokenizer = load(name);
  std::string word;
  for (uint32_t i = 0, x = 1; i < (1 << 20); ++i, x = x * 1664525u + 1013904223u)
    word += static_cast<char>('a' + (x >> 24) % 26);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode(word));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * word.size()));
}
BENCHMARK_CAPTURE(BM_OneLongWord, llama3, "llama3")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_OneLongWord, llama2, "llama2")->Unit(benchmark::kMillisecond);

void BM_Detokenize(benchmark::State& state, const char* name) {
  const Tokenizer tokenizer = load(name);
  const auto ids = tokenizer.encode(prose().substr(0, 100000))->ids;
  Detokenizer stream(tokenizer);
  size_t tokens = 0;
  for (auto _ : state) {
    for (const int32_t id : ids) benchmark::DoNotOptimize(stream.push(id));
    tokens += ids.size();
  }
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(BM_Detokenize, llama3, "llama3");
BENCHMARK_CAPTURE(BM_Detokenize, llama2, "llama2");

void BM_StopMatcher(benchmark::State& state) {
  StopMatcher matcher = StopMatcher::create({"\n\nUser:", "</s>", "Observation:"}).value();
  for (auto _ : state) benchmark::DoNotOptimize(matcher.push(" token"));
}
BENCHMARK(BM_StopMatcher);

void BM_Render(benchmark::State& state) {
  const auto chat = ChatTemplate::parse(golden("chat_templates/llama3_tools.jinja")).value();
  RenderRequest request;
  request.messages =
      value_from_json(R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},
      {"role":"assistant","content":"Hello."},{"role":"user","content":"What is a trireme?"}])",
                      true)
          .value();
  request.tools = Value::none();
  request.add_generation_prompt = true;
  for (auto _ : state) benchmark::DoNotOptimize(chat.render(request));
}
BENCHMARK(BM_Render)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace trireme::text

BENCHMARK_MAIN();
