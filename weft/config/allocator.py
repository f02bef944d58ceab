"""The C library's allocator (malloc): freed memory is kept between steps and given back to the system at the end.

A step allocates and frees large tensors many times. By default glibc returns each of them to the system, and the next
allocation faults its pages in again, which took a fifth of a long prefill. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import mmap

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST, _LARGEST_OF_OLD_GLIBC = 1 << 30, 1 << 25


def keep_freed_pages() -> None:
    """From now on, keep freed memory in the process for the next allocation."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    if not mallopt(_M_MMAP_THRESHOLD, _LARGEST):
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_OF_OLD_GLIBC)


def give_back_freed_pages() -> None:
    """Return the allocator's free memory to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def lazy_zeros(num_bytes: int) -> mmap.mmap:
    """A zeroed buffer of num_bytes; a page takes memory once it is first written, until the object is deleted."""
    return mmap.mmap(-1, max(1, num_bytes))
