"""Unpacks small integers from words, and lists the values of 4-bit floats. Knows no checkpoint format."""

from __future__ import annotations

import torch
from torch import Tensor

# The sixteen values of E2M1, sign in the highest bit. Source: OCP Microscaling Formats (MX) v1.0, section 5.3.3.
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def nibbles(packed: Tensor) -> Tensor:
    """[..., n] uint8 -> [..., 2 * n] uint8: for each byte the low four bits, then the high four."""
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def unpack(words: Tensor, bits: int) -> Tensor:
    """[..., W] int32 -> [..., W * 32 / bits] uint8: the words as one stream of bits, lowest bit first.

    bits: 2, 3, 4 or 8; with 3, W is a multiple of 3.
    """
    data = words.contiguous().view(torch.uint8)
    match bits:
        case 8:
            return data
        case 4:
            return nibbles(data)
        case 2:
            return torch.stack([data >> shift & 3 for shift in (0, 2, 4, 6)], dim=-1).flatten(-2)
        case 3:
            low, middle, high = data.unflatten(-1, (-1, 3)).int().unbind(-1)
            triple = low | middle << 8 | high << 16                       # eight values of three bits
            return torch.stack([(triple >> 3 * i & 7).to(torch.uint8) for i in range(8)], dim=-1).flatten(-2)
    raise ValueError(f"bits = {bits}: expected 2, 3, 4 or 8")
