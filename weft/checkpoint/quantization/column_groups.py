"""From integer codes with scales and zero points for groups of columns to a `QuantizedMatrix`. Knows no format."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.checkpoint.quantization.matrix import QuantizedMatrix


def grouped(codes: Tensor, bits: int, group_size: int, scales: Tensor, zeros: Tensor,
            group_of: Tensor | None = None) -> QuantizedMatrix:
    """w[n, k] = scales[n, g] * (codes[n, k] - zeros[n, g]), g = group_of[k], or k // group_size where that is None.

    codes: [N, K] uint8; scales: [N, G]; zeros: [N, G] uint8; group_of: [K] integers. Groups that are no neighbours are
    brought together by an order of the columns; where they differ in size, each column gets a scale of its own.
    ValueError for a group that has no scale.
    """
    num_columns, num_groups = codes.shape[1], scales.shape[1]
    neighbours = torch.arange(num_columns) // group_size
    groups = neighbours if group_of is None else group_of.long()
    if groups.min() < 0 or groups.max() >= num_groups:
        raise ValueError(f"groups from {groups.min()} to {groups.max()}, there are {num_groups}")
    order = None if torch.equal(groups, neighbours) else groups.argsort(stable=True)
    if not bool((groups.bincount(minlength=num_groups) == group_size).all()):
        order, group_size, zeros, scales = None, 1, zeros[:, groups], scales[:, groups]
    if order is not None:
        codes = codes[:, order]
    return QuantizedMatrix(codes=codes, bits=bits, group_size=group_size, scales=scales, zeros=zeros, columns=order)
