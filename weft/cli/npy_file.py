"""`NpyFile`: an array in numpy's file format, written row by row, as the number of rows is known at the end only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np


class NpyFile:
    """A context manager. The file is a float32 array [rows, numbers of a row] when the block has ended."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("wb")      # noqa: SIM115 - closed with the block of this object
        self._num_rows, self._size = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write_header()
        self._file.close()

    def add(self, row: Sequence[float] | None) -> None:
        """Add a row; None: one of NaN, for a text without a vector."""
        if row is not None and not self._size:
            self._size = len(row)
            self._write_header()
            for _ in range(self._num_rows):      # those that came before the first vector
                self._write(None)
        if self._size:
            self._write(row)
        self._num_rows += 1

    def _write(self, row: Sequence[float] | None) -> None:
        self._file.write(np.asarray([np.nan] * self._size if row is None else row, "<f4").tobytes())

    def _write_header(self) -> None:
        """At the file's beginning. numpy leaves room in it for any number of rows, so its length stays the same."""
        end = self._file.seek(0, 2)
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "<f4", "fortran_order": False, "shape": (self._num_rows, self._size)})
        self._file.seek(max(end, self._file.tell()))
