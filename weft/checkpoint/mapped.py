"""Memory-mapped file pages: dropping those that have been copied, so that a model is never resident twice.

Pages of a mapped file count as this process's memory once touched, until they are dropped.
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
    """Take a mapped tensor's pages out of this process; touching them again reads the file's cache again.

    Only for tensors on unmodified pages of a mapped file: others would lose their content. Does nothing outside Linux,
    where the kernel has to find out by itself.
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
