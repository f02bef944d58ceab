"""Keywords of vLLM's layers that weft's have no use for: harmless values are told of once, others are errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from weft.errors import NotBuiltError

logger = logging.getLogger("weft")

# Defaults of vLLM's keywords that are neither None nor False. A layer that is given one of them is as without it.
_VLLM_DEFAULTS: Mapping[str, Any] = {
    "tp_size": 1, "tp_rank": 0, "ep_size": 1, "dp_size": 1, "num_redundant_experts": 0, "activation_type": "silu",
}


def check_unknown(layer: str, options: Mapping[str, Any]) -> None:
    """One warning for each keyword that `layer` does not know and that changes nothing. NotBuiltError for others."""
    for name, value in options.items():
        if value is None or value is False or (name in _VLLM_DEFAULTS and value == _VLLM_DEFAULTS[name]):
            _warn(layer, name)
            continue
        raise NotBuiltError(f"{layer}.{name}", value, expected="a keyword that weft's layer knows",
                          hint="weft has no code for this option of the layer, which would change the result.")


@cache
def _warn(layer: str, name: str) -> None:
    logger.warning("%s: the keyword %s is not known and changes nothing.", layer, name)
