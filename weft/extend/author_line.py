"""Finds the line of a user's file that an exception came from, so that a mistake in it is told in one line."""

from __future__ import annotations

import traceback

from weft.errors import DescriptionError


def line_in(file: str, error: BaseException) -> int | None:
    """The last line of `file` that ran before the exception, or that Python cannot read; None: the file had no part."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def with_line(file: str, error: DescriptionError) -> DescriptionError:
    """The same error with file and line."""
    line = line_in(file, error)
    source = error.source if line is None else f"{file}, line {line}"
    return DescriptionError(error.field, error.value, expected=error.expected, hint=error.hint, source=source)
