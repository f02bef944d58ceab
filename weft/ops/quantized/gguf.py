"""Decodes GGUF's quantized blocks: affine formats to a `QuantizedWeight`, others to floats. Knows layouts, no files.

`raw` is the bytes of whole rows, uint8 of any shape. `shape` is the tensor's; its last dimension is a multiple of the
block size. A block has codes (quantized values) and a float16 scale, in some formats also a float16 scale of offsets.
In a block of 256 numbers, each sub-block has a small integer scale besides.
Source: ggml-common.h and ggml-quants.c of github.com/ggml-org/ggml.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from weft.errors import NotBuiltError
from weft.ops.quantized.weight import QuantizedWeight

_PIECE = 1 << 18        # numbers dequantized at a time, so that float32 copies stay in the CPU's cache (3x faster)
_NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)     # values of IQ4's codes


def to_quantized(kind: str, raw: Tensor, shape: Sequence[int]) -> QuantizedWeight:
    """The exact matrix [prod(shape[:-1]), shape[-1]]. ValueError for a format that is not affine (`is_affine`)."""
    if kind not in _AFFINE:
        raise ValueError(f"{kind} has no affine codes: expected one of {', '.join(_AFFINE)}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    return _AFFINE[kind](_Blocks(raw, rows, columns, _BLOCK_SIZES[kind]))


def is_affine(kind: str) -> bool:
    """True for formats whose numbers are scale * code + offset, which `to_quantized` takes."""
    return kind in _AFFINE


def dequantize(kind: str, raw: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor's numbers, computed in float32 and rounded to dtype. NotBuiltError for a format without a decoder."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    out = torch.empty(rows, columns, dtype=dtype)
    if out.numel() == 0:
        return out.view(tuple(shape))
    step = max(1, _PIECE // columns)
    pieces = zip(out.split(step), raw.reshape(rows, -1).split(step), strict=True)
    with _one_thread_each() as pool:
        for _ in pool.map(lambda piece: piece[0].copy_(_values(kind, piece[1], piece[0].shape)), pieces):
            pass
    return out.view(tuple(shape))


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool of as many workers as torch has threads; within a worker torch uses one thread.

    A piece takes about 40 small operations. If torch divided each over its threads, the threads would wait for one
    another 40 times, which took ten times as long on a busy machine.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)


def _values(kind: str, raw: Tensor, shape: torch.Size) -> Tensor:
    if kind in _AFFINE:
        return to_quantized(kind, raw, shape).dequantize()
    if kind in _FLOATS:
        return _FLOATS[kind](_Blocks(raw, shape[0], shape[1], _BLOCK_SIZES[kind]))
    return _by_gguf_package(kind, raw)


def _by_gguf_package(kind: str, raw: Tensor) -> Tensor:
    """Decode formats with large code books, whose tables are in the gguf package."""
    try:
        import gguf  # an extra: only these rare formats need it
    except ImportError as error:
        raise NotBuiltError("tensor type", kind, expected=f"one of {', '.join((*_AFFINE, *_FLOATS))}",
                            hint="pip install gguf, which has the tables of this one.") from error
    try:
        return torch.from_numpy(gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind]))
    except (NotImplementedError, KeyError) as error:
        raise NotBuiltError("tensor type", kind, expected=f"one of {', '.join((*_AFFINE, *_FLOATS))}",
                            hint="Nor does the gguf package read it: take another file of the model.") from error


class _Blocks:
    """The blocks of a matrix. Each call takes the next field of all blocks, in the order of a block's bytes."""

    def __init__(self, raw: Tensor, rows: int, columns: int, block_size: int) -> None:
        self.rows, self.columns = rows, columns
        self._data = raw.reshape(rows * columns // block_size, -1)      # [blocks, bytes]
        self._at = 0

    def bytes(self, count: int) -> Tensor:
        """The next `count` bytes of each block, [blocks, count] uint8."""
        self._at += count
        return self._data[:, self._at - count:self._at]

    def half(self) -> Tensor:
        """The next float16 of each block, as [rows, blocks of a row] float32."""
        return self.per_row(self.bytes(2).contiguous().view(torch.float16).float())

    def per_row(self, values: Tensor) -> Tensor:
        """Reshape values of blocks, [blocks, n] -> [rows, n * blocks of a row]."""
        return values.reshape(self.rows, -1)


def _nibbles(packed: Tensor, size: int) -> Tensor:
    """[blocks, n] bytes -> [blocks, 2 n] codes: of each run of `size` bytes all low halves, then all high ones."""
    runs = packed.unflatten(1, (-1, 1, size))
    return torch.cat((runs & 15, runs >> 4), dim=2).flatten(1)


def _bit_planes(packed: Tensor, size: int, bits: int) -> Tensor:
    """[blocks, n] bytes -> [blocks, 8 / bits * n] codes: for each run of `size` bytes, the lowest `bits` bits of all
    bytes, then their next bits, and so on.
    """
    runs = packed.unflatten(1, (-1, 1, size))
    return torch.cat([runs >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], dim=2).flatten(1)


def _bits_of_32(packed: Tensor) -> Tensor:
    """[blocks, 4] bytes -> [blocks, 32] bits, lowest first."""
    return (packed.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8) & 1).flatten(1)


# Formats with blocks of 32 numbers.


def _q4_0(b: _Blocks) -> QuantizedWeight:
    scales = b.half()
    return QuantizedWeight(codes=b.per_row(_nibbles(b.bytes(16), 16)), bits=4, zero=8, group_size=32, scales=scales)


def _q4_1(b: _Blocks) -> QuantizedWeight:
    scales, offsets = b.half(), b.half()
    return QuantizedWeight(codes=b.per_row(_nibbles(b.bytes(16), 16)), bits=4, zero=0, group_size=32, scales=scales,
                           offsets=offsets)


def _q5_0(b: _Blocks) -> QuantizedWeight:
    scales = b.half()
    return QuantizedWeight(codes=_fifth_bit(b), bits=5, zero=16, group_size=32, scales=scales)


def _q5_1(b: _Blocks) -> QuantizedWeight:
    scales, offsets = b.half(), b.half()
    return QuantizedWeight(codes=_fifth_bit(b), bits=5, zero=0, group_size=32, scales=scales, offsets=offsets)


def _fifth_bit(b: _Blocks) -> Tensor:
    high = _bits_of_32(b.bytes(4))
    return b.per_row(_nibbles(b.bytes(16), 16) | high << 4)


def _q8_0(b: _Blocks) -> QuantizedWeight:
    scales = b.half()
    return QuantizedWeight(codes=b.per_row(b.bytes(32) ^ 128), bits=8, zero=128, group_size=32, scales=scales)


def _iq4_nl(b: _Blocks) -> Tensor:
    scales = b.half()
    return _nonlinear(b, _nibbles(b.bytes(16), 16), scales)


# Formats with blocks of 256 numbers (K-quants).


def _q2_k(b: _Blocks) -> QuantizedWeight:
    packed, codes = b.bytes(16), _bit_planes(b.bytes(64), 32, 2)
    return QuantizedWeight(codes=b.per_row(codes), bits=4, zero=0, group_size=16, scales=b.per_row(packed & 15),
                           offsets=b.per_row(packed >> 4), super_scales=b.half(), super_offsets=-b.half())


def _q3_k(b: _Blocks) -> QuantizedWeight:
    high, low = _bit_planes(b.bytes(32), 32, 1), _bit_planes(b.bytes(64), 32, 2)
    packed = b.bytes(12)
    scales = _nibbles(packed[:, :8], 8) | _bit_planes(packed[:, 8:], 4, 2) << 4         # 16 scales of 6 bits
    return QuantizedWeight(codes=b.per_row(low | high << 2), bits=4, zero=4, group_size=16,
                           scales=b.per_row(scales.to(torch.int8) - 32), super_scales=b.half())


def _q4_k(b: _Blocks) -> QuantizedWeight:
    super_scales, super_offsets = b.half(), -b.half()
    scales, offsets = _six_bit_pairs(b.bytes(12))
    return QuantizedWeight(codes=b.per_row(_nibbles(b.bytes(128), 32)), bits=4, zero=0, group_size=32,
                           scales=b.per_row(scales), offsets=b.per_row(offsets), super_scales=super_scales,
                           super_offsets=super_offsets)


def _q5_k(b: _Blocks) -> QuantizedWeight:
    super_scales, super_offsets = b.half(), -b.half()
    scales, offsets = _six_bit_pairs(b.bytes(12))
    high = _bit_planes(b.bytes(32), 32, 1)
    return QuantizedWeight(codes=b.per_row(_nibbles(b.bytes(128), 32) | high << 4), bits=5, zero=0, group_size=32,
                           scales=b.per_row(scales), offsets=b.per_row(offsets), super_scales=super_scales,
                           super_offsets=super_offsets)


def _six_bit_pairs(packed: Tensor) -> tuple[Tensor, Tensor]:
    """[blocks, 12] bytes -> 8 scales and 8 offsets of 6 bits, [blocks, 8] each.

    The bytes of the first word (4 bytes) hold the first four scales in their low 6 bits, those of the second word the
    first four offsets. The last four scales and offsets have their low 4 bits in the third word, and their high 2 bits
    in the high bits of the first and second word.
    """
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat((first & 63, third & 15 | first >> 6 << 4), dim=1)
    offsets = torch.cat((second & 63, third >> 4 | second >> 6 << 4), dim=1)
    return scales, offsets


def _q6_k(b: _Blocks) -> QuantizedWeight:
    low, high = _nibbles(b.bytes(128), 64), _bit_planes(b.bytes(64), 32, 2)
    scales = b.bytes(16).contiguous().view(torch.int8)
    return QuantizedWeight(codes=b.per_row(low | high << 4), bits=6, zero=32, group_size=16, scales=b.per_row(scales),
                           super_scales=b.half())


def _iq4_xs(b: _Blocks) -> Tensor:
    super_scales = b.half()
    high = _bit_planes(b.bytes(2), 1, 2)                                                # [blocks, 8]
    low = _nibbles(b.bytes(4), 1)
    scales = b.per_row((low | high << 4).to(torch.int8) - 32).float()
    scales = scales * super_scales.repeat_interleave(8, dim=1)
    return _nonlinear(b, _nibbles(b.bytes(128), 16), scales)


def _nonlinear(b: _Blocks, codes: Tensor, scales: Tensor) -> Tensor:
    values = torch.tensor(_NONLINEAR, dtype=torch.float32)[codes.int()].view(b.rows, -1, 32)
    return (values * scales.unsqueeze(-1)).view(b.rows, b.columns)


_AFFINE: dict[str, Callable[[_Blocks], QuantizedWeight]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0, "Q2_K": _q2_k, "Q3_K": _q3_k,
    "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
}
_FLOATS: dict[str, Callable[[_Blocks], Tensor]] = {"IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs}
_BLOCK_SIZES = {name: 256 if name.endswith(("_K", "_XS")) else 32 for name in (*_AFFINE, *_FLOATS)}
