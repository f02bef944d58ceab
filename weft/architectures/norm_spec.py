"""The norms of a model description. `layers/norm.py` runs them."""

from __future__ import annotations

from weft.architectures.part import part
from weft.architectures.part_kinds import NormSpec


@part
class RMSNorm(NormSpec):
    """x / rms(x) * (offset + weight), in float32. Source: arXiv:1910.07467.

    eps: is added to the mean square. offset: 1.0 where the checkpoint stores weight - 1 (Gemma).
    cast_before_weight: round to the model's dtype before the product with the weight (Llama), else after it (Gemma).
    has_weight: whether there is one.
    """

    eps: float
    offset: float = 0.0
    cast_before_weight: bool = True
    has_weight: bool = True

    def describe(self, *, sizes: bool = True) -> str:
        """`RMS 1e-06`."""
        left_out = "" if self.has_weight else ", no weight"
        return f"RMS {self.eps:g}" + (f", weight + {self.offset:g}" if self.offset else left_out)


@part
class LayerNorm(NormSpec):
    """(x - mean) / std * (offset + weight) + bias, in float32. Source: arXiv:1607.06450.

    eps: is added to the variance. has_weight, has_bias: whether there is one. offset: 1.0 where the checkpoint stores
    weight - 1 (Nemotron).
    """

    eps: float
    has_weight: bool = True
    has_bias: bool = True
    offset: float = 0.0

    def describe(self, *, sizes: bool = True) -> str:
        """`Layer 1e-05, no bias`."""
        left_out = [word for word, has in (("weight", self.has_weight), ("bias", self.has_bias)) if not has]
        return f"Layer {self.eps:g}" + (f", no {' and no '.join(left_out)}" if left_out else "")
