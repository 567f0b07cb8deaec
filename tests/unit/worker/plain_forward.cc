#include "tests/unit/worker/plain_forward.h"

#include <cmath>
#include <string>

#include "base/check.h"

namespace trireme::worker {
namespace {

using Vector = std::vector<double>;

class PlainLlama {
 public:
  PlainLlama(const plan::ModelSpec& spec, WeightSource& weights) : spec_(spec), weights_(weights) {}

  Vector logits(const std::vector<int32_t>& tokens) {
    const Vector table = read("model.embed_tokens.weight", spec_.vocab, spec_.hidden);
    std::vector<Vector> x;
    for (const int32_t token : tokens) {
      const auto row = table.begin() + int64_t{token} * spec_.hidden;
      x.emplace_back(row, row + spec_.hidden);
    }
    for (int layer = 0; layer < spec_.n_layers(); ++layer) run_layer(layer, x);
    const Vector h = norm(x.back(), "model.norm.weight");
    return multiply(h, spec_.tied_embeddings ? "model.embed_tokens" : "lm_head", spec_.vocab,
                    false);
  }

 private:
  Vector read(const std::string& name, int64_t rows, int64_t columns = 1) {
    std::vector<bf16> bits(static_cast<size_t>(rows * columns));
    plan::TensorSlice slice{name, {rows}, {0, rows}, {0, columns}};
    if (columns > 1) slice.shape.push_back(columns);
    CHECK(weights_.read(slice, bits.data()).ok());
    Vector values;
    for (const bf16 value : bits) values.push_back(to_f32(value));
    return values;
  }

  Vector multiply(const Vector& x, const std::string& name, int64_t n_out, bool bias) {
    const auto n_in = static_cast<int64_t>(x.size());
    const Vector w = read(name + ".weight", n_out, n_in);
    Vector out = bias ? read(name + ".bias", n_out) : Vector(static_cast<size_t>(n_out), 0.0);
    for (int64_t o = 0; o < n_out; ++o) {
      for (int64_t i = 0; i < n_in; ++i) {
        out[static_cast<size_t>(o)] +=
            w[static_cast<size_t>(o * n_in + i)] * x[static_cast<size_t>(i)];
      }
    }
    return out;
  }

  Vector norm(const Vector& x, const std::string& name) {
    const Vector w = read(name, static_cast<int64_t>(x.size()));
    double square = 0;
    for (const double v : x) square += v * v;
    const double scale = 1 / std::sqrt(square / static_cast<double>(x.size()) + spec_.norm_eps);
    Vector out;
    for (size_t i = 0; i < x.size(); ++i) out.push_back(x[i] * scale * w[i]);
    return out;
  }

  void rotate(Vector& heads, size_t position) const {
    const auto d = static_cast<size_t>(spec_.head_dim);
    const std::vector<float> inv_freq = spec_.ropes[0].inv_freq();
    for (size_t head = 0; head < heads.size(); head += d) {
      for (size_t i = 0; i < inv_freq.size(); ++i) {
        const double angle = static_cast<double>(position) * inv_freq[i];
        const double a = heads[head + i];
        const double b = heads[head + i + inv_freq.size()];
        heads[head + i] = a * std::cos(angle) - b * std::sin(angle);
        heads[head + i + inv_freq.size()] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }

  void run_layer(int layer, std::vector<Vector>& x) {
    const std::string p = "model.layers." + std::to_string(layer) + ".";
    const auto d = static_cast<size_t>(spec_.head_dim);
    const int64_t q_width = int64_t{spec_.n_heads} * spec_.head_dim;
    const int64_t kv_width = int64_t{spec_.n_kv_heads} * spec_.head_dim;
    const auto group = static_cast<size_t>(spec_.n_heads / spec_.n_kv_heads);
    std::vector<Vector> keys;
    std::vector<Vector> values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector h = norm(x[t], p + "input_layernorm.weight");
      Vector q = multiply(h, p + "self_attn.q_proj", q_width, spec_.qkv_bias);
      keys.push_back(multiply(h, p + "self_attn.k_proj", kv_width, spec_.qkv_bias));
      values.push_back(multiply(h, p + "self_attn.v_proj", kv_width, spec_.qkv_bias));
      rotate(q, t);
      rotate(keys.back(), t);
      Vector mixed(q.size(), 0.0);
      for (size_t head = 0; head * d < q.size(); ++head) {
        const size_t kv = head / group * d;
        Vector weight;
        double sum = 0;
        for (size_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (size_t c = 0; c < d; ++c) dot += q[head * d + c] * keys[s][kv + c];
          weight.push_back(std::exp(dot / std::sqrt(static_cast<double>(d))));
          sum += weight.back();
        }
        for (size_t s = 0; s <= t; ++s) {
          for (size_t c = 0; c < d; ++c) mixed[head * d + c] += weight[s] / sum * values[s][kv + c];
        }
      }
      const Vector out = multiply(mixed, p + "self_attn.o_proj", spec_.hidden, spec_.o_bias);
      for (size_t i = 0; i < out.size(); ++i) x[t][i] += out[i];
      const Vector g = norm(x[t], p + "post_attention_layernorm.weight");
      Vector gate = multiply(g, p + "mlp.gate_proj", spec_.intermediate, spec_.mlp_bias);
      const Vector up = multiply(g, p + "mlp.up_proj", spec_.intermediate, spec_.mlp_bias);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      const Vector down = multiply(gate, p + "mlp.down_proj", spec_.hidden, spec_.mlp_bias);
      for (size_t i = 0; i < down.size(); ++i) x[t][i] += down[i];
    }
  }

  const plan::ModelSpec& spec_;
  WeightSource& weights_;
};

}  // namespace

std::vector<double> plain_llama_logits(const plan::ModelSpec& spec, WeightSource& weights,
                                       const std::vector<int32_t>& tokens) {
  return PlainLlama(spec, weights).logits(tokens);
}

}  // namespace trireme::worker
