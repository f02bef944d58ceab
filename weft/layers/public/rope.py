"""`get_rope`: rotary positions of foreign models, of every kind that weft computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from weft.architectures.rope import rope
from weft.architectures.spec import Rope
from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.public.layer import PublicLayer, StepRef, unsupported
from weft.layers.rope import RotaryPositions
from weft.ops.rope import apply_rope
from weft.resolve.reader import ConfigReader


class RotaryEmbedding(PublicLayer):
    """Rotates the first dimensions of each head by its token's position. Source: arXiv:2104.09864."""

    def __init__(self, part: Rope, head_size: int) -> None:
        super().__init__()
        self.part, self.head_size, self.rotary_dim = part, head_size, part.rotary_dim
        self._positions: RotaryPositions | None = None
        self._step = StepRef()

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self._step = step

    def prepare(self, *, max_model_len: int) -> None:
        """Make the frequencies, some of which depend on the longest sequence, in tokens."""
        self._positions = RotaryPositions(self.part, max_model_len=max_model_len)

    def forward(self, positions: Tensor, query: Tensor, key: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """query, key [T, H * D] or [T, H, D] -> the same, rotated, on memory of their own. positions: [T]."""
        if positions.shape != query.shape[:1]:
            raise ValueError(f"RotaryEmbedding: positions are {list(positions.shape)}, expected one for each of "
                             f"{query.shape[0]} rows")
        cos, sin = self._angles(positions)
        return self._rotated(query, cos, sin), None if key is None else self._rotated(key, cos, sin)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [T, 1, R / 2]. Layers with one part and one tensor of positions share them during a step."""
        assert self._positions is not None, "the engine prepares the frequencies before the first step"
        memo_key = self.part
        found = self._step.memo.get(memo_key)
        if found is None or found[0] is not positions:
            dtype = self.bound().dtype
            cos, sin = self._positions.angles(positions, dtype)
            found = self._step.memo[memo_key] = (positions, cos.to(dtype).unsqueeze(1), sin.to(dtype).unsqueeze(1))
        return found[1], found[2]

    def _rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if x.dtype != self.bound().dtype or x.shape[1:].numel() % self.head_size:
            raise ValueError(f"RotaryEmbedding: {x.dtype} {list(x.shape)}, expected {self.bound().dtype} heads of "
                             f"{self.head_size}")
        out = x.reshape(x.shape[0], -1, self.head_size).clone(memory_format=torch.contiguous_format)
        apply_rope(out, cos, sin, interleaved=self.part.interleaved)
        return out.view(x.shape)


def get_rope(head_size: int, rotary_dim: int | None = None, max_position: int = 8192, base: float | None = None,
             is_neox_style: bool = True, rope_scaling: Mapping[str, Any] | None = None,
             dtype: torch.dtype | None = None, partial_rotary_factor: float = 1.0,
             dual_chunk_attention_config: Any = None,
             rope_parameters: Mapping[str, Any] | None = None) -> RotaryEmbedding:
    """The rotary positions of a config. Arguments as vLLM's function, of both generations.

    rope_parameters: the config's, with rope_theta in it; older models give `base` and `rope_scaling`.
    ConfigError for an unknown type or values that do not fit; NotBuiltError for a type without code.
    """
    unsupported("get_rope", dual_chunk_attention_config=dual_chunk_attention_config)
    if rope_parameters is not None and rope_scaling is not None:
        raise ConfigError("rope_scaling", dict(rope_scaling), expected="either rope_parameters or rope_scaling")
    values: dict[str, Any] = {"head_dim": head_size, "max_position_embeddings": max_position}
    given = dict(rope_parameters or rope_scaling or {})
    theta = given.setdefault("rope_theta", 10000.0 if base is None else base)
    values["rope_parameters"] = {"rope_type": given.pop("type", "default"), **given}
    partial = given.get("partial_rotary_factor", partial_rotary_factor)
    part = rope(ConfigReader(values, source="get_rope"), theta=theta, interleaved=not is_neox_style,
                rotary_dim=int((rotary_dim or head_size) * partial))
    return RotaryEmbedding(part, head_size)
