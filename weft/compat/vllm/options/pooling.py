"""Fields of vLLM's `PoolingParams`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.readers import read_activation
from weft.compat.vllm.options.row import NO_EFFECT, NOT_YET, REFUSED, SAME, TRANSLATED, Option, table

POOLING = table((
    Option("task", "0.10+", SAME),
    Option("use_activation", "0.11+", SAME),
    Option("skip_reading_prefix_cache", "0.11+", SAME),
    Option("normalize", "0.10-0.14", TRANSLATED, read=read_activation, say="`use_activation`"),
    Option("softmax", "0.10-0.14", TRANSLATED, read=read_activation, say="`use_activation`"),
    Option("activation", "0.10-0.14", TRANSLATED, read=read_activation, say="`use_activation`"),
    Option("dimensions", "0.8+", SAME),
    Option("step_tag_id", "0.10+", SAME),
    Option("returned_token_ids", "0.10+", SAME),
    Option("extra_kwargs", "0.10+", SAME),
    Option("late_interaction_params", "0.18+", REFUSED, say=NOT_YET),
    Option("late_chunking_params", "0.33+", REFUSED, say=NOT_YET),
    Option("additional_data", "0.6-0.9", REFUSED, say=NOT_YET),
    Option("use_cross_encoder", "0.9", REFUSED, off=(False,), say=NOT_YET),
    Option("truncate_prompt_tokens", "0.10-0.14", REFUSED, say="Cut the prompt's token ids, and give those."),
    Option("requires_token_ids", "0.10+", NO_EFFECT, off=(False, True), say="weft keeps a prompt's token ids"),
    Option("output_kind", "0.9+", SAME),
))


def accept_pooling(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """`accept` for PoolingParams."""
    return accept(POOLING, given, known=known)
