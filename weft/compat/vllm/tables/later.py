"""Classes that files subclass when they are imported, of parts that weft does not have yet: (reason, paths, names)."""

from __future__ import annotations

LATER: tuple[tuple[str, tuple[str, ...], str], ...] = ()
