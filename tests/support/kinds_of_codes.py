"""Random matrices, and quantized ones of every form that checkpoints have."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from weft.ops.quantized import QuantizedWeight


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Normal numbers; the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def codes(bits: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Codes below 2 ** bits; the same for the same seed."""
    return torch.randint(0, 2**bits, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def quantized_kinds() -> Iterator[tuple[str, QuantizedWeight]]:
    """Codes and scales in every form that formats have: symmetric, with offsets, two levels, many group sizes."""
    for group in (16, 32, 64, 128, 192, 384):
        yield f"4-bit-symmetric-{group}", QuantizedWeight(
            codes=codes(4, 70, 384), bits=4, zero=8, group_size=group, scales=random(70, 384 // group).half() / 50)
    yield "4-bit-offsets", QuantizedWeight(
        codes=codes(4, 70, 384), bits=4, zero=0, group_size=64, scales=random(70, 6) / 50,
        offsets=random(70, 6, seed=1))
    yield "8-bit-rows", QuantizedWeight(codes=codes(8, 70, 384), bits=8, zero=128, group_size=384,
                                        scales=random(70, 1) / 1000)
    yield "8-bit-groups-bfloat16-scales", QuantizedWeight(
        codes=codes(8, 70, 384), bits=8, zero=128, group_size=32, scales=(random(70, 12) / 1000).bfloat16())
    yield "q4-k", QuantizedWeight(
        codes=codes(4, 70, 512), bits=4, zero=0, group_size=32, scales=codes(6, 70, 16, 1), offsets=codes(6, 70, 16, 2),
        super_scales=random(70, 2).half() / 500, super_offsets=random(70, 2, seed=3).half() / 100)
    yield "8-bit-offsets", QuantizedWeight(codes=codes(8, 70, 384), bits=8, zero=0, group_size=64,
                                           scales=random(70, 6) / 1000, offsets=random(70, 6, seed=1))
    # One group of columns for a whole row, as "channel-wise, asymmetric" checkpoints have it.
    for bits in (4, 5, 6, 8):
        yield f"{bits}-bit-rows-offsets", QuantizedWeight(
            codes=codes(bits, 70, 384), bits=bits, zero=0, group_size=384, scales=random(70, 1) / 50,
            offsets=random(70, 1, seed=1))
    yield "8-bit-rows-zero-point", QuantizedWeight(codes=codes(8, 70, 384), bits=8, zero=3, group_size=384,
                                                   scales=random(70, 1) / 1000)
    yield "4-bit-rows-offsets-half", QuantizedWeight(
        codes=codes(4, 70, 72), bits=4, zero=0, group_size=72, scales=(random(70, 1) / 50).half(),
        offsets=random(70, 1, seed=1).half())
    yield "4-bit-rows-two-levels", QuantizedWeight(
        codes=codes(4, 70, 32), bits=4, zero=0, group_size=32, scales=codes(6, 70, 1, 1), offsets=codes(6, 70, 1, 2),
        super_scales=random(70, 1).half() / 500, super_offsets=random(70, 1, seed=3).half() / 100)
    yield "8-bit-few-columns", QuantizedWeight(codes=codes(8, 70, 72), bits=8, zero=128, group_size=72,
                                               scales=random(70, 1) / 1000)
    yield "q5-k", QuantizedWeight(
        codes=codes(5, 70, 512), bits=5, zero=0, group_size=32, scales=codes(6, 70, 16, 1), offsets=codes(6, 70, 16, 2),
        super_scales=random(70, 2).half() / 500, super_offsets=random(70, 2, seed=3).half() / 100)
    yield "5-bit-few-columns", QuantizedWeight(codes=codes(5, 70, 24), bits=5, zero=16, group_size=24,
                                               scales=random(70, 1) / 100)
    yield "q6-k", QuantizedWeight(
        codes=codes(6, 70, 512), bits=6, zero=32, group_size=16,
        scales=(codes(8, 70, 32, 1).int() - 128).to(torch.int8), super_scales=random(70, 2).half() / 50000)


KINDS = dict(quantized_kinds())
