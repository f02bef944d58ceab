"""x @ weight.T + bias. `reference.py` is the definition; `onednn.py` multiplies weights that were packed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from weft.ops.kernel import Choice, Kernel, choose, never
from weft.ops.linear import onednn, reference

__all__ = ["LinearCase", "choose_linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearCase:
    """What decides which linear kernel a layer can run. is_shared: others read the weight too, as it is."""

    device: str
    dtype: torch.dtype
    in_features: int
    out_features: int
    is_shared: bool = False


def _onednn_refuses(case: LinearCase) -> str | None:
    if case.is_shared:
        return "the embedding reads the same table"
    if case.device != "cpu" or case.dtype != torch.bfloat16:
        return "for bfloat16 on CPUs"
    return None if onednn.is_available() else "this processor has no bfloat16 products, or this torch no oneDNN"


_KERNELS = (
    Kernel("onednn", onednn.run, _onednn_refuses, prepare=onednn.pack),
    Kernel("torch", reference.run, never),
)


def choose_linear(case: LinearCase) -> Choice:
    """Kernel `run(x, weight, bias)`: x [T, in], weight [out, in], bias [out] or None; returns [T, out].

    Where the kernel has `prepare`, the weight it runs on is `prepare(weight)`.
    """
    return choose("linear", _KERNELS, case)
