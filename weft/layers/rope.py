"""Rotary frequencies from a Rope part, and the cosines and sines of a step's positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weft.architectures.spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NTKAlphaScaling,
    NTKScaling,
    ProportionalScaling,
    Rope,
    YarnScaling,
)
from weft.layers.registry import register_part


class RotaryPositions:
    """cos and sin of positions for one Rope part, computed for a step's tokens and shared by its layers.

    max_model_len decides what cannot change from token to token without spoiling cached keys: NTK's base and which of
    longrope's lists counts.
    """

    def __init__(self, rope: Rope, *, max_model_len: int) -> None:
        frequencies, self.factor = rotary_frequencies(rope, max_model_len=max_model_len)
        self.inverse_frequencies = -frequencies if rope.backwards else frequencies

    def angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(cos, sin), each [T, R / 2] float32, rounded to dtype as published code does, from positions [T]."""
        angles = torch.outer(positions.float(), self.inverse_frequencies)
        return (angles.cos() * self.factor).to(dtype).float(), (angles.sin() * self.factor).to(dtype).float()


register_part(Rope, RotaryPositions)


def rotary_frequencies(rope: Rope, *, max_model_len: int) -> tuple[Tensor, float]:
    """(inverse frequencies [R / 2] float32, factor on cos and sin) of a Rope part."""
    theta, scaling = rope.theta, rope.scaling
    if isinstance(scaling, DynamicScaling) and max_model_len > scaling.original_max_position:
        stretch = scaling.factor * max_model_len / scaling.original_max_position - (scaling.factor - 1)
        theta *= stretch ** (rope.rotary_dim / (rope.rotary_dim - 2))
    if isinstance(scaling, NTKAlphaScaling):
        theta *= scaling.alpha ** (rope.rotary_dim / (rope.rotary_dim - 2))
    exponents = torch.arange(0, rope.rotary_dim, 2, dtype=torch.int64).float() / rope.rotary_dim
    base = 1.0 / theta ** exponents
    match scaling:
        case LinearScaling(factor=factor):
            return base / factor, 1.0
        case NTKScaling():
            return _ntk(theta, exponents, rope.rotary_dim, scaling), 1.0
        case ProportionalScaling(rotated=rotated, factor=factor):
            return torch.where(torch.arange(len(base)) < rotated // 2, base, 0.0) / factor, 1.0
        case Llama3Scaling():
            return _llama3(base, scaling), 1.0
        case YarnScaling():
            return _yarn(base, rope, scaling), _yarn_factor(scaling)
        case LongRopeScaling():
            return _longrope(theta, exponents, scaling, max_model_len)
        case _:
            return base, 1.0


def _ntk(theta: float, exponents: Tensor, rotary_dim: int, s: NTKScaling) -> Tensor:
    if s.mixed_b is None:
        return 1.0 / (theta * s.factor) ** exponents / s.factor ** (2 / rotary_dim)
    places = torch.arange(1, rotary_dim // 2 + 1).float() / (rotary_dim // 2)
    return 1.0 / theta ** exponents / torch.exp(math.log(s.factor) * places ** s.mixed_b)


def _llama3(base: Tensor, s: Llama3Scaling) -> Tensor:
    wavelength = 2 * math.pi / base
    low, high = s.original_max_position / s.low_freq_factor, s.original_max_position / s.high_freq_factor
    smooth = (s.original_max_position / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    ramp = (1 - smooth) * base / s.factor + smooth * base
    return torch.where(wavelength > low, base / s.factor, torch.where(wavelength < high, base, ramp))


def _yarn(base: Tensor, rope: Rope, s: YarnScaling) -> Tensor:
    def dimension(rotations: float) -> float:
        """The dimension pair that makes `rotations` full turns over the original length."""
        turns = s.original_max_position / (rotations * 2 * math.pi)
        return rope.rotary_dim * math.log(turns) / (2 * math.log(rope.theta))

    low, high = dimension(s.beta_fast), dimension(s.beta_slow)
    if s.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.rotary_dim - 1)
    if low == high:
        high += 0.001
    interpolated = ((torch.arange(rope.rotary_dim // 2).float() - low) / (high - low)).clamp(0, 1)
    return base / s.factor * interpolated + base * (1 - interpolated)


def _yarn_factor(s: YarnScaling) -> float:
    if s.attention_factor is not None:
        return s.attention_factor

    def mscale(weight: float) -> float:
        return 1.0 if s.factor <= 1 else 0.1 * weight * math.log(s.factor) + 1.0

    if s.mscale and s.mscale_all_dim:
        return mscale(s.mscale) / mscale(s.mscale_all_dim)
    return mscale(1.0)


def _longrope(theta: float, exponents: Tensor, s: LongRopeScaling, max_model_len: int) -> tuple[Tensor, float]:
    is_long = max_model_len > s.original_max_position
    factors, mscale = (s.long_factor, s.long_mscale) if is_long else (s.short_factor, s.short_mscale)
    attention_factor = s.attention_factor if mscale is None else mscale
    if attention_factor is None:
        factor = s.factor or 1.0
        attention_factor = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(s.original_max_position))
    return 1.0 / (torch.tensor(factors, dtype=torch.float32) * theta ** exponents), attention_factor
