"""A plain Llama decoder in PyTorch, for training and scoring the demo model.

Same mathematics and tensor names as the Hugging Face LlamaForCausalLM layout: RMSNorm, half-split
rotary embedding, grouped-query attention, SwiGLU, tied input and output embeddings.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class ModelConfig:
    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def to_dict(self) -> dict:
        return asdict(self)


def rotary_table(config: ModelConfig, n_positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, each [n_positions, head_dim], for the half-split layout."""
    channel = torch.arange(0, config.head_dim, 2, dtype=torch.float32)
    inv_freq = config.rope_theta ** (-channel / config.head_dim)
    angle = torch.outer(torch.arange(n_positions, dtype=torch.float32), inv_freq)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    x32 = x.float()
    out = x32 * cos
    out[..., :half].addcmul_(x32[..., half:], sin[:, :half], value=-1)
    out[..., half:].addcmul_(x32[..., :half], sin[:, half:])
    return out.to(x.dtype)


class Rotate(torch.autograd.Function):
    """x is [batch, heads, positions, head_dim]. The gradient turns back by the same angle.

    Written out, like the norm below, since PyTorch's chain of small operations costs a quarter of
    a training step on a CPU.
    """

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return turn(x, cos, sin)

    @staticmethod
    def backward(ctx, gradient):
        cos, sin = ctx.saved_tensors
        return turn(gradient, cos, -sin), None, None


class Normalise(torch.autograd.Function):
    """RMSNorm in float32; the result has the type that the projections read."""

    @staticmethod
    def forward(ctx, x, weight, eps, dtype):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        unit = x * scale
        ctx.save_for_backward(unit, weight, scale)
        return (unit * weight).to(dtype)

    @staticmethod
    def backward(ctx, gradient):
        unit, weight, scale = ctx.saved_tensors
        gradient = gradient.float()
        for_weight = (gradient * unit).sum((0, 1))
        gradient = gradient * weight
        along = (gradient * unit).mean(-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1).mul_(scale), for_weight, None, None


class RmsNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if mixed else torch.float32
        return Normalise.apply(x.float(), self.weight, self.eps, dtype)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention; q is [batch, heads, n, head_dim], k and v have fewer heads.

    Written out, because at the short lengths of training PyTorch's fused one is slower on a CPU.
    """
    batch, n_heads, n, head_dim = q.shape
    n_kv_heads = k.shape[1]
    grouped = q.reshape(batch, n_kv_heads, -1, head_dim)  # the heads that share a key side by side
    scores = torch.matmul(grouped, k.transpose(-1, -2)).view(batch, n_heads, n, n)
    later = torch.full((n, n), float("-inf")).triu(1)
    weights = torch.softmax(scores.float() * head_dim**-0.5 + later, dim=-1).to(v.dtype)
    out = torch.matmul(weights.view(batch, n_kv_heads, -1, n), v)
    return out.view(batch, n_heads, n, head_dim)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.n_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        q_size, kv_size = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, q_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.o_proj = nn.Linear(q_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, n, _ = x.shape
        q = self.q_proj(x).view(batch, n, self.n_heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, n, self.n_kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, n, self.n_kv_heads, self.head_dim).transpose(1, 2)
        q, k = Rotate.apply(q, cos, sin), Rotate.apply(k, cos, sin)
        return self.o_proj(attend(q, k, v).transpose(1, 2).reshape(batch, n, -1))


class Mlp(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """Token ids [batch, positions] in, hidden states or logits out."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        cos, sin = rotary_table(config, config.max_position_embeddings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        # Projections into the residual stream start smaller: depth does not grow its variance.
        residual_scale = (2 * self.config.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            std = self.config.initializer_range
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std *= residual_scale
            nn.init.normal_(parameter, std=std)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        n = ids.shape[1]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, self.cos[:n], self.sin[:n])
        return self.model.norm(x)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.linear(self.hidden(ids), self.model.embed_tokens.weight)

    def loss(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Summed cross entropy where targets >= 0; only those positions meet the vocabulary."""
        hidden = self.hidden(ids).flatten(0, 1)
        chosen = (targets.flatten() >= 0).nonzero().squeeze(-1)
        logits = F.linear(hidden[chosen], self.model.embed_tokens.weight)
        return F.cross_entropy(logits.float(), targets.flatten()[chosen], reduction="sum")


@torch.no_grad()
def greedy(
    model: Llama, prompt_ids: list[int], eos_ids: set[int], max_new_tokens: int
) -> list[int]:
    """Greedy continuation. The whole prefix is computed again for each token: fast enough here."""
    ids = list(prompt_ids)
    limit = min(len(ids) + max_new_tokens, model.config.max_position_embeddings)
    while len(ids) < limit:
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        ids.append(token)
        if token in eos_ids:
            break
    return ids[len(prompt_ids) :]
