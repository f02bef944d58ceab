"""Makes a `QuantizedMatrix` from integer codes with scales and zero points for groups of columns. Knows no format."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.checkpoint.quantization.matrix import QuantizedMatrix


def grouped(codes: Tensor, bits: int, group_size: int, scales: Tensor, zeros: Tensor,
            group_of: Tensor | None = None) -> QuantizedMatrix:
    """w[n, k] = scales[n, g] * (codes[n, k] - zeros[n, g]), with g = group_of[k] (None: k // group_size).

    codes: [N, K] uint8; scales: [N, G]; zeros: [N, G] uint8; group_of: [K] integers. Columns of a group that are not
    adjacent are reordered; if groups differ in size, each column becomes a group. ValueError for a group without a
    scale.
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
