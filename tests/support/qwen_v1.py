"""Qwen v1 in plain torch: a tiny checkpoint and the forward pass of the published code's formulas.

Transformers has no class for it. Source: arXiv:2309.16609 and the config.json of Qwen/Qwen-7B.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_models import noise
from torch import Tensor

CONFIG = {
    "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "vocab_size": 320, "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "kv_channels": 16, "intermediate_size": 192,
    "max_position_embeddings": 8192, "seq_length": 2048, "layer_norm_epsilon": 1e-6, "rotary_emb_base": 5000,
    "rotary_pct": 1.0, "no_bias": True, "scale_attn_weights": True, "use_dynamic_ntk": True, "use_logn_attn": True,
    "tie_word_embeddings": False, "bf16": False, "fp16": False, "fp32": False, "use_flash_attn": "auto",
    "emb_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "onnx_safe": None, "tokenizer_type": "QWenTokenizer",
    "initializer_range": 0.02, "use_cache": True,
}


class QwenV1:
    """Weights by their published names, and the logits they give."""

    def __init__(self) -> None:
        hidden, half, vocab = CONFIG["hidden_size"], CONFIG["intermediate_size"] // 2, CONFIG["vocab_size"]
        shapes = {"transformer.wte.weight": (vocab, hidden), "transformer.ln_f.weight": (hidden,),
                  "lm_head.weight": (vocab, hidden)}
        for i in range(CONFIG["num_hidden_layers"]):
            layer = f"transformer.h.{i}."
            shapes |= {layer + "ln_1.weight": (hidden,), layer + "ln_2.weight": (hidden,),
                       layer + "attn.c_attn.weight": (3 * hidden, hidden), layer + "attn.c_attn.bias": (3 * hidden,),
                       layer + "attn.c_proj.weight": (hidden, hidden), layer + "mlp.w1.weight": (half, hidden),
                       layer + "mlp.w2.weight": (half, hidden), layer + "mlp.c_proj.weight": (hidden, half)}
        self.weights = {name: self._random(name, shape) for name, shape in shapes.items()}

    @staticmethod
    def _random(name: str, shape: tuple[int, ...]) -> Tensor:
        random = noise(name, shape)
        if ".ln_" in name:
            return 1 + 0.2 * random
        return 0.2 * random if len(shape) == 1 else (0.3 if "wte" in name else 1.5 * shape[1] ** -0.5) * random

    def save_pretrained(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        save_file(self.weights, path / "model.safetensors")
        (path / "config.json").write_text(json.dumps(CONFIG))

    @torch.inference_mode()
    def logits(self, input_ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, V]."""
        w = self.weights
        h = w["transformer.wte.weight"][input_ids]
        for i in range(CONFIG["num_hidden_layers"]):
            layer = f"transformer.h.{i}."
            h = h + self._attention(_rms(h, w[layer + "ln_1.weight"]), layer + "attn.")
            x = _rms(h, w[layer + "ln_2.weight"])
            a1, a2 = x @ w[layer + "mlp.w1.weight"].T, x @ w[layer + "mlp.w2.weight"].T
            h = h + (a1 * torch.nn.functional.silu(a2)) @ w[layer + "mlp.c_proj.weight"].T
        return _rms(h, w["transformer.ln_f.weight"]) @ w["lm_head.weight"].T

    def _attention(self, x: Tensor, name: str) -> Tensor:
        batch, length, hidden = x.shape
        heads, size = CONFIG["num_attention_heads"], CONFIG["kv_channels"]
        qkv = x @ self.weights[name + "c_attn.weight"].T + self.weights[name + "c_attn.bias"]
        q, k, v = (part.view(batch, length, heads, size).transpose(1, 2) for part in qkv.split(hidden, dim=-1))
        q, k = _rotate(q), _rotate(k)
        scores = q @ k.transpose(-1, -2) / size ** 0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        out = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
        return out.transpose(1, 2).reshape(batch, length, hidden) @ self.weights[name + "c_proj.weight"].T


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + CONFIG["layer_norm_epsilon"]).rsqrt() * weight


def _rotate(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    frequencies = CONFIG["rotary_emb_base"] ** -(torch.arange(half) / half)
    angles = torch.arange(x.shape[-2])[:, None] * frequencies
    first, second = x[..., :half], x[..., half:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
