"""Which of weft's norms a module is: each is tried on wide and on tiny numbers, so that the epsilon shows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from weft.architectures.reader import ConfigReader
from weft.architectures.spec import LayerNorm, RMSNorm
from weft.discover.no_part import NoPartError
from weft.discover.traced import CLOSE, Leaf
from weft.layers.norm import norm_options
from weft.ops.norm.reference import ReferenceNorm
from weft.testing.diagnosis import difference

_EPSILONS = (1e-5, 1e-6, 1e-12, 1e-8, 1e-3, torch.finfo(torch.float32).eps)
_SCALES = (1.0, 1e-3)
NormPart = RMSNorm | LayerNorm


def is_norm(leaf: Leaf) -> bool:
    """Whether a leaf may be a norm: it keeps the shape, and has no matrix."""
    if type(leaf.module) in (nn.Identity, nn.Dropout) or "Norm" not in type(leaf.module).__name__:
        return False
    return leaf.given.shape == leaf.result.shape


@torch.no_grad()
def find_norm(leaf: Leaf, reader: ConfigReader) -> NormPart:
    """The part that gives a module's numbers. NoPartError names the nearest."""
    module = leaf.module
    weight, bias = (x if isinstance(x := getattr(module, name, None), Tensor) else None for name in ("weight", "bias"))
    probes = [_noise(leaf.shape, seed) * scale for seed, scale in enumerate(_SCALES)]
    wanted = [module(x) for x in probes]
    nearest: tuple[float, str] = (float("inf"), "")
    for part in _candidates(module, weight is not None, bias is not None, reader):
        norm = ReferenceNorm(weight, bias, norm_options(part))
        try:
            found = max(difference(norm(x).flatten(0, -2), y.flatten(0, -2))
                        for x, y in zip(probes, wanted, strict=True))
        except RuntimeError:                                  # a weight that does not fit the last dimension
            continue
        if found <= CLOSE:
            return _rounded_as(part, module, weight, leaf.shape)
        nearest = min(nearest, (found, part.describe()))
    raise NoPartError(leaf.name, f"a norm like {type(module).__name__}", nearest=nearest[1], difference=nearest[0])


def _candidates(module: nn.Module, has_weight: bool, has_bias: bool, reader: ConfigReader) -> Iterator[NormPart]:
    own = [value for value in vars(module).values() if isinstance(value, float) and 0 < value < 0.1]
    config = [value for value in reader.all_values().values() if isinstance(value, float) and 0 < value < 0.1]
    for eps in dict.fromkeys((*own, *config, *_EPSILONS)):
        if not has_bias:
            yield RMSNorm(eps=eps, has_weight=has_weight)
        if has_weight and not has_bias:
            yield RMSNorm(eps=eps, offset=1.0)
        yield LayerNorm(eps=eps, has_weight=has_weight, has_bias=has_bias)
        if has_weight:
            yield LayerNorm(eps=eps, has_bias=has_bias, offset=1.0)


def _rounded_as(part: NormPart, module: nn.Module, weight: Tensor | None, shape: tuple[int, ...]) -> NormPart:
    """The part with the module's order of rounding and multiplying, which bfloat16 shows."""
    if isinstance(part, LayerNorm) or weight is None:
        return part
    x, half = _noise(shape, 2).bfloat16(), copy.deepcopy(module).bfloat16()
    try:
        wanted = half(x).bfloat16().float()
    except RuntimeError:
        return part
    both = [replace(part, cast_before_weight=value) for value in (True, False)]
    return min(both, key=lambda each: float(
        (ReferenceNorm(weight.bfloat16(), None, norm_options(each))(x).float() - wanted).abs().sum()))


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
