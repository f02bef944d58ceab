"""Finds the line of a user's code that an exception came from, so that a mistake in it is told in one line.

`line_in` looks in a known file, `last_user_frame` in whatever code was being run.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from weft.errors import DescriptionError

_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_WEFT = f"{Path(__file__).parent.parent}/"
_SITE = ("/site-packages/", "/dist-packages/")


def told_with_place(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero (mine.py, line 3)`. The place is left out if the error passed no file."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):                        # its words name file and line already
        return words
    place = last_user_frame(error)
    return words if place is None else f"{words} ({place.filename}, line {place.lineno})"


def last_user_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame of the code that was being run, rather than of the libraries that it called.

    That code is the file of the first frame that is not Python's own machinery, and what lies in the same package.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    if not frames:
        return None
    package = _package(frames[0].filename)
    return next(frame for frame in reversed(frames) if frame.filename == frames[0].filename
                or (package is not None and frame.filename.startswith(package)))


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


def _is_machinery(file: str) -> bool:
    """Frames of importing, and weft's own that asked for the import."""
    is_library = file.startswith(_STANDARD) and not any(site in file for site in _SITE)
    return file.startswith("<frozen ") or is_library or file.startswith(_WEFT)


def _package(file: str) -> str | None:
    """The folder of the outermost package that a file belongs to, with a slash; None for a file on its own."""
    folder, found = Path(file).parent, None
    while (folder / "__init__.py").is_file():
        folder, found = folder.parent, folder
    return None if found is None else f"{found}/"
