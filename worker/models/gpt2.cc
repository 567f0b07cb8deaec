// GPT-2: learned positions, LayerNorms, biases everywhere, plain MLP; matrices are stored [in,
// out], and q, k and v are columns of one of them.
//
// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
#include "worker/layers/attention.h"
#include "worker/layers/mlp.h"
#include "worker/models/decoder.h"

namespace trireme::worker {
namespace {

// Columns of a stored [n_in, n_out]: output features.
WeightPart outputs(PartLoader& in, const std::string& name, int64_t n_in, int64_t n_out,
                   plan::Range part) {
  return {.slice = {in.name(name), {n_in, n_out}, {0, n_in}, part}, .transposed = true};
}
// Rows of it: input features.
WeightPart inputs(PartLoader& in, const std::string& name, int64_t n_in, int64_t n_out,
                  plan::Range part) {
  return {.slice = {in.name(name), {n_in, n_out}, part, {0, n_out}}, .transposed = true};
}

ColumnParallelLinear qkv(PartLoader& in) {
  const int64_t hidden = in.spec().hidden;
  const plan::Range heads = channels_of(in.rank().heads, in.spec().head_dim);
  std::vector<WeightPart> weights;
  std::vector<WeightPart> biases;
  for (const int64_t offset : {int64_t{0}, hidden, 2 * hidden}) {
    const plan::Range mine = shifted(heads, offset);
    weights.push_back(outputs(in, "attn.c_attn.weight", hidden, 3 * hidden, mine));
    biases.push_back(in.vector("attn.c_attn.bias", 3 * hidden, mine));
  }
  return ColumnParallelLinear(in, weights, biases);
}

RowParallelLinear attention_out(PartLoader& in) {
  const int64_t hidden = in.spec().hidden;
  const plan::Range mine = channels_of(in.rank().heads, in.spec().head_dim);
  return RowParallelLinear(in, inputs(in, "attn.c_proj.weight", hidden, hidden, mine),
                           {in.vector("attn.c_proj.bias", hidden)}, "attention");
}

ColumnParallelLinear mlp_in(PartLoader& in) {
  const int64_t width = in.spec().intermediate;
  const plan::Range mine = in.rank().intermediate;
  return ColumnParallelLinear(in, {outputs(in, "mlp.c_fc.weight", in.spec().hidden, width, mine)},
                              {in.vector("mlp.c_fc.bias", width, mine)});
}

RowParallelLinear mlp_out(PartLoader& in) {
  const int64_t hidden = in.spec().hidden;
  const plan::Range mine = in.rank().intermediate;
  return RowParallelLinear(in,
                           inputs(in, "mlp.c_proj.weight", in.spec().intermediate, hidden, mine),
                           {in.vector("mlp.c_proj.bias", hidden)}, "mlp");
}

struct Gpt2Layer {
  LayerNorm attention_norm;
  Attention attention;
  LayerNorm mlp_norm;
  PlainMlp mlp;

  explicit Gpt2Layer(PartLoader& in)
      : attention_norm(in, "ln_1"),
        attention(in, qkv(in), attention_out(in)),
        mlp_norm(in, "ln_2"),
        mlp(in, mlp_in(in), mlp_out(in)) {
    in.weights().optional_prefix("transformer.");
    in.ignore("attn.bias");  // masks, not biases
    in.ignore("attn.masked_bias");
  }

  Status forward(const TensorView& x, Pass& pass) const {
    const TensorView h = pass.h();
    const TensorView delta = pass.delta();
    attention_norm.forward(x, h, pass.context);
    TRY(attention.forward(h, delta, pass));
    pass.add(delta, x);  // x += attention(norm(x))
    mlp_norm.forward(x, h, pass.context);
    TRY(mlp.forward(h, delta, pass));
    pass.add(delta, x);  // x += mlp(norm(x))
    return {};
  }
};

struct Gpt2 {
  using Layer = Gpt2Layer;
  using Norm = LayerNorm;
  static constexpr DecoderNames kNames{.embedding = "wte.weight",
                                       .positions = "wpe.weight",
                                       .layers = "h.",
                                       .final_norm = "ln_f",
                                       .head = "lm_head.weight"};
};

}  // namespace

std::unique_ptr<Model> make_gpt2(PartLoader& in) { return std::make_unique<Decoder<Gpt2>>(in); }

}  // namespace trireme::worker
