"""`get_rope`: rotary positions of foreign models, of every kind that weft computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.architectures.rope import rope
from weft.architectures.rope_parameters import read_rope
from weft.architectures.spec import Rope
from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.public.layer import PublicLayer, StepRef, check_input, check_sizes, unsupported
from weft.layers.rope import RotaryPositions
from weft.ops.rope import RopeCase, choose_rope


class RotaryEmbedding(PublicLayer):
    """Rotates the first dimensions of each head by its token's position. Source: arXiv:2104.09864.

    axes: of a model with three positions for each token (M-RoPE): which of the three a frequency takes, [R / 2].
    """

    def __init__(self, part: Rope, head_size: int, axes: tuple[int, ...] | None = None) -> None:
        super().__init__()
        check_sizes(self, head_size=head_size)
        self.part, self.head_size, self.rotary_dim, self.axes = part, head_size, part.rotary_dim, axes
        self.memo_key = part, axes                            # layers that share it have the same angles
        self._positions: RotaryPositions | None = None
        self._step = StepRef()

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self._step = step
        self.choice = choose_rope(RopeCase(
            device=context.device, dtype=context.dtype, head_dim=self.head_size, half=self.rotary_dim // 2,
            interleaved=self.part.interleaved, isa=context.isa))

    def prepare(self, *, max_model_len: int) -> None:
        """Make the frequencies, some of which depend on the longest sequence, in tokens."""
        self._positions = RotaryPositions(self.part, max_model_len=max_model_len)

    def forward(self, positions: Tensor, query: Tensor, key: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """query, key [T, H * D] or [T, H, D] -> newly allocated, rotated tensors of the same shapes.

        positions: [T], or [3, T] for M-RoPE.
        """
        self._check("query", query, positions)
        if key is not None:
            self._check("key", key, positions)
        q, k = self.choice.run(self._heads(query), None if key is None else self._heads(key),
                               self._angles(positions, query.dtype))
        return q.view(query.shape), k if k is None or key is None else k.view(key.shape)

    def _check(self, name: str, x: Tensor, positions: Tensor) -> None:
        check_input(self, name, x, self.ready())
        size = self.head_size
        if x.dim() not in (2, 3) or x.shape[-1] % size or (x.dim() == 3 and x.shape[2] != size):
            raise ValueError(f"RotaryEmbedding: {name} is {list(x.shape)}, expected [T, H * {size}] or [T, H, {size}]")
        rows = x.shape[0]
        fits = positions.shape == (rows,) or (self.axes is not None and positions.shape == (3, rows))
        if not fits or positions.device != x.device:
            wanted = f"[{rows}]" if self.axes is None else f"[{rows}] or [3, {rows}]"
            raise ValueError(f"RotaryEmbedding: positions are {list(positions.shape)} on {positions.device}, expected "
                             f"{wanted} on {x.device}: one for each row of {name}")

    def _heads(self, x: Tensor) -> Tensor:
        """[T, H * D] or [T, H, D] -> [T, H, D]."""
        return x.reshape(x.shape[0], x[:1].numel() // self.head_size, self.head_size)

    def _angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin, [T, R / 2] float32. Layers with one part and equal positions share them during a step."""
        positions_of, angles = self._step.memo.get(self.memo_key, (None, None))
        if angles is not None and (positions is positions_of or torch.equal(positions_of, positions)):
            return angles
        angles = self.angles_of(positions, dtype)
        self._step.memo[self.memo_key] = positions.clone(), angles        # the caller may change positions in place
        return angles

    def angles_of(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin of positions [T] or [3, T], each [T, R / 2] float32, rounded to dtype."""
        assert self._positions is not None, "the engine prepares the frequencies before the first step"
        if positions.dim() == 1:
            return self._positions.angles(positions, dtype)
        cos, sin = (x.view(*positions.shape, -1) for x in self._positions.angles(positions.flatten(), dtype))
        axes, pairs = torch.tensor(self.axes), torch.arange(self.rotary_dim // 2)
        return cos[axes, :, pairs].t().contiguous(), sin[axes, :, pairs].t().contiguous()


def get_rope(head_size: int, rotary_dim: int | None = None, max_position: int = 8192, base: float | None = None,
             is_neox_style: bool = True, rope_scaling: Mapping[str, Any] | None = None,
             dtype: torch.dtype | None = None, partial_rotary_factor: float = 1.0,
             dual_chunk_attention_config: Any = None,
             rope_parameters: Mapping[str, Any] | None = None) -> RotaryEmbedding:
    """The rotary positions of a config. Arguments as vLLM's function, of both generations.

    rope_parameters: the config's, with rope_theta in it; older models give `base` and `rope_scaling`. dtype: the
    model's, in which cos and sin are rounded.
    ConfigError for an unknown type or values that do not fit; NotBuiltError for a type without code.
    """
    unsupported("get_rope", dual_chunk_attention_config=dual_chunk_attention_config,
                dtype=None if dtype == torch.get_default_dtype() else dtype)
    if rope_parameters is not None and rope_scaling is not None:
        raise ConfigError("rope_scaling", dict(rope_scaling), expected="either rope_parameters or rope_scaling")
    values: dict[str, Any] = {"head_dim": head_size, "max_position_embeddings": max_position}
    given = dict(rope_parameters or rope_scaling or {})
    given.setdefault("rope_theta", 10000.0 if base is None else base)
    values["rope_parameters"] = {"rope_type": given.pop("type", "default"), **given}
    partial = given.get("partial_rotary_factor", partial_rotary_factor)
    reader = ConfigReader(values, source="get_rope")
    part = rope(reader, interleaved=not is_neox_style, rotary_dim=int((rotary_dim or head_size) * partial),
                partial=partial)
    if part.rotary_dim > head_size:
        raise ConfigError("get_rope.rotary_dim", part.rotary_dim, expected=f"at most head_size, {head_size}")
    return RotaryEmbedding(part, head_size, _axes(reader, part.rotary_dim // 2))


def _axes(reader: ConfigReader, pairs: int) -> tuple[int, ...] | None:
    """Which of three positions (time, height, width) each frequency takes, by the config's `mrope_section`.

    Sections lie one after another, or interleaved: t h w t h w ..., then time where a section has ended.
    """
    found = read_rope(reader)
    if found is None or found.mrope_section is None:
        return None
    section = found.mrope_section
    if len(section) != 3 or sum(section) != pairs:
        raise ConfigError("mrope_section", list(section), expected=f"three numbers whose sum is {pairs}, the "
                          "frequencies of a head")
    if not found.mrope_interleaved:
        return tuple(axis for axis, count in enumerate(section) for _ in range(count))
    return tuple(i % 3 if i < 3 * section[i % 3] else 0 for i in range(pairs))
