"""Model interfaces, the registry, and the modules of models whose classes files borrow."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

MODELS: tuple[Row, ...] = ()
