"""Drops memory-mapped file pages once they have been copied, so that a model is never in memory twice.

A touched page of a mapped file counts as this process's memory until it is dropped.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

from torch import Tensor

_MADV_DONTNEED = 4


def drop_pages(tensor: Tensor) -> None:
    """Drop a mapped tensor's pages from this process; the next access reads them from the page cache or file again.

    Only for tensors on unmodified pages of a mapped file: other tensors would lose their content. Outside Linux this
    does nothing, and the kernel reclaims pages by itself.
    """
    madvise = _madvise()
    if madvise is None or tensor.numel() == 0:
        return
    extent = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    start = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    stop = tensor.data_ptr() + extent * tensor.element_size()
    madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_DONTNEED)


@cache
def _madvise() -> Any:
    return ctypes.CDLL(None).madvise if sys.platform == "linux" else None
