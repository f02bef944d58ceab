"""The C library's memory: kept between steps, given back at the end.

A step allocates and frees large tensors many times. glibc returns each to the system, and the next one is paged in
again, which took a fifth of a long prefill. Other C libraries are left as they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST, _LARGEST_OF_OLD_GLIBC = 1 << 30, 1 << 25


def keep_freed_pages() -> None:
    """From now on let freed memory wait for the next allocation."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    if not mallopt(_M_MMAP_THRESHOLD, _LARGEST):
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_OF_OLD_GLIBC)


def give_back_freed_pages() -> None:
    """Return what is free to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def lazy_zeros(num_bytes: int) -> mmap.mmap:
    """A zeroed buffer whose pages the system hands out when they are first written, and takes back with the object.

    Large pages where the system has them: a cache is read block by block, and each small page would be looked up.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return mmap.mmap(-1, max(1, num_bytes))
    buffer = mmap.mmap(-1, max(1, num_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):                        # a system built without them
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer
