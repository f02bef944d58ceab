"""Jina BERT in plain torch, as Transformers has no class for it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class JinaBert:
    """Jina BERT in plain torch: random weights under published names, and the states that they give.

    is_code: the code embedder, which norms q and k, and adds attention's result twice.
    """

    def __init__(self, width: int = 64, inner: int = 96, heads: int = 4, layers: int = 2, *,
                 is_code: bool = False) -> None:
        self.is_code = is_code
        self.gates, self.down, self.last = (
            ("mlp.up_gated_layer", "mlp.down_layer", "layer_norm_2") if is_code else
            ("mlp.gated_layers", "mlp.wo", "mlp.layernorm"))
        self.heads, self.layers, self.inner, self.random = heads, layers, inner, torch.Generator().manual_seed(11)
        self.weights: dict[str, Tensor] = {}
        self.add("embeddings.word_embeddings", 320, width)
        self.add("embeddings.token_type_embeddings", 2, width)
        self.add("embeddings.LayerNorm", width, bias=width)
        for layer in (f"encoder.layer.{i}." for i in range(layers)):
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                self.add(f"{layer}attention.{name}", width, width, bias=width)
            self.add(f"{layer}attention.output.LayerNorm", width, bias=width)
            self.add(layer + self.gates, 2 * inner, width)
            self.add(layer + self.down, width, inner, bias=width)
            norms = ("attention.self.layer_norm_q", "attention.self.layer_norm_k", "layer_norm_1") if is_code else ()
            for name in (*norms, self.last):
                self.add(layer + name, width, bias=width)

    def add(self, name: str, *shape: int, bias: int = 0) -> None:
        self.weights[f"{name}.weight"] = torch.randn(shape, generator=self.random) * 0.2 + (len(shape) == 1)
        if bias:
            self.weights[f"{name}.bias"] = torch.randn(bias, generator=self.random) * 0.2

    def config(self) -> dict:
        repository = "jina-bert-v2-qk-post-norm" if self.is_code else "jina-bert-implementation"
        return {"auto_map": {"AutoModel": f"jinaai/{repository}--modeling_bert.JinaBertModel"},
                "architectures": ["JinaBertForMaskedLM"], "model_type": "bert", "vocab_size": 320, "hidden_size": 64,
                "num_hidden_layers": self.layers, "num_attention_heads": self.heads, "intermediate_size": self.inner,
                "max_position_embeddings": 128, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
                "position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": "mean"}

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-12)

    def product(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def states(self, ids: list[int]) -> Tensor:
        tokens, types = (self.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "token_type"))
        x = self.norm("embeddings.LayerNorm", tokens[ids] + types[0])
        places = torch.arange(len(ids))
        slopes = torch.tensor([2.0 ** (-8 * (head + 1) / self.heads) for head in range(self.heads)])
        bias = -slopes[:, None, None] * (places[:, None] - places).abs()
        for i in range(self.layers):
            layer = f"encoder.layer.{i}."
            q, k, v = (self.product(f"{layer}attention.self.{name}", x) for name in ("query", "key", "value"))
            if self.is_code:
                q, k = (self.norm(f"{layer}attention.self.layer_norm_{name}", y) for name, y in (("q", q), ("k", k)))
            q, k, v = (y.unflatten(1, (self.heads, -1)).transpose(0, 1) for y in (q, k, v))
            weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
            mixed = self.product(f"{layer}attention.output.dense", (weights @ v).transpose(0, 1).flatten(1))
            first = self.norm(f"{layer}attention.output.LayerNorm", x + mixed)
            x = self.norm(f"{layer}layer_norm_1", x + first) if self.is_code else first
            halves = self.product(layer + self.gates, x).chunk(2, dim=-1)
            up, gate = halves if self.is_code else halves[::-1]
            x = self.norm(layer + self.last, x + self.product(layer + self.down, F.gelu(gate) * up))
        return x
