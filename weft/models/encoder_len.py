"""How many tokens an encoder's input may have, as configs say it."""

from __future__ import annotations

from typing import Any

_KEYS = ("max_encoder_position_embeddings", "max_source_positions", "max_position_embeddings")


def max_encoder_len(hf_config: Any) -> int | None:
    """Most tokens of an encoder's input; None: the config says nothing."""
    found = (getattr(hf_config, key, None) for key in _KEYS)
    return next((length for length in found if isinstance(length, int)), None)
