"""`TemplateCache`: compiled chat templates by their texts, within a number of bytes. It knows no Jinja."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_BYTES = 64 << 20
_BYTES_PER_CHAR = 16      # measured: a compiled template, for each character of it
_BYTES_EACH = 8 << 10


class TemplateCache(Generic[T]):
    """Keeps what `compile` makes of texts, those used last. For several threads.

    num_bytes: estimated memory of what is kept; at most `max_bytes`. A larger text is compiled each time.
    """

    def __init__(self, compile: Callable[[str], T], max_bytes: int = MAX_BYTES) -> None:
        self._compile, self.max_bytes = compile, max_bytes
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0

    def get(self, text: str) -> T:
        """The compiled text; an exception of `compile` is raised, and nothing kept."""
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        made = self._compile(text)      # outside the lock: another thread may do it too, which harms nobody
        with self._lock:
            if text not in self._kept and _size(text) <= self.max_bytes:
                self._kept[text] = made
                self.num_bytes += _size(text)
                while self.num_bytes > self.max_bytes:
                    oldest, _ = self._kept.popitem(last=False)
                    self.num_bytes -= _size(oldest)
        return made


def _size(text: str) -> int:
    return len(text) * _BYTES_PER_CHAR + _BYTES_EACH
