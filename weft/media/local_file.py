"""`read_local_file`: a `file:` URL's content, of files in one folder only."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit


def read_local_file(url: str, folder: str, max_bytes: int) -> bytes:
    """The content of `file:///path` (RFC 8089). ValueError, whose text says why there is none.

    folder: what the path has to be in after all links and `..` are followed; "": no file may be read. A refusal is the
    same whether there is a file at the path or not.
    """
    if not folder:
        raise ValueError("this server reads no files: it has no allowed_local_media_path")
    parts = urlsplit(url)
    root, path = Path(folder).resolve(), unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise ValueError("expected a path such as file:///folder/image.png")
    try:
        real = Path(path).resolve()
    except (OSError, RuntimeError) as error:      # a path that is too long, or a circle of links
        raise ValueError("there is no such file") from error
    if not real.is_relative_to(root):
        raise ValueError("it is outside of the allowed_local_media_path of this server")
    try:
        with open(real, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("there is no such file, or it may not be read")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError("there is no such file, or it may not be read") from error
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return content


def _open(path: str, flags: int) -> int:
    """Never through a link that was made after `resolve`, never waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
