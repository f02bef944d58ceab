"""Which parameter makes two results differ: told from the shape of their difference."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDING = 8 * 2.0 ** -23       # of float32 numbers that were summed in another order


def difference(ours: Tensor, theirs: Tensor, stream: Tensor | None = None) -> float:
    """The largest difference of two results [T, N], relative to the largest number of theirs; infinity for NaN.

    stream: [T, N], what the results were taken out of by subtraction; its rounding is no difference.
    """
    wide = (ours - theirs).abs()
    if not torch.isfinite(wide).all():
        return float("inf")
    if stream is not None:
        wide = (wide - _ROUNDING * stream.abs()).clamp_min(0)
    return float(wide.max() / theirs.abs().max().clamp_min(1e-30)) if wide.numel() else 0.0


def first_position(ours: Tensor, theirs: Tensor, tolerance: float) -> int | None:
    """The first row in which two results differ by more than a tolerance."""
    limit = tolerance * theirs.abs().max()
    rows = (((ours - theirs).abs() > limit) | ~torch.isfinite(ours)).any(-1).nonzero().flatten()
    return int(rows[0]) if len(rows) else None


def worst(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """The two numbers that differ most."""
    place = int((ours - theirs).abs().nan_to_num(float("inf")).argmax())
    return float(ours.flatten()[place]), float(theirs.flatten()[place])


def ratio(ours: Tensor, theirs: Tensor) -> float | None:
    """The factor between two results, where one factor explains all of their difference."""
    factor = _factors(ours.reshape(1, -1), theirs.reshape(1, -1))
    return None if factor is None else float(factor[0])


def norm_kind(ours: Tensor, theirs: Tensor) -> str:
    """The suspected parameter of a norm: a factor for each row is its epsilon, one for each column its weight."""
    if _same_in_each_row(ours - theirs):
        return "bias of the norm"
    if _factors(ours, theirs) is not None:
        return "epsilon of the norm"
    if _factors(ours.T, theirs.T) is not None:
        return "weight of the norm, or the offset that is added to it"
    return "kind of norm (RMSNorm or LayerNorm), or its epsilon and weight together"


def linear_kind(ours: Tensor, theirs: Tensor) -> str:
    """The suspected parameter of a product."""
    if _same_in_each_row(ours - theirs):
        return "bias"
    factor = ratio(ours, theirs)
    return "weight" if factor is None else f"scale: results are {factor:.6g} times Transformers'"


def head_kind(ours: Tensor, theirs: Tensor) -> str:
    """The suspected parameter of a head."""
    factor = ratio(ours, theirs)
    if factor is not None:
        return f"scale of the logits: they are {factor:.6g} times Transformers'"
    if _same_in_each_row(ours - theirs):
        return "bias of the head"
    if _rises_with(ours.flatten(), theirs.flatten()):
        return "softcap of the logits"
    return "weight of the head (its own table, or the embedding's)"


def _factors(ours: Tensor, theirs: Tensor) -> Tensor | None:
    """[T]: the factor of each row, where such factors explain the difference of two results [T, N]."""
    square = theirs.square().sum(-1)
    factor = (ours * theirs).sum(-1) / square.clamp_min(1e-30)
    rest = (ours - factor.unsqueeze(-1) * theirs).abs().max()
    return factor if rest < 0.02 * (ours - theirs).abs().max() else None


def _same_in_each_row(x: Tensor) -> bool:
    """True when all rows of [T, N] are equal, but for rounding."""
    return len(x) > 1 and float((x - x.mean(0)).abs().max()) < 0.02 * float(x.abs().max())


def _rises_with(ours: Tensor, theirs: Tensor) -> bool:
    """True when one result is a rising function of the other, number by number."""
    inorder = ours[theirs.argsort()]
    falls = (inorder[:-1] - inorder[1:]).clamp_min(0).max()
    return bool(falls < 1e-4 * ours.abs().max().clamp_min(1e-30))
