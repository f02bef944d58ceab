"""Softmax attention of one sequence in plain torch, and the factors, windows and caps that a config may mean by it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weft.architectures.spec import Alibi, AttentionSpec, Rope
from weft.discover.traced import Leaf, Traced
from weft.layers.rope import RotaryPositions
from weft.ops.attention import alibi_slopes
from weft.ops.rope.reference import apply_rope


def scales(t: Traced, size: int, options: dict[str, Any]) -> list[tuple[str, float]]:
    """(label, factor on the scores) of all that may be. options: what the class gave its attention function."""
    if "scaling" in options:
        seen = float(size ** -0.5 if options["scaling"] is None else options["scaling"])
        return [("as seen", seen), ("queries too", seen * size ** -0.5)]
    known = [("head", size ** -0.5), ("none", 1.0), ("mup", 1 / size)]
    known += [(key, float(x)) for key, x in t.reader.all_values().items() if isinstance(x, float) and 0 < x < 1]
    return known


def windows(t: Traced) -> list[tuple[str, int | None]]:
    """(label, tokens) of all windows that the config may mean."""
    values = t.reader.all_values().items()
    return [("none", None), *((key, x) for key, x in values
                              if "window" in key and isinstance(x, int) and not isinstance(x, bool) and x > 1)]


def softcaps(t: Traced, options: dict[str, Any]) -> list[tuple[str, float | None]]:
    """(label, cap of the scores)."""
    if options.get("softcap") is not None:
        return [("as seen", float(options["softcap"]))]
    values = t.reader.all_values().items()
    return [("none", None), *((key, float(x)) for key, x in values if "cap" in key and isinstance(x, float) and x > 1)]


def clips(t: Traced) -> list[tuple[str, float | None]]:
    """(label, the largest number of q, k and v)."""
    return [("none", None), *((key, float(x)) for key, x in t.reader.all_values().items()
                              if "clip" in key and isinstance(x, int | float) and x > 0)]


def angles_of(positions: Any) -> tuple[Tensor, Tensor] | None:
    """cos and sin [1000, 1, R / 2] of rotary positions; None for others."""
    if not isinstance(positions, Rope):
        return None
    cos, sin = RotaryPositions(positions, max_model_len=1).angles(torch.arange(1000), torch.float32)
    return cos.unsqueeze(1), sin.unsqueeze(1)


def attended(spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, angles: tuple[Tensor, Tensor] | None,
             norms: list[Leaf], sinks: Tensor | None) -> Tensor:
    """[T, H * D]: dense causal attention of one sequence, as the spec says. Source: arXiv:1706.03762.

    norms: of q and k after the rotation. sinks: [H], a logit of each head that has no value.
    """
    tokens = len(q)
    if spec.clip is not None:
        q, k, v = (x.clamp(-spec.clip, spec.clip) for x in (q, k, v))
    if angles is not None and isinstance(spec.positions, Rope):
        q, k = q.clone(), k.clone()
        for x in (q, k):
            apply_rope(x, angles[0][:tokens], angles[1][:tokens], interleaved=spec.positions.interleaved)
    if norms:
        q, k = (norm.module(x) for norm, x in zip(norms, (q, k), strict=True))
    k, v = (x.repeat_interleave(spec.num_heads // spec.num_kv_heads, dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * spec.scale
    distance = torch.arange(tokens).unsqueeze(1) - torch.arange(tokens)
    if spec.softcap is not None:
        scores = spec.softcap * torch.tanh(scores / spec.softcap)
    if isinstance(spec.positions, Alibi):
        slopes = alibi_slopes(spec.num_heads, spec.positions.max_bias)
        scores = scores - spec.positions.scale * slopes.view(-1, 1, 1) * distance
    hidden = (distance < 0) | (distance >= (spec.window or tokens))
    scores = scores.masked_fill(hidden, -torch.inf)
    if sinks is not None and len(sinks) == spec.num_heads:
        scores = torch.cat((scores, sinks.view(-1, 1, 1).expand(-1, tokens, 1)), -1)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1)[..., :tokens], v).flatten(1)
