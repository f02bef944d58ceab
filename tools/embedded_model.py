"""The embedded model in plain torch: a small Llama with the tensor names of Transformers.

Only training uses it; weft runs the checkpoint through its own layers. Shapes here have a batch dimension: N rows of
T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaSizes:
    """Sizes of the model; the names are those of `config.json`."""

    vocab_size: int
    hidden_size: int = 192
    intermediate_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 32
    max_position_embeddings: int = 2048
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class Attention(nn.Module):
    """Causal attention with grouped key/value heads and rotary positions (halves rotated, as Llama does)."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = sizes.num_attention_heads, sizes.num_key_value_heads, sizes.head_dim
        self.q_proj = nn.Linear(sizes.hidden_size, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(sizes.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(sizes.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, sizes.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [N, T, E], cos and sin: [T, D]; returns [N, T, E]."""
        rows, length, _ = x.shape
        q, k, v = (
            proj(x).view(rows, length, heads, self.head_dim).transpose(1, 2)  # [N, H, T, D]
            for proj, heads in ((self.q_proj, self.heads), (self.k_proj, self.kv_heads), (self.v_proj, self.kv_heads))
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        out = F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(rows, length, -1))


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(sizes.hidden_size, sizes.intermediate_size, bias=False)
        self.up_proj = nn.Linear(sizes.hidden_size, sizes.intermediate_size, bias=False)
        self.down_proj = nn.Linear(sizes.intermediate_size, sizes.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer, norms before its two halves."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)
        self.self_attn = Attention(sizes)
        self.post_attention_layernorm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)
        self.mlp = MLP(sizes)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Embedding, layers and final norm; the embedding is also the output matrix."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(sizes.vocab_size, sizes.hidden_size)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.num_hidden_layers))
        self.norm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)
        angles = torch.outer(
            torch.arange(sizes.max_position_embeddings).float(),
            sizes.rope_theta ** (-torch.arange(0, sizes.head_dim, 2) / sizes.head_dim),
        ).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = (
                    (2 * sizes.num_hidden_layers) ** -0.5
                    if name.endswith(("o_proj.weight", "down_proj.weight"))
                    else 1.0
                )
                nn.init.normal_(weight, std=0.05 * deep)

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids: [N, T] int64; returns the normed hidden states, [N, T, E]."""
        x = self.embed_tokens(input_ids)
        cos, sin = self.cos[: input_ids.shape[1]], self.sin[: input_ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def weighted_loss(self, input_ids: Tensor, weights: Tensor) -> Tensor:
        """Mean cross entropy of the next token, each scaled by its weight; tokens of weight 0 are not computed.

        Args:
            input_ids: [N, T + 1] int64.
            weights: [N, T + 1] float32, of each token as a target.
        """
        hidden_states = self(input_ids[:, :-1])
        wanted = weights[:, 1:] > 0
        logits = F.linear(hidden_states[wanted], self.embed_tokens.weight)  # [targets, V]
        losses = F.cross_entropy(logits.float(), input_ids[:, 1:][wanted], reduction="none")
        scale = weights[:, 1:][wanted]
        return (losses * scale).sum() / scale.sum()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on x: [N, H, T, D], with cos and sin [T, D]."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin
