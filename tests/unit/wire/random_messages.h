// Random valid wire messages, and a text form that shows every field: what the codec's tests,
// fuzzers and benchmarks share.
//
// each_field() takes every struct apart by structured bindings: a field that is added to a struct
// and not here does not compile, so that no field can miss its round trip.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "parallel/step/step_link.h"
#include "parallel/wire/limits.h"
#include "parallel/wire/messages.h"

namespace trireme::wire::testing {

template <typename V>
void each_field(V& v, step::SamplingParams& m) {
  auto& [temperature, top_k, top_p, min_p, presence, frequency, repetition, seed, bias, allowed,
         banned, min_tokens, n_logprobs, n_prompt_logprobs] = m;
  v(temperature, top_k, top_p, min_p, presence, frequency, repetition, seed, bias, allowed, banned,
    min_tokens, n_logprobs, n_prompt_logprobs);
}
template <typename V>
void each_field(V& v, step::TokenLogprob& m) {
  auto& [token, logprob, rank] = m;
  v(token, logprob, rank);
}
template <typename V>
void each_field(V& v, step::PositionLogprobs& m) {
  auto& [actual, top] = m;
  v(actual, top);
}
template <typename V>
void each_field(V& v, Error& m) {
  auto& [code, message] = m;
  v(code, message);
}
template <typename V>
void each_field(V& v, Hello& m) {
  auto& [major, minor, replica, epoch, model, fingerprint, plan, n_devices, context, vocab,
         block_size, n_kv_blocks, max_running, embedding_width] = m;
  v(major, minor, replica, epoch, model, fingerprint, plan, n_devices, context, vocab, block_size,
    n_kv_blocks, max_running, embedding_width);
}
template <typename V>
void each_field(V& v, Load& m) {
  auto& [running, waiting, waiting_tokens, used, total, draining] = m;
  v(running, waiting, waiting_tokens, used, total, draining);
}
template <typename V>
void each_field(V& v, Heartbeat& m) {
  auto& [epoch, load] = m;
  v(epoch, load);
}
template <typename V>
void each_field(V& v, TokenUpdate& m) {
  auto& [request, first_index, tokens, logprobs, prompt_logprobs, finish, stop_token, cached, cost,
         queue_ns, prefill_ns, decode_ns, embedding, error] = m;
  v(request, first_index, tokens, logprobs, prompt_logprobs, finish, stop_token, cached, cost,
    queue_ns, prefill_ns, decode_ns, embedding, error);
}
template <typename V>
void each_field(V& v, TokenBatch& m) {
  auto& [epoch, updates] = m;
  v(epoch, updates);
}
template <typename V>
void each_field(V& v, LedgerReport& m) {
  auto& [epoch, device_ns, total, prefill, decode, idle, startup, recompute, resume, prompt_tokens,
         cached_tokens, generated_tokens] = m;
  v(epoch, device_ns, total, prefill, decode, idle, startup, recompute, resume, prompt_tokens,
    cached_tokens, generated_tokens);
}
template <typename V>
void each_field(V& v, Goodbye& m) {
  auto& [reason] = m;
  v(reason);
}
template <typename V>
void each_field(V& v, Welcome& m) {
  auto& [router_epoch, router] = m;
  v(router_epoch, router);
}
template <typename V>
void each_field(V& v, Refused& m) {
  auto& [reason] = m;
  v(reason);
}
template <typename V>
void each_field(V&, HelloAgain&) {}
template <typename V>
void each_field(V& v, RouterHeartbeat& m) {
  auto& [router_epoch] = m;
  v(router_epoch);
}
template <typename V>
void each_field(V& v, Submit& m) {
  auto& [request, trace, tenant, tokens, n_prompt, max_tokens, stop_token_ids, sampling, priority,
         deadline, cache_salt, resumed, continuous_usage, embed] = m;
  v(request, trace, tenant, tokens, n_prompt, max_tokens, stop_token_ids, sampling, priority,
    deadline, cache_salt, resumed, continuous_usage, embed);
}
template <typename V>
void each_field(V& v, Cancel& m) {
  auto& [request] = m;
  v(request);
}
template <typename V>
void each_field(V&, Drain&) {}
template <typename V>
void each_field(V& v, step::SetKvBlocks& m) {
  auto& [n_blocks] = m;
  v(n_blocks);
}
template <typename V>
void each_field(V& v, step::Shutdown& m) {
  auto& [reason] = m;
  v(reason);
}
template <typename V>
void each_field(V& v, step::StepHeader& m) {
  auto& [epoch, step, shape_hash] = m;
  v(epoch, step, shape_hash);
}
template <typename V>
void each_field(V& v, step::SequenceStart& m) {
  auto& [id, tokens, n_prompt, sampling] = m;
  v(id, tokens, n_prompt, sampling);
}
template <typename V>
void each_field(V& v, step::SequenceSpan& m) {
  auto& [id, first_position, n_tokens, token, new_blocks, sample, embed, first_logprob_position,
         n_logprob_positions] = m;
  v(id, first_position, n_tokens, token, new_blocks, sample, embed, first_logprob_position,
    n_logprob_positions);
}
template <typename V>
void each_field(V& v, step::StepPlan& m) {
  auto& [header, deadline_ns, releases, starts, spans, n_group_blocks] = m;
  v(header, deadline_ns, releases, starts, spans);
  if constexpr (V::kDraws) {
    v.deal(spans, n_group_blocks);
  } else {
    v(n_group_blocks);
  }
}
template <typename V>
void each_field(V& v, step::LoadProgress& m) {
  auto& [worker_rank, bytes_done, bytes_total] = m;
  v(worker_rank, bytes_done, bytes_total);
}
template <typename V>
void each_field(V& v, step::RankReady& m) {
  auto& [worker_rank, n_kv_blocks, weight_bytes, load_ns, startup_comm_ns, device] = m;
  v(worker_rank, n_kv_blocks, weight_bytes, load_ns, startup_comm_ns, device);
}
template <typename V>
void each_field(V& v, step::SequenceOutput& m) {
  auto& [id, token, logprobs, prompt_logprobs, embedding] = m;
  v(id, token, logprobs, prompt_logprobs, embedding);
}
template <typename V>
void each_field(V& v, step::StepResult& m) {
  auto& [header, outputs] = m;
  v(header, outputs);
}
template <typename V>
void each_field(V& v, step::StageTiming& m) {
  auto& [worker_rank, compute_ns, collective_ns, wait_upstream_ns, wait_downstream_ns, n_ahead,
         n_redone, n_graphs, graph_bytes] = m;
  v(worker_rank, compute_ns, collective_ns, wait_upstream_ns, wait_downstream_ns, n_ahead,
    n_redone, n_graphs, graph_bytes);
}
template <typename V>
void each_field(V& v, step::ExpertLoad& m) {
  auto& [first_expert, layers, rows] = m;
  v(first_expert, layers, rows);
}
template <typename V>
void each_field(V& v, step::StepTimings& m) {
  auto& [step, timing, experts] = m;
  v(step, timing, experts);
}

template <typename V>
void each_field(V& v, step::RankFailure& m) {
  auto& [worker_rank, step, op, message] = m;
  v(worker_rank, step, op, message);
}

// Fills every field by its type: numbers are not negative, texts are printable, what is unbounded
// in type stays small.
class Randomizer {
 public:
  static constexpr bool kDraws = true;  // other visitors only look
  explicit Randomizer(uint64_t seed) : engine_(seed) {}

  // The blocks of the spans, dealt to three groups.
  void deal(const std::vector<step::SequenceSpan>& spans, std::vector<int32_t>& counts) {
    counts.clear();
    for (const step::SequenceSpan& span : spans) {
      if (span.new_blocks.empty()) continue;
      const auto n = static_cast<int32_t>(span.new_blocks.size());
      const auto first = static_cast<int32_t>(below(span.new_blocks.size() + 1));
      const auto second = static_cast<int32_t>(below(static_cast<size_t>(n - first) + 1));
      counts.insert(counts.end(), {first, second, n - first - second});
    }
  }

  template <typename... Ts>
  void operator()(Ts&... fields) {
    (fill(fields), ...);
  }

  template <typename T>
  T make() {
    T message;
    fill(message);
    return message;
  }
  // A variant of each kind in turn.
  template <typename Variant>
  Variant make_kind(size_t index) {
    return make_kind_from<Variant>(index % std::variant_size_v<Variant>,
                                   std::make_index_sequence<std::variant_size_v<Variant>>());
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  template <typename Variant, size_t... kIndices>
  Variant make_kind_from(size_t index, std::index_sequence<kIndices...>) {
    Variant result;
    ((index == kIndices ? void(result = make<std::variant_alternative_t<kIndices, Variant>>())
                        : void()),
     ...);
    return result;
  }

  size_t below(size_t n) { return engine_() % n; }

  void fill(bool& x) { x = below(2) == 1; }
  void fill(int32_t& x) { x = static_cast<int32_t>(engine_() >> (33 + below(31))); }
  void fill(uint32_t& x) { x = static_cast<uint32_t>(engine_() >> (32 + below(32))); }
  void fill(int64_t& x) { x = static_cast<int64_t>(engine_() >> (1 + below(63))); }
  void fill(uint64_t& x) { x = engine_() >> below(64); }
  void fill(float& x) { x = static_cast<float>(below(1'000'001)) / 1e6f; }
  void fill(std::string& x) {
    static constexpr const char* kPieces[] = {"a", "Z", "0", "-", " ", "\"", "\\", "é", "漢", "🚣"};
    x = "x";  // some names may not be empty
    for (size_t n = below(12); n > 0; --n) x += kPieces[below(std::size(kPieces))];
  }
  template <typename Tag, typename Rep>
  void fill(StrongId<Tag, Rep>& id) {
    Rep value{};
    fill(value);
    id = StrongId<Tag, Rep>(value);
  }
  void fill(std::pair<int32_t, float>& x) {
    fill(x.first);
    fill(x.second);
    x.second = (x.second - 0.5f) * 200;
  }
  void fill(FinishReason& x) { x = static_cast<FinishReason>(below(5)); }
  void fill(ErrorCode& x) {
    x = static_cast<ErrorCode>(below(static_cast<size_t>(ErrorCode::kInternal) + 1));
  }
  template <typename T>
  void fill(std::vector<T>& xs) {
    xs.resize(below(4) == 0 ? 0 : below(8));
    for (T& x : xs) fill(x);
  }
  template <typename T, uint32_t kInside>
  void fill(SmallVector<T, kInside>& xs) {
    xs.resize(below(4) == 0 ? 0 : below(8));
    for (T& x : xs) fill(x);
  }
  template <typename T>
  void fill(std::optional<T>& x) {
    x.reset();
    if (below(2) == 1) fill(x.emplace());
  }
  template <typename T>
  void fill(T& message) {
    each_field(*this, message);
    repair(message);
  }

  // What one field's type cannot say.
  template <typename T>
  void repair(T&) {}
  void repair(step::SamplingParams& m) {
    m.repetition_penalty += 0.5f;
    m.n_logprobs = static_cast<int32_t>(below(22)) - 1;
    m.n_prompt_logprobs = static_cast<int32_t>(below(22)) - 1;
  }
  void repair(Submit& m) {
    m.tokens.push_back(7);
    m.n_prompt = static_cast<int32_t>(1 + below(m.tokens.size()));
    m.priority -= 100;
  }
  void repair(step::SequenceStart& m) {
    m.n_prompt = static_cast<int32_t>(below(m.tokens.size() + 1));
  }
  void repair(TokenUpdate& m) {
    if (!m.logprobs.empty()) m.logprobs.resize(m.tokens.size());
    if (below(2) == 1) m.stop_token = -1;
  }
  void repair(step::TokenLogprob& m) { m.logprob *= -20; }
  void repair(step::SequenceSpan& m) {
    if (below(2) == 1) m.token = -1;
    if (below(8) == 1) m.token = step::kSampledToken;
    if (below(3) != 0) m.first_logprob_position = m.n_logprob_positions = 0;
  }
  void repair(step::SequenceOutput& m) {
    if (below(4) == 0) m.token = -1;
  }
  void repair(step::LoadProgress& m) { m.worker_rank %= kMaxRanks; }
  void repair(step::RankReady& m) { m.worker_rank %= kMaxRanks; }
  void repair(step::StageTiming& m) { m.worker_rank %= kMaxRanks; }
  void repair(step::ExpertLoad& m) {
    m.first_expert = static_cast<int32_t>(below(100));
    for (int32_t& layer : m.layers) layer %= static_cast<int32_t>(kMaxLayers);
    m.rows.assign(m.layers.size() * (1 + below(8)), static_cast<int32_t>(below(1000)));
  }
  void repair(step::RankFailure& m) { m.worker_rank %= kMaxRanks; }

  std::mt19937_64 engine_;
};

// Every field as text: two messages are equal where their texts are.
class Describer {
 public:
  static constexpr bool kDraws = false;
  template <typename... Ts>
  void operator()(Ts&... fields) {
    out_ += '{';
    (add(fields), ...);
    out_ += '}';
  }
  template <typename... Ts>
  void add(std::variant<Ts...>& message) {
    out_ += fmt::format("#{}", message.index());
    std::visit([&](auto& kind) { add(kind); }, message);
  }
  std::string take() { return std::move(out_); }

 private:
  void add(std::string& x) { out_ += fmt::format("'{}' ", x); }
  template <typename Tag, typename Rep>
  void add(StrongId<Tag, Rep>& id) {
    out_ += fmt::format("{} ", id.value());
  }
  void add(std::pair<int32_t, float>& x) { out_ += fmt::format("({}, {}) ", x.first, x.second); }
  template <typename T, uint32_t kInside>
  void add(SmallVector<T, kInside>& xs) {
    std::vector<T> all(xs.begin(), xs.end());
    add(all);
  }
  template <typename T>
  void add(std::vector<T>& xs) {
    out_ += '[';
    for (T& x : xs) add(x);
    out_ += ']';
  }
  template <typename T>
  void add(std::optional<T>& x) {
    if (x.has_value()) {
      add(*x);
    } else {
      out_ += "none ";
    }
  }
  template <typename T>
  void add(T& x) {
    if constexpr (std::is_enum_v<T>) {
      out_ += fmt::format("{} ", static_cast<int>(x));
    } else if constexpr (std::is_arithmetic_v<T>) {
      out_ += fmt::format("{} ", x);
    } else {
      each_field(*this, x);
    }
  }

  std::string out_;
};

template <typename Variant>
std::string describe(Variant message) {
  Describer describer;
  describer.add(message);
  return describer.take();
}

}  // namespace trireme::wire::testing
