"""Nomic BERT with experts in plain torch, as Transformers has no class for it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class NomicMoe:
    """Random weights under published names, and the states that they give. Every second layer has experts."""

    def __init__(self, width: int = 64, inner: int = 96, heads: int = 4, layers: int = 4, experts: int = 4) -> None:
        self.heads, self.layers, self.inner, self.experts = heads, layers, inner, experts
        self.random, self.weights = torch.Generator().manual_seed(12), {}
        self.add("embeddings.word_embeddings", 320, width)
        self.add("embeddings.token_type_embeddings", 1, width)
        self.add("emb_ln", width, bias=width)
        for i in range(layers):
            layer = f"encoder.layers.{i}."
            self.add(f"{layer}attn.Wqkv", 3 * width, width, bias=3 * width)
            self.add(f"{layer}attn.out_proj", width, width, bias=width)
            for norm in ("norm1", "norm2"):
                self.add(layer + norm, width, bias=width)
            if i % 2:
                self.add(f"{layer}mlp.router.layer", experts, width)
                for name in ("w1", "w2"):
                    self.weights[f"{layer}mlp.experts.mlp.{name}"] = self.numbers(experts * inner, width)
                self.weights[f"{layer}mlp.experts.bias"] = self.numbers(width)
            else:
                self.add(f"{layer}mlp.fc1", inner, width, bias=inner)
                self.add(f"{layer}mlp.fc2", width, inner, bias=width)

    def numbers(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random) * 0.2

    def add(self, name: str, *shape: int, bias: int = 0) -> None:
        self.weights[f"{name}.weight"] = self.numbers(*shape) + (len(shape) == 1)
        if bias:
            self.weights[f"{name}.bias"] = self.numbers(bias)

    def config(self) -> dict:
        return {"architectures": ["NomicBertModel"], "model_type": "nomic_bert", "activation_function": "gelu",
                "vocab_size": 320, "n_embd": 64, "n_head": self.heads, "n_layer": self.layers, "n_inner": self.inner,
                "n_positions": 128, "type_vocab_size": 1, "layer_norm_epsilon": 1e-5, "qkv_proj_bias": True,
                "mlp_fc1_bias": True, "mlp_fc2_bias": True, "rotary_emb_base": 10000, "rotary_emb_fraction": 1.0,
                "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
                "prenorm": False, "causal": False, "parallel_block": False, "use_rms_norm": None, "num_experts": 4,
                "moe_every_n_layers": 2, "moe_top_k": 2, "moe_impl": "megablocks", "moe_resid_pdrop": 0.0,
                "moe_normalize_expert_weights": False, "num_shared_experts": 0, "expert_choice_router": False,
                "ffn_div": 1, "router_aux_loss_coef": 0.1, "pad_token_id": 1}

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-5)

    def product(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def turned(self, x: Tensor) -> Tensor:
        """[H, T, D] with rotary positions."""
        half = x.shape[-1] // 2
        angles = torch.arange(x.shape[1])[:, None] * 10000.0 ** (-torch.arange(half) / half)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), dim=-1)

    def mixture(self, layer: str, x: Tensor) -> Tensor:
        weights, chosen = self.product(f"{layer}mlp.router.layer", x).softmax(-1).topk(2)
        up, down = (self.weights[f"{layer}mlp.experts.mlp.{name}"].view(self.experts, self.inner, -1)
                    for name in ("w1", "w2"))
        rows = torch.zeros_like(x)
        for row, x_row, pair in zip(rows, x, zip(weights, chosen, strict=True), strict=True):
            for weight, e in zip(*pair, strict=True):
                row += weight * F.gelu(x_row @ up[e].t()) @ down[e]
        return rows + self.weights[f"{layer}mlp.experts.bias"]

    def states(self, ids: list[int]) -> Tensor:
        tokens, types = (self.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "token_type"))
        x = self.norm("emb_ln", tokens[ids] + types[0])
        for i in range(self.layers):
            layer = f"encoder.layers.{i}."
            q, k, v = self.product(f"{layer}attn.Wqkv", x).unflatten(1, (3, self.heads, -1)).permute(1, 2, 0, 3)
            weights = (self.turned(q) @ self.turned(k).transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
            mixed = self.product(f"{layer}attn.out_proj", (weights @ v).transpose(0, 1).flatten(1))
            x = self.norm(f"{layer}norm1", x + mixed)
            fed = self.mixture(layer, x) if i % 2 else self.product(
                f"{layer}mlp.fc2", F.gelu(self.product(f"{layer}mlp.fc1", x)))
            x = self.norm(f"{layer}norm2", x + fed)
        return x
