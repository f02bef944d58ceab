"""What a model asks about its surroundings: configuration, forward context, platform, small helpers."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

RUNTIME: tuple[Row, ...] = ()
