"""Fields of vLLM's `PoolerConfig`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.readers import becomes, read_activation
from weft.compat.vllm.options.row import SAME, TRANSLATED, Option, table
from weft.errors import ConfigError


def _read_scale(name: str, value: Any) -> dict[str, Any]:
    """A factor on the logits as the number that divides them."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        raise ConfigError(f"pooler_config.{name}", value, expected="a number other than 0")
    return {"logit_sigma": 1 / value}


POOLER_CONFIG = table((
    *(Option(name, "0.6+", SAME) for name in ("pooling_type", "step_tag_id")),
    *(Option(name, "0.11+", SAME) for name in ("use_activation", "dimensions", "enable_chunked_processing",
                                               "max_embed_len")),
    *(Option(name, "0.14+", SAME) for name in ("task", "seq_pooling_type", "tok_pooling_type")),
    *(Option(name, "0.22+", SAME) for name in ("logit_mean", "logit_sigma", "enable_flash_late_interaction")),
    Option("returned_token_ids", "0.6+", SAME),
    Option("normalize", "0.6-0.14", TRANSLATED, read=read_activation, say="`use_activation`"),
    Option("softmax", "0.6-0.14", TRANSLATED, read=read_activation, say="`use_activation`"),
    Option("activation", "0.10-0.14", TRANSLATED, read=read_activation, say="`use_activation`"),
    Option("logit_bias", "0.10-0.21", TRANSLATED, read=becomes("logit_mean"), say="`logit_mean`"),
    Option("logit_scale", "0.13-0.21", TRANSLATED, read=_read_scale, say="1 / `logit_sigma`"),
))


def accept_pooler_config(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """`accept` for PoolerConfig."""
    return accept(POOLER_CONFIG, given, known=known)
